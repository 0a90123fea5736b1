// Polygons and an image on frames and maps of any size: what is ignored, and the region that is
// left.
#include "ignore_mask.h"

#include <fuzzer/FuzzedDataProvider.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "fuzz.h"
#include "manifest_parts.h"

namespace {

using namespace edgead;

double coordinate(FuzzedDataProvider& given, int32_t most) {
  if (given.ConsumeBool()) return given.ConsumeIntegralInRange<int32_t>(0, 2 * most) / 2.0;
  double value;
  const auto bytes = given.ConsumeBytes<uint8_t>(sizeof value);
  if (bytes.size() < sizeof value) return 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

Size size_of(FuzzedDataProvider& given, int32_t most) {
  const int32_t height = given.ConsumeIntegralInRange<int32_t>(1, most);
  return {height, given.ConsumeIntegralInRange<int32_t>(1, most)};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  FuzzedDataProvider given(data, size);
  IgnoreMask mask;
  const bool large = given.ConsumeIntegralInRange(0, 30) == 0;
  mask.frame_size = size_of(given, large ? 40000 : 70);
  const int32_t height = mask.frame_size.first, width = mask.frame_size.second;
  if (given.ConsumeBool()) mask.image = "ignore.png";
  const int polygons = given.ConsumeIntegralInRange(0, 3);
  for (int i = 0; i < polygons; ++i) {
    mask.polygons.emplace_back();
    for (int n = given.ConsumeIntegralInRange(0, 8); n > 0; --n) {
      const double x = coordinate(given, width);
      mask.polygons.back().emplace_back(x, coordinate(given, height));
    }
  }
  const Size map = size_of(given, 90);
  may_refuse([&] {
    check_ignore_mask(mask);
    if (large) return;  // checked only: its pixels would take seconds
    std::vector<uint8_t> samples;
    MaskImage image{nullptr, size_of(given, 70), given.ConsumeIntegralInRange(1, 6)};
    if (given.ConsumeIntegralInRange(0, 7) != 0) image.size = mask.frame_size;
    const size_t pixels = static_cast<size_t>(image.size.first) * image.size.second;
    samples.assign(pixels * static_cast<size_t>(image.pixel_bytes), 0);
    const auto drawn = given.ConsumeRemainingBytes<uint8_t>();
    std::copy_n(drawn.begin(), std::min(drawn.size(), samples.size()), samples.begin());
    image.samples = samples.data();
    const auto ignored = ignored_pixels(mask, mask.image ? &image : nullptr);
    expect(ignored.size() == static_cast<size_t>(height) * width, "another size");
    expect(std::all_of(ignored.begin(), ignored.end(), [](uint8_t v) { return v < 2; }),
           "not 0, 1");
    const auto roi = region_of_interest(ignored, mask.frame_size, map);
    expect(roi.size() == static_cast<size_t>(map.first) * map.second, "another map");
    expect(std::find(roi.begin(), roi.end(), 1) != roi.end(), "nothing is kept");
  });
  return 0;
}

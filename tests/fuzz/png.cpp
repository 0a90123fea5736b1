// Any bytes as a PNG. With an odd first byte the checksums of its chunks are put right, so that
// what was changed is looked at.
#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "fuzz.h"
#include "png_file.h"

namespace {

uint32_t big_endian(const uint8_t* bytes) {
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

void mend_checksums(std::vector<uint8_t>& png) {
  for (size_t at = 8; at + 12 <= png.size();) {
    const size_t length = big_endian(&png[at]);
    if (length > png.size() - at - 12) return;
    const auto sum = crc32(0, &png[at + 4], static_cast<uInt>(length + 4));
    for (size_t i = 0; i < 4; ++i)
      png[at + 8 + length + i] = static_cast<uint8_t>(sum >> (24 - 8 * i));
    at += length + 12;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using edgead::expect;
  if (size == 0) return 0;
  std::vector<uint8_t> file(data + 1, data + size);  // of its own, so that ASan sees its end
  if (data[0] % 2 == 1) mend_checksums(file);
  edgead_png image;
  char why[200];
  std::memset(why, 'x', sizeof why);
  if (edgead_png_read(file.data(), file.size(), &image, why) != 0) {
    expect(image.samples == nullptr, "samples of a file that was refused");
    expect(why[0] != 0 && std::memchr(why, 0, sizeof why) != nullptr, "a refusal without words");
    return 0;
  }
  expect(image.height > 0 && image.width > 0, "an image of no size");
  expect(image.channels == 1 || image.channels == 3, "other channels");
  expect(image.sample_bytes == 1 || image.sample_bytes == 2, "other samples");
  const size_t bytes = size_t{1} * image.height * image.width * image.channels * image.sample_bytes;
  volatile uint8_t seen = 0;
  for (size_t i = 0; i < bytes; ++i) seen = seen ^ image.samples[i];
  std::free(image.samples);
  return 0;
}

#include "ignore_mask.h"

#include <algorithm>
#include <cmath>

#include "manifest_parts.h"
#include "wording.h"

namespace edgead {
namespace {

// A share of exactly one half must not depend on the rounding of a sum of float64.
constexpr double kHalf = 0.5 - 1e-9;

std::string times(Size size) {
  return std::to_string(size.first) + " x " + std::to_string(size.second);
}

// Calls found(row, start, end) for the runs of pixels of each row whose centre is inside, by the
// even-odd rule: a row changes at each edge it meets. Until one of the calls gives true.
template <class Found>
void fill(const Polygon& polygon, Size size, const Found& found) {
  double top = size.first, bottom = 0;
  for (const auto& [_, y] : polygon) top = std::min(top, y), bottom = std::max(bottom, y);
  const auto last = static_cast<int32_t>(std::min<double>(std::ceil(bottom), size.first));
  std::vector<int32_t> changes;
  for (auto row = static_cast<int32_t>(std::floor(top)); row < last; ++row) {
    changes.clear();
    for (size_t i = 0; i < polygon.size(); ++i) {
      const auto [x0, y0] = polygon[i];
      const auto [x1, y1] = polygon[(i + 1) % polygon.size()];
      const double centre = row + 0.5;
      if (centre < std::min(y0, y1) || centre >= std::max(y0, y1)) continue;
      const double at = x0 + (centre - y0) * (x1 - x0) / (y1 - y0);
      changes.push_back(static_cast<int32_t>(
          std::clamp(std::ceil(at - 0.5), 0.0, static_cast<double>(size.second))));
    }
    std::sort(changes.begin(), changes.end());
    for (size_t i = 0; i + 1 < changes.size(); i += 2)  // their number is even
      if (changes[i] < changes[i + 1] && found(row, changes[i], changes[i + 1])) return;
  }
}

// Means over `count` equal parts of rows [n, m], transposed: [m, count]. row(i) gives one of them
// as m values.
template <class Row>
std::vector<double> cell_means(size_t n, size_t m, size_t count, const Row& row) {
  std::vector<double> sums(m), last(m), means(m * count);
  size_t done = 0;  // rows that are in the sums
  for (size_t part = 0; part <= count; ++part) {
    const double edge = static_cast<double>(part * n) / static_cast<double>(count);
    const size_t low = std::min(static_cast<size_t>(edge), n - 1);
    for (; done < low; ++done) {
      const auto* values = row(done);
      for (size_t j = 0; j < m; ++j) sums[j] += values[j];
    }
    const auto* values = row(low);
    for (size_t j = 0; j < m; ++j) {
      const double reached = sums[j] + (edge - static_cast<double>(low)) * values[j];
      if (part > 0)
        means[j * count + part - 1] =
            (reached - last[j]) * static_cast<double>(count) / static_cast<double>(n);
      last[j] = reached;
    }
  }
  return means;
}

}  // namespace

void check_ignore_mask(const IgnoreMask& mask) {
  check_size("frame_size", mask.frame_size);
  if (mask.polygons.empty() && !mask.image)
    throw input_failure("an ignore mask has neither polygons nor an image, expected one of them");
  const auto [height, width] = mask.frame_size;
  for (const Polygon& polygon : mask.polygons) {
    if (polygon.size() < 3)
      throw input_failure("a polygon has " + std::to_string(polygon.size()) +
                          " corners; expected at least three");
    std::string text;
    for (const auto& [x, y] : polygon) {
      if (!(x >= 0 && x <= width && y >= 0 && y <= height))
        throw input_failure(
            format("the corner %g,%g of a polygon is outside the frame of %s "
                   "(height x width): expected x from 0 to %d and y from 0 to %d",
                   x, y, times(mask.frame_size).c_str(), width, height));
      text += (text.empty() ? "" : " ") + format("%g,%g", x, y);
    }
    bool any = false;
    fill(polygon, mask.frame_size, [&](int32_t, int32_t, int32_t) { return any = true; });
    if (!any)
      throw input_failure("the polygon \"" + text +
                          "\" holds the centre of no pixel; expected corners that enclose an area");
  }
}

void check_frame_size(const IgnoreMask& mask, Size frame) {
  if (frame == mask.frame_size) return;
  throw input_failure("the frame is " + times(frame) +
                      " (height x width) and the ignore mask of the bundle was drawn on " +
                      times(mask.frame_size) +
                      ": draw one for this frame size with edgead mask, or use the bundle without "
                      "a mask");
}

std::vector<uint8_t> ignored_pixels(const IgnoreMask& mask, const MaskImage* image) {
  const auto [height, width] = mask.frame_size;
  std::vector<uint8_t> ignored(static_cast<size_t>(height) * width);
  const size_t columns = static_cast<size_t>(width);
  for (const Polygon& polygon : mask.polygons)
    fill(polygon, mask.frame_size, [&](int32_t row, int32_t start, int32_t end) {
      std::fill_n(ignored.begin() + static_cast<int64_t>(row * columns + start), end - start, 1);
      return false;
    });
  if (image == nullptr) return ignored;
  if (image->size != mask.frame_size)
    throw input_failure("the image of the ignore mask is " + times(image->size) +
                        " (height x width) and the frame " + times(mask.frame_size) +
                        ": draw it on a frame of this camera, without scaling or cropping");
  for (size_t i = 0; i < ignored.size(); ++i) {
    const uint8_t* pixel = image->samples + i * static_cast<size_t>(image->pixel_bytes);
    ignored[i] |= std::any_of(pixel, pixel + image->pixel_bytes, [](uint8_t b) { return b != 0; });
  }
  return ignored;
}

std::vector<uint8_t> region_of_interest(const std::vector<uint8_t>& ignored, Size frame, Size map) {
  const size_t height = frame.first, width = frame.second, down = map.first, across = map.second;
  const auto rows = cell_means(height, width, down, [&](size_t i) { return &ignored[i * width]; });
  const auto cells = cell_means(width, down, across, [&](size_t i) { return &rows[i * down]; });
  std::vector<uint8_t> roi(cells.size());
  std::transform(cells.begin(), cells.end(), roi.begin(), [](double v) { return v < kHalf; });
  if (std::find(roi.begin(), roi.end(), 1) == roi.end())
    throw input_failure(
        "the ignore mask leaves no pixel of the frame: ignore less (inside a polygon, or not 0 in "
        "the PNG, is ignored; if you drew what is to be kept, invert it)");
  return roi;
}

}  // namespace edgead

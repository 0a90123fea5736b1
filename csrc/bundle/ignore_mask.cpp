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

// Marks the pixels whose centre is inside, by the even-odd rule: a row changes at each edge it
// meets. Returns whether there is one.
bool fill(const Polygon& polygon, Size size, std::vector<uint8_t>& marked) {
  const auto [height, width] = size;
  std::vector<uint8_t> changes(static_cast<size_t>(height) * (width + 1));
  for (size_t i = 0; i < polygon.size(); ++i) {
    const auto [x0, y0] = polygon[i];
    const auto [x1, y1] = polygon[(i + 1) % polygon.size()];
    for (int32_t row = 0; row < height; ++row) {
      const double centre = row + 0.5;
      if (centre < std::min(y0, y1) || centre >= std::max(y0, y1)) continue;
      const double at = x0 + (centre - y0) * (x1 - x0) / (y1 - y0);
      const double first = std::clamp(std::ceil(at - 0.5), 0.0, static_cast<double>(width));
      changes[static_cast<size_t>(row) * (width + 1) + static_cast<size_t>(first)] ^= 1;
    }
  }
  bool any = false;
  for (int32_t row = 0; row < height; ++row) {
    uint8_t inside = 0;
    for (int32_t x = 0; x < width; ++x) {
      inside ^= changes[static_cast<size_t>(row) * (width + 1) + x];
      marked[static_cast<size_t>(row) * width + x] |= inside;
      any |= inside != 0;
    }
  }
  return any;
}

// Means of [n, m] over `count` equal parts of the first axis, transposed: [m, count].
std::vector<double> cell_means(const std::vector<double>& values, size_t n, size_t m,
                               size_t count) {
  std::vector<double> sums((n + 1) * m), means(m * count);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < m; ++j) sums[(i + 1) * m + j] = sums[i * m + j] + values[i * m + j];
  const auto reached = [&](size_t part, size_t j) {
    const double edge = static_cast<double>(part * n) / static_cast<double>(count);
    const size_t low = std::min(static_cast<size_t>(edge), n - 1);
    return sums[low * m + j] + (edge - static_cast<double>(low)) * values[low * m + j];
  };
  for (size_t part = 0; part < count; ++part)
    for (size_t j = 0; j < m; ++j)
      means[j * count + part] = (reached(part + 1, j) - reached(part, j)) *
                                static_cast<double>(count) / static_cast<double>(n);
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
    std::vector<uint8_t> inside(static_cast<size_t>(height) * width);
    if (!fill(polygon, mask.frame_size, inside))
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
  for (const Polygon& polygon : mask.polygons) fill(polygon, mask.frame_size, ignored);
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
  const std::vector<double> values(ignored.begin(), ignored.end());
  const auto rows = cell_means(values, frame.first, frame.second, map.first);
  const auto cells = cell_means(rows, frame.second, map.first, map.second);
  std::vector<uint8_t> roi(cells.size());
  std::transform(cells.begin(), cells.end(), roi.begin(), [](double v) { return v < kHalf; });
  if (std::find(roi.begin(), roi.end(), 1) == roi.end())
    throw input_failure(
        "the ignore mask leaves no pixel of the frame: ignore less (inside a polygon, or not 0 in "
        "the PNG, is ignored; if you drew what is to be kept, invert it)");
  return roi;
}

}  // namespace edgead

// NV12 to RGBX, as OpenCV's COLOR_YUV2RGB_NV12 computes it: integers with 20 bits behind the point,
// one U V for 2 x 2 pixels. Four bytes a pixel, so that the compiler writes whole lanes.
#include <algorithm>

#include "frame.h"

namespace edgead {
namespace {

constexpr int kBits = 20;

constexpr int32_t fixed(double factor) { return static_cast<int32_t>(factor * (1 << kBits) + 0.5); }

// Y counts from `black`; U and V from 128.
struct Matrix {
  int32_t black, y, red_v, green_u, green_v, blue_u;
};

// By edgead_color_space, in the three digits of the tables; the first is OpenCV's.
const Matrix kMatrices[] = {
    {16, fixed(1.164), fixed(1.596), fixed(0.391), fixed(0.813), fixed(2.018)},
    {0, fixed(1.0), fixed(1.402), fixed(0.344), fixed(0.714), fixed(1.772)},
    {16, fixed(1.164), fixed(1.793), fixed(0.213), fixed(0.533), fixed(2.112)},
    {0, fixed(1.0), fixed(1.575), fixed(0.187), fixed(0.468), fixed(1.856)},
};

inline uint32_t byte_of(int32_t sum) {
  return static_cast<uint32_t>(std::min(std::max(sum >> kBits, 0), 255));
}

void convert_row(const Matrix& matrix, const uint8_t* __restrict y, const uint8_t* __restrict uv,
                 int32_t width, uint32_t* __restrict pixels) {
  const Matrix m = matrix;
  const auto pixel = [&](int32_t light, int32_t u, int32_t v) {
    const int32_t sum = std::max(light - m.black, 0) * m.y + (1 << (kBits - 1));
    const uint32_t red = byte_of(sum + m.red_v * v);
    const uint32_t green = byte_of(sum - m.green_u * u - m.green_v * v);
    return red | green << 8 | byte_of(sum + m.blue_u * u) << 16;
  };
  for (int32_t x = 0; x < width; x += 2) {
    const int32_t u = uv[x] - 128, v = uv[x + 1] - 128;
    pixels[x] = pixel(y[x], u, v);
    pixels[x + 1] = pixel(y[x + 1], u, v);
  }
}

}  // namespace

bool is_converted(const Geometry& g) { return g.format == EDGEAD_NV12; }

Geometry rgbx_of(const Geometry& g) {
  return {g.height, g.width, static_cast<int64_t>(g.width) * 4, EDGEAD_RGBX, 8, 0, 0};
}

void rgbx_from(const edgead_frame& frame, const Geometry& g, uint32_t* pixels) {
  const auto* light = static_cast<const uint8_t*>(frame.data);
  const auto* chroma = static_cast<const uint8_t*>(frame.chroma);
  if (chroma == nullptr) chroma = light + g.height * g.stride;
  for (int32_t row = 0; row < g.height; ++row)
    convert_row(kMatrices[g.color_space], light + row * g.stride,
                chroma + row / 2 * g.chroma_stride, g.width,
                pixels + static_cast<size_t>(row) * g.width);
}

}  // namespace edgead

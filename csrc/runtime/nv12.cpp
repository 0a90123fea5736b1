// NV12 to RGBX on the CPU. Four bytes a pixel, so that the compiler writes whole lanes.
#include "nv12.h"

#include "frame.h"

namespace edgead {
namespace {

void convert_row(const Nv12Matrix& matrix, bool blue_first, const uint8_t* __restrict y,
                 const uint8_t* __restrict uv, int32_t width, uint32_t* __restrict pixels) {
  const Nv12Matrix m = matrix;
  for (int32_t x = 0; x < width; x += 2) {
    const int32_t u = uv[x], v = uv[x + 1];
    pixels[x] = nv12_pixel(m, blue_first, y[x], u, v);
    pixels[x + 1] = nv12_pixel(m, blue_first, y[x + 1], u, v);
  }
}

}  // namespace

bool is_converted(const Geometry& g) { return g.format == EDGEAD_NV12; }

Geometry rgbx_of(const Geometry& g) {
  return {g.height, g.width, static_cast<int64_t>(g.width) * 4, EDGEAD_RGBX, 8, 0, 0};
}

void colors_from(const edgead_frame& frame, const Geometry& g, bool blue_first, uint32_t* pixels) {
  const auto* light = static_cast<const uint8_t*>(frame.data);
  const auto* chroma = static_cast<const uint8_t*>(frame.chroma);
  if (chroma == nullptr) chroma = light + g.height * g.stride;
  for (int32_t row = 0; row < g.height; ++row)
    convert_row(kNv12Matrices[g.color_space], blue_first, light + row * g.stride,
                chroma + row / 2 * g.chroma_stride, g.width,
                pixels + static_cast<size_t>(row) * g.width);
}

void rgbx_from(const edgead_frame& frame, const Geometry& g, uint32_t* pixels) {
  colors_from(frame, g, false, pixels);
}

}  // namespace edgead

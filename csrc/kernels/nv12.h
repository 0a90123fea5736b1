// nv12: a frame of two planes becomes one of four bytes a pixel, for preprocess; the CPU, CUDA and
// edgead/reference.py agree byte for byte.
//
//   light [height, width], chroma [height / 2, width / 2, 2] of U V, uint8, rows any stride
//   ->  colors [height, width, 4] R G B 0, or B G R 0, without gaps
//
// Each pixel has the U V of its 2 x 2 pixels, as OpenCV's COLOR_YUV2RGB_NV12 has it: integers with
// 20 bits behind the point, factors of three digits, BT.601 in limited range bit for bit its
// result.
//   y     = max(Y - black, 0) * m.y + 2^19
//   red   = byte(y + m.red_v * (V - 128))          byte(x) = x >> 20, at least 0, at most 255
//   green = byte(y - m.green_u * (U - 128) - m.green_v * (V - 128))
//   blue  = byte(y + m.blue_u * (U - 128))
#pragma once
#include "common.h"

namespace edgead {

struct Nv12Params {
  int32_t height, width;          // even
  int64_t stride, chroma_stride;  // bytes from a row to the next, of either sign
  int32_t color_space;            // of edgead.h: 0 BT.601, 1 the same in full range, 2 and 3 BT.709
  bool blue_first;
};

// The CUDA implementation: light, chroma and colors (at a multiple of 8) on the device; enqueued on
// `stream` (a cudaStream_t), safe inside a CUDA graph. Returns the cudaError_t of the launch.
int nv12_cuda(const Nv12Params& params, const void* light, const void* chroma, void* colors,
              void* stream);

// Y counts from `black`; U and V from 128. Factors with kNv12Bits behind the point.
struct Nv12Matrix {
  int32_t black, y, red_v, green_u, green_v, blue_u;
};
constexpr int32_t kNv12Bits = 20;

constexpr int32_t nv12_fixed(double factor) {
  return static_cast<int32_t>(factor * (1 << kNv12Bits) + 0.5);
}

// By color_space.
constexpr Nv12Matrix kNv12Matrices[] = {
    {16, nv12_fixed(1.164), nv12_fixed(1.596), nv12_fixed(0.391), nv12_fixed(0.813),
     nv12_fixed(2.018)},
    {0, nv12_fixed(1.0), nv12_fixed(1.402), nv12_fixed(0.344), nv12_fixed(0.714),
     nv12_fixed(1.772)},
    {16, nv12_fixed(1.164), nv12_fixed(1.793), nv12_fixed(0.213), nv12_fixed(0.533),
     nv12_fixed(2.112)},
    {0, nv12_fixed(1.0), nv12_fixed(1.575), nv12_fixed(0.187), nv12_fixed(0.468),
     nv12_fixed(1.856)},
};

// (static: see simd.h)
EDGEAD_HOST_DEVICE static inline uint32_t nv12_byte(int32_t sum) {
  const int32_t value = sum >> kNv12Bits;
  return static_cast<uint32_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// Bytes R G B 0, or B G R 0, from the lowest on.
EDGEAD_HOST_DEVICE static inline uint32_t nv12_pixel(const Nv12Matrix& m, bool blue_first,
                                                     int32_t light, int32_t u, int32_t v) {
  const int32_t above = light - m.black;
  const int32_t sum = (above < 0 ? 0 : above) * m.y + (1 << (kNv12Bits - 1));
  u -= 128, v -= 128;
  const uint32_t red = nv12_byte(sum + m.red_v * v), blue = nv12_byte(sum + m.blue_u * u);
  const uint32_t green = nv12_byte(sum - m.green_u * u - m.green_v * v);
  return (blue_first ? blue : red) | green << 8 | (blue_first ? red : blue) << 16;
}

}  // namespace edgead

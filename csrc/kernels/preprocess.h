// preprocess: a camera frame becomes the network's image, in one pass; CPU, CUDA and
// edgead/reference.py agree bit for bit.
//
//   frame [height, width, channels] uint8|uint16, any strides
//   ->  image [3, out_height, out_width] (nchw) | [out_height, out_width, 3] (nhwc), R G B,
//   float32|float16
//
// Simple use: fill PreprocessParams; let preprocess_axis() fill the two axes in memory of yours;
// take a workspace of preprocess_workspace_bytes(); call preprocess_cpu() once per frame.
// Ownership: the caller owns frame, image, axes and workspace. Nothing here allocates, keeps state,
// starts a thread or checks an argument: problem_of() of arguments.h does, once per geometry.
// Threads: one workspace per thread; params and axes can be shared.
//
// The filter is a half-pixel triangle, widened by in/out when shrinking, as Pillow's BILINEAR and
// torch's interpolate(antialias=True) have it, separable, vertical first, in fixed point:
//   weights   float64, normalised, rounded to Q14 so that each set sums to exactly 16384
//   vertical  acc = sum weight * sample
//             mid = min((acc + 2^(n - 3)) >> (n - 2), 65535), n bits a sample: what the frame
//             shifted left to 16 bits gives. Only samples above 2^n - 1 reach the minimum.
//   horizontal acc = sum weight * mid                                         (< 2^30)
//   image     = float32(acc) * scale[c] + bias[c]          (two roundings: no fused multiply-add)
//   float16   = image rounded once more, to nearest even
#pragma once
#include "common.h"

namespace edgead {

constexpr int32_t kWeightBits = 14;  // Q14: the largest that keeps both accumulators in 32 bits

struct PreprocessParams {
  int32_t height, width, channels;                   // the frame; channels is 1 or 3
  int32_t sample_bytes;                              // 1: uint8, 2: uint16
  int32_t bit_depth;                                 // of the samples: 8; of uint16 9 to 16
  int64_t row_stride, pixel_stride, channel_stride;  // bytes, of either sign
  int32_t out_height, out_width;
  int32_t order[3];         // the frame's channel for the planes R, G, B; {0, 0, 0} for grey
  float scale[3], bias[3];  // of preprocess_normalise(): scale = 1 / (16384 * full * std),
                            // bias = -mean / std, full = (2^n - 1) * 2^(16 - n), n = bit_depth
  Type type;                // of the image
  Layout layout;            // of the image
};

// One direction of the filter. Output i is the sum over t < count[i] of
// weight[i * taps + t] * input[start[i] + t]; weights after count[i] are 0.
struct PreprocessAxis {
  int32_t in, out, taps;   // taps: row length of weight, a multiple of 4
  const int32_t* start;    // [out]
  const int32_t* count;    // [out], 1 .. taps
  const uint16_t* weight;  // [out, taps], Q14
};

// Fills scale and bias from mean and std of R, G, B, where 0 is black and 1 the largest value of
// bit_depth, which is set. One program for all doors, so that one frame gives one image.
void preprocess_normalise(PreprocessParams& params, const double* mean, const double* std);

// Row length that preprocess_axis() needs for `weight`.
int32_t preprocess_taps(int32_t in, int32_t out);

// Computes one axis into start[out], count[out], weight[out * preprocess_taps(in, out)].
PreprocessAxis preprocess_axis(int32_t in, int32_t out, int32_t* start, int32_t* count,
                               uint16_t* weight);

// Bytes that preprocess_cpu() needs, 64-byte aligned.
size_t preprocess_workspace_bytes(const PreprocessParams& params);

// frame points at sample [0, 0, 0]; the image is written whole.
using PreprocessCpu = void (*)(const PreprocessParams& params, const PreprocessAxis& vertical,
                               const PreprocessAxis& horizontal, const void* frame, void* image,
                               void* workspace);

// The CUDA implementation: frame, image and the arrays of both axes lie in device memory, the
// weights at a multiple of 8 bytes; enqueued on `stream` (a cudaStream_t), safe inside a CUDA
// graph, no workspace. Returns the cudaError_t of the launch.
int preprocess_cuda(const PreprocessParams& params, const PreprocessAxis& vertical,
                    const PreprocessAxis& horizontal, const void* frame, void* image, void* stream);

// The mathematics that both implementations share. (static: see simd.h)

EDGEAD_HOST_DEVICE static inline uint32_t preprocess_mid(uint32_t acc, int32_t bit_depth) {
  const uint32_t mid = (acc + (1u << (bit_depth - 3))) >> (bit_depth - 2);
  return mid < 65535u ? mid : 65535u;
}

}  // namespace edgead

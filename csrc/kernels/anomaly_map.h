// anomaly_map: feature pairs become the anomaly map and the score.
//
//   pairs k = 0 .. levels-1, each [batch, channels_k, height_k, width_k] (nchw) or
//   [batch, height_k, width_k, channels_k] (nhwc), float32 or float16, contiguous
//   ->  map [batch, height, width] float32, score [batch] float32
//
//   d_k   = distance over the channels at each position, at feature resolution
//           cosine: 1 - <a, b> / max(|a| |b|, 1e-8)   l1: mean |a - b|   l2: mean (a - b)^2
//   map   = blur(sum_k w_k up(d_k))   or   blur(prod_k w_k up(d_k))
//   map   = 0 where the region of interest (roi) is 0
//   score = max | mean | mean of the top_count largest of the kept pixels of the map
//   up = bilinear (half-pixel or aligned corners), blur = Gaussian, radius int(4 sigma + 0.5),
//   border repeated.
//
// For the sum, up and blur are linear and separable, so each level is one banded matrix per
// direction, made once in float64:  map = sum_k R_k d_k C_k^T  with  R_k = w_k blur up.
// float16 features become float32 when they are read; everything after that is float32. The roi
// changes neither distances nor the blur: a kept pixel is the same with it and without it.
//
// Simple use: fill AnomalyMapParams; give anomaly_map_plan() anomaly_map_plan_bytes() of memory;
// take a workspace of anomaly_map_workspace_bytes(); call anomaly_map_cpu() once per batch.
// Ownership: the caller owns features, map, score, plan memory and workspace; the plan lives as
// long as its memory. Nothing here allocates per call, keeps state, starts a thread or checks an
// argument: problem_of() of arguments.h does, once per geometry. Threads: one workspace per thread;
// the plan can be shared. Not finite: a NaN or infinity in a feature, or a squared norm
// over float32, makes the distance there NaN or infinite, with it every pixel that the position
// reaches (and perhaps others in their groups of kRowGroup rows and kColumnGroup columns), and the
// score. An ignored pixel is exactly 0 whatever was there.
#pragma once
#include <cmath>

#include "common.h"

namespace edgead {

constexpr int32_t kMaxLevels = 8;

enum class Distance : int32_t { cosine, l1, l2 };
enum class Fusion : int32_t { sum, product };
enum class Pooling : int32_t { max, mean, top_k };

struct AnomalyMapLevel {
  int32_t channels, height, width;
  double weight;
};

struct AnomalyMapParams {
  int32_t levels;  // 1 .. kMaxLevels
  AnomalyMapLevel level[kMaxLevels];
  Type type;              // of the features
  Layout layout;          // of the features
  int32_t height, width;  // of the map
  Distance distance;
  Fusion fusion;
  Pooling pooling;
  int32_t top_count;  // pixels averaged by top_k, 1 .. kept pixels
  bool align_corners;
  double sigma;  // of the blur, in pixels of the map; 0: none
  bool has_roi;
};

// A banded matrix, `group` outputs at a time: output g * group + i is the sum over t < count[g] of
// weight[(g * taps + t) * group + i] * input[start[g] + t].
struct Band {
  int32_t in, out, group, groups, taps;
  const int32_t* start;  // [groups]
  const int32_t* count;  // [groups], 1 .. taps
  const float* weight;   // [groups, taps, group], 0 outside the band
};

constexpr int32_t kRowGroup = 4;      // outputs per group of a Band over rows
constexpr int32_t kColumnGroup = 16;  // and over columns

struct AnomalyMapPlan {
  AnomalyMapParams params;
  Band rows[kMaxLevels], columns[kMaxLevels];  // sum: blur and upsampling; product: upsampling
  Band blur_rows, blur_columns;                // product with a blur only
  const uint8_t* roi;                          // [height, width] of 0 and 1, or null
  int32_t kept;                                // pixels that the roi keeps; without one all
};

// The top_count of a share, in (0, 1], of the pixels that are kept.
int64_t anomaly_map_top_count(double share, int64_t kept);

// Bytes of memory for a plan, and the plan in it (64-byte aligned). roi [height, width], not 0
// where a pixel is kept, at least one of them; it is copied. Null unless params.has_roi.
size_t anomaly_map_plan_bytes(const AnomalyMapParams& params);
AnomalyMapPlan anomaly_map_plan(const AnomalyMapParams& params, const uint8_t* roi, void* memory);

// Bytes of the CPU implementation's workspace, 64-byte aligned.
size_t anomaly_map_workspace_bytes(const AnomalyMapParams& params);

// reference, restored: `levels` pointers each, to values of params.type; map [batch, height,
// width]; score [batch].
using AnomalyMapCpu = void (*)(const AnomalyMapPlan& plan, const void* const* reference,
                               const void* const* restored, int32_t batch, float* map, float* score,
                               void* workspace);

// The CUDA implementation: a plan whose bands point into device memory (a copy of the host's plan
// memory, see anomaly_map_plan_moved), features, map, score and workspace on the device; enqueued
// on `stream` (a cudaStream_t), safe inside a CUDA graph. Returns the cudaError_t of the launches.
size_t anomaly_map_cuda_workspace_bytes(const AnomalyMapParams& params, int32_t batch);
int anomaly_map_cuda(const AnomalyMapPlan& plan, const void* const* reference,
                     const void* const* restored, int32_t batch, float* map, float* score,
                     void* workspace, void* stream);

// The plan after its memory was copied to `memory`.
AnomalyMapPlan anomaly_map_plan_moved(const AnomalyMapPlan& plan, void* memory);

// The mathematics that both implementations share. (static: see simd.h)

// From the sums of a * b, a * a and b * b; in double, so that their product neither overflows nor
// vanishes, and equal features give exactly 0. Rounding must not make it negative.
EDGEAD_HOST_DEVICE static inline float cosine_distance(float ab, float aa, float bb) {
  double norm = sqrt(static_cast<double>(aa) * static_cast<double>(bb));
  float d = static_cast<float>(1.0 - static_cast<double>(ab) / (norm < 1e-8 ? 1e-8 : norm));
  return (d < 0.0f ? 0.0f : d) + (aa - aa) + (bb - bb);  // infinite squares give NaN
}

// top_k selects by radix: the bits of floats >= 0, its keys, have the order of the floats, and NaN
// lies above infinity. Three digits, the highest first, of 11, 11 and 10 bits.
constexpr int kBuckets = 2048;
EDGEAD_HOST_DEVICE static inline uint32_t key_digit(uint32_t key, int pass) {
  return pass == 0 ? key >> 21 : pass == 1 ? key >> 10 & 2047u : key & 1023u;
}

}  // namespace edgead

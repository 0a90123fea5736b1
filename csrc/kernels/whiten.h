// whiten: how far the feature of each position is from the mean of its place, in units of the
// spread that good parts have in its region.
//
//   feature [batch, channels, height, width] (nchw) or [batch, height, width, channels] (nhwc),
//           float32 or float16, contiguous
//   mean    [channels, height, width] float32
//   factor  [regions, outputs, channels] float32
//   ->  distance [batch, height, width] float32
//
//   x_c      = feature_c, or with channel_normal
//              (feature_c - m) / sqrt(v + epsilon), m and v mean and variance over the channels
//   z_o      = sum_c factor[region]_oc (x_c - mean_c);   upper triangular: c >= o only
//   distance = sum_o z_o^2 / outputs
//   distance = 0 where the region of interest (roi) is 0
//
// With factor^T factor = covariance^-1 and as many outputs as channels: the squared Mahalanobis
// distance, shared out over the channels. A region is a square block of `side` x `side` places,
// those at the right and lower end may be smaller; regions are numbered along rows. A side of at
// least height and width: one region for all. Everything is float32 after reading.
//
// Simple use: fill WhitenParams; give whiten_index() whiten_index_bytes() of memory once; take a
// workspace of whiten_workspace_bytes(); call a WhitenCpu once per batch.
// Ownership: the caller owns everything; the index has copies of mean, factor and roi. Nothing here
// allocates per call, keeps state, starts a thread or checks an argument: problem_of() of
// arguments.h does, once per geometry. Threads: one workspace per thread; the index can be shared.
// Not finite: a NaN, an infinity or a sum over float32 in a feature makes the distance of its
// position NaN or infinite, and no other. An ignored position is exactly 0 whatever was there. Mean
// and factor are finite.
#pragma once
#include "common.h"

namespace edgead {

constexpr int32_t kWhitenBlock = 16;     // positions of a region that are seen together
constexpr int32_t kWhitenPanel = 32;     // outputs that are seen together
constexpr double kWhitenEpsilon = 1e-5;  // of bundles, and where none is asked for

struct WhitenParams {
  int32_t height, width, channels, outputs;
  int32_t side;         // of a region in places, 1 .. max(height, width)
  bool triangular;      // what lies left of the diagonal of a factor is 0 and not read
  bool channel_normal;  // each feature to mean 0 and variance 1 over its channels
  float epsilon;        // added to that variance, > 0
  Type type;            // of the features, float32 or float16
  Layout layout;        // of the features
};

// Mean and factors in the order in which the CPU implementation reads them.
struct WhitenIndex {
  int32_t blocks;
  const int32_t* place;   // [blocks, kWhitenBlock] positions of a frame, -1: none
  const int32_t* region;  // [blocks]
  const float* mean;      // [blocks, channels, kWhitenBlock], 0 beyond the last position
  const float* panels;    // [regions, panel_floats]: of each panel of a factor, [c, kWhitenPanel],
                          // c from the first that is not left of the diagonal
  int64_t panel_floats;
};

// The first channel that a panel of outputs reads.
EDGEAD_HOST_DEVICE static inline int32_t whiten_first(const WhitenParams& p, int32_t output) {
  return !p.triangular ? 0 : output < p.channels ? output : p.channels;
}

EDGEAD_HOST_DEVICE static inline int32_t whiten_regions(int32_t size, int32_t side) {
  return (size + side - 1) / side;
}

// Whether all that lies left of the diagonals of factor [regions, outputs, channels] is 0.
bool whiten_triangular(const float* factor, size_t regions, int32_t outputs, int32_t channels);

size_t whiten_index_bytes(const WhitenParams& params);

// roi [height, width], 0 where a position is ignored, or null.
WhitenIndex whiten_index(const WhitenParams& params, const float* mean, const float* factor,
                         const uint8_t* roi, void* index_memory);

// Bytes of the CPU implementation's workspace, 64-byte aligned.
size_t whiten_workspace_bytes(const WhitenParams& params);

using WhitenCpu = void (*)(const WhitenParams& params, const WhitenIndex& index,
                           const void* feature, int32_t batch, float* distance, void* workspace);

// The CUDA implementation: all arrays on the device, mean and factor as above, no index, no
// workspace; enqueued on `stream` (a cudaStream_t), safe inside a CUDA graph. centre [channels], or
// null for 0: what is taken off the features before anything else. Returns the cudaError_t of the
// launch.
int whiten_cuda(const WhitenParams& params, const float* mean, const float* factor,
                const void* feature, int32_t batch, const float* centre, const uint8_t* roi,
                const DistanceOut& out, void* stream);

}  // namespace edgead

// raise: the distances of a quiet frame are raised to the level that good frames reach.
//
//   own      = mean over the positions of sqrt(sum_k distance_k), k the signals that the map shows
//   factor   = highest / clamp(own, lowest, highest), or 1 where own is not finite
//   distance_k, sum *= factor
//
// So frames in unlike light, whose distances differ as a whole, compare better, as far as good
// frames differ: one that is farther off than all of them stays as it is. `own` is made of roots
// and divides once: of a factor of four between the distances of two frames a factor of two is
// left.
#pragma once
#include <cmath>

#include "anomaly_map.h"

namespace edgead {

// Distances of one frame, [positions] each: those of the map, and the sum for the score.
struct Raise {
  int32_t shown, positions, summed;  // 1 .. kMaxLevels signals; summed: positions of the sum
  float* distance[kMaxLevels];
  float* sum;             // null: the score is pooled from the map
  float lowest, highest;  // own levels of good frames, both above 0
};

// roots: their sum over the positions. (static: see simd.h)
EDGEAD_HOST_DEVICE static inline float raise_factor(double roots, int32_t positions, float lowest,
                                                    float highest) {
  const float own = static_cast<float>(roots / positions);
  if (!(own < highest)) return 1.0f;  // also a NaN
  return highest / (own < lowest ? lowest : own);
}

// On the device, enqueued on `stream` (a cudaStream_t); pointers into device memory. Safe inside a
// CUDA graph. Returns the cudaError_t of the launch.
int raise_cuda(const Raise& raise, void* stream);

}  // namespace edgead

// A part of nearest_cpu.cpp: the distance to a blend of the rows that were found, see nearest.h.
#pragma once
#include <cmath>

#include "nearest_distance.h"
#include "nearest_scan.h"

namespace edgead {
namespace {

// The shares [blended] of a blend, from the smallest distances [k].
inline void share_out(const NearestParams& p, const float* best, float* share) {
  float all = 0.0f, sum = 0.0f, next = 0.0f;
  for (int32_t i = 0; i < p.k; ++i) {
    const float e = std::exp((best[0] - best[i]) / p.temperature);
    all += e;
    i < p.blended ? share[i] = e : next = e;
  }
  for (int32_t i = 0; i < p.blended; ++i) sum += share[i] = (share[i] - next) / all + kLeastShare;
  for (int32_t i = 0; i < p.blended; ++i) share[i] /= sum;
}

// The squared distance to the blend of the nearest, which is made in `blend` [channels].
template <class T>
float to_blend(const NearestParams& p, const NearestIndex& index, const Query& query,
               const float* values, I32 rest, float* blend) {
  if (!(query.best[0] < __builtin_inff())) return query.best[0];
  float share[kMaxNearest];
  share_out(p, query.best, share);
  const T* row[kMaxNearest];
  for (int32_t i = 0; i < p.blended; ++i)
    row[i] = static_cast<const T*>(index.memory) + static_cast<int64_t>(query.rows[i]) * p.channels;
  int32_t c = 0;
  for (; c + kLanes <= p.channels; c += kLanes) {
    F32 sum = {};
    for (int32_t i = 0; i < p.blended; ++i)
      sum = multiply_add(all_lanes(share[i]), load_values(row[i], index.scale, c), sum);
    store(blend + c, sum);
  }
  for (; c < p.channels; ++c) {
    blend[c] = 0.0f;
    for (int32_t i = 0; i < p.blended; ++i) blend[c] += share[i] * value_of(row[i], index.scale, c);
  }
  return distance(values, blend, nullptr, p.channels, rest);
}

}  // namespace
}  // namespace edgead

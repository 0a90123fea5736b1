// What the CPU and the CUDA implementation of preprocess share on the host: weights and sizes.
#include "preprocess.h"

#include <algorithm>
#include <cmath>

#include "layout.h"

namespace edgead {

void preprocess_normalise(PreprocessParams& params, const double* mean, const double* std) {
  const int32_t bits = params.bit_depth;
  const double full = static_cast<double>(((1u << bits) - 1u) << (16 - bits));
  for (int c = 0; c < 3; ++c) {
    params.scale[c] = static_cast<float>(1.0 / (16384.0 * full * std[c]));
    params.bias[c] = static_cast<float>(-mean[c] / std[c]);
  }
}

int32_t preprocess_taps(int32_t in, int32_t out) {
  const double widest = 2.0 * std::max(1.0, static_cast<double>(in) / out) + 2.0;
  return (static_cast<int32_t>(std::min<double>(widest, in)) + 3) / 4 * 4;
}

// Compiled without contraction (see CMakeLists.txt): edgead/reference.py does the same operations
// in the same order and gets the same integers.
PreprocessAxis preprocess_axis(int32_t in, int32_t out, int32_t* start, int32_t* count,
                               uint16_t* weight) {
  const int32_t taps = preprocess_taps(in, out);
  const double scale = static_cast<double>(in) / out, support = std::max(1.0, scale);
  const double one = 1 << kWeightBits;
  for (int32_t i = 0; i < out; ++i) {
    const double center = (i + 0.5) * scale;
    const double low = center - support + 0.5, high = center + support + 0.5;
    const int32_t first = static_cast<int32_t>(std::max(low, 0.0));
    const int32_t last = static_cast<int32_t>(std::min<double>(high, in));
    auto tent = [&](int32_t j) {
      return std::max(0.0, 1.0 - std::abs((j + 0.5 - center) / support));
    };
    double total = 0.0, sum = 0.0;
    for (int32_t j = first; j < last; ++j) total += tent(j);
    uint16_t* row = weight + static_cast<size_t>(i) * taps;
    int32_t done = 0, n = 0;
    start[i] = first;
    for (int32_t j = first; j < last; ++j) {
      sum += tent(j);
      const int32_t reached = static_cast<int32_t>(sum / total * one + 0.5);
      if (n == 0 && reached == 0) {
        start[i] = j + 1;  // leading zeros are left out
        continue;
      }
      row[n++] = static_cast<uint16_t>(reached - done);
      done = reached;
    }
    while (n > 1 && row[n - 1] == 0) --n;  // and so are trailing ones
    count[i] = n;
    for (; n < taps; ++n) row[n] = 0;
  }
  return {in, out, taps, start, count, weight};
}

size_t preprocess_workspace_bytes(const PreprocessParams& params) {
  Arena<> arena{nullptr};
  workspace_of(params, preprocess_taps(params.height, params.out_height), arena);
  return arena.used;
}

}  // namespace edgead

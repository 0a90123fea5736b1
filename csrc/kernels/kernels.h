// The CPU kernels of one instruction set.
#pragma once
#include <vector>

#include "anomaly_map.h"
#include "nearest.h"
#include "preprocess.h"
#include "whiten.h"

namespace edgead {

struct Kernels {
  const char* name;  // "avx512", "avx2", "baseline" (SSE2 on x86-64) or "neon"
  PreprocessCpu preprocess;
  AnomalyMapCpu anomaly_map;
  WhitenCpu whiten;
};

// nearest has more sets than the others: those with products of bytes.
struct NearestKernel {
  const char* name;  // "avx512vnni", "avx512", "avxvnni", "avx2", "baseline", "neondot" or "neon"
  NearestCpu run;
};

// The sets that this machine has, the best first; at least one.
std::vector<const Kernels*> all_kernels();
std::vector<const NearestKernel*> all_nearest_kernels();

}  // namespace edgead

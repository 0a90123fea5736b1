// The CPU kernels of one instruction set.
#pragma once
#include "anomaly_map.h"
#include "nearest.h"
#include "preprocess.h"

namespace edgead {

struct Kernels {
  const char* name;  // "avx512", "avx2", "baseline" (SSE2 on x86-64) or "neon"
  PreprocessCpu preprocess;
  AnomalyMapCpu anomaly_map;
};

// The set called `name`, or the best one when null; null when this machine does not have it.
const Kernels* kernels(const char* name);

// nearest has more sets than the others: those with products of bytes.
struct NearestKernel {
  const char* name;  // "avx512vnni", "avx512", "avxvnni", "avx2", "baseline", "neondot" or "neon"
  NearestCpu run;
};

const NearestKernel* nearest_kernel(const char* name);

}  // namespace edgead

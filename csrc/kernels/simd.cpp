// Chooses the widest instruction set that this processor has, once.
#ifdef EDGEAD_X86
#include <cpuid.h>
#endif

#include <cstring>

#include "kernels.h"

namespace edgead {

#define EDGEAD_DECLARE(set)                                                                      \
  void preprocess_##set(const PreprocessParams&, const PreprocessAxis&, const PreprocessAxis&,   \
                        const void*, void*, void*);                                              \
  void anomaly_map_##set(const AnomalyMapPlan&, const void* const*, const void* const*, int32_t, \
                         float*, float*, void*);
#ifdef EDGEAD_X86
EDGEAD_DECLARE(avx512)
EDGEAD_DECLARE(avx2)
EDGEAD_DECLARE(baseline)
#elif defined(EDGEAD_ARM)
EDGEAD_DECLARE(neon)
#else
EDGEAD_DECLARE(baseline)
#endif

namespace {

// Widest first; the last one runs everywhere.
const Kernels kSets[] = {
#ifdef EDGEAD_X86
    {"avx512", preprocess_avx512, anomaly_map_avx512},
    {"avx2", preprocess_avx2, anomaly_map_avx2},
    {"baseline", preprocess_baseline, anomaly_map_baseline},
#elif defined(EDGEAD_ARM)
    {"neon", preprocess_neon, anomaly_map_neon},
#else
    {"baseline", preprocess_baseline, anomaly_map_baseline},
#endif
};

#ifdef EDGEAD_X86
// Clang before 18 and GCC before 11 do not know "f16c" below.
bool has_f16c() {
  unsigned a, b, c = 0, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

// The compiler's own test: it also asks whether the system saves the wide registers.
bool supported(const char* name) {
#ifdef EDGEAD_X86
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (!std::strcmp(name, "avx2")) return avx2;
  if (!std::strcmp(name, "avx512"))
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
  (void)name;
  return true;
}

}  // namespace

const Kernels* kernels(const char* name) {
  for (const Kernels& set : kSets)
    if (supported(set.name) && (name == nullptr || !std::strcmp(name, set.name))) return &set;
  return nullptr;
}

}  // namespace edgead

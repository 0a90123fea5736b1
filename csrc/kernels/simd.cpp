// Chooses the widest instruction set that this processor has, once.
#ifdef EDGEAD_X86
#include <cpuid.h>
#endif

#include <cstring>
#include <type_traits>

#include "kernels.h"

namespace edgead {

// Widest first; the last one runs everywhere.
#ifdef EDGEAD_X86
#define EDGEAD_SETS(X) X(avx512) X(avx2) X(baseline)
#elif defined(EDGEAD_ARM)
#define EDGEAD_SETS(X) X(neon)
#else
#define EDGEAD_SETS(X) X(baseline)
#endif

#define EDGEAD_DECLARE(set)                              \
  std::remove_pointer_t<PreprocessCpu> preprocess_##set; \
  std::remove_pointer_t<AnomalyMapCpu> anomaly_map_##set;
EDGEAD_SETS(EDGEAD_DECLARE)

namespace {

#define EDGEAD_ROW(set) {#set, preprocess_##set, anomaly_map_##set},
const Kernels kSets[] = {EDGEAD_SETS(EDGEAD_ROW)};

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

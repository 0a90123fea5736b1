// Which of the instruction sets that were compiled this processor has.
#ifdef EDGEAD_X86
#include <cpuid.h>
#elif defined(EDGEAD_ARM) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
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

// Those of nearest, also with products of bytes, where the compiler knows them.
#ifdef EDGEAD_X86
#ifdef EDGEAD_AVXVNNI
#define EDGEAD_NEAREST_SETS(X) X(avx512vnni) X(avx512) X(avxvnni) X(avx2) X(baseline)
#else
#define EDGEAD_NEAREST_SETS(X) X(avx512vnni) X(avx512) X(avx2) X(baseline)
#endif
#elif defined(EDGEAD_ARM)
#define EDGEAD_NEAREST_SETS(X) X(neondot) X(neon)
#else
#define EDGEAD_NEAREST_SETS(X) X(baseline)
#endif

#define EDGEAD_DECLARE(set)                               \
  std::remove_pointer_t<PreprocessCpu> preprocess_##set;  \
  std::remove_pointer_t<AnomalyMapCpu> anomaly_map_##set; \
  std::remove_pointer_t<WhitenCpu> whiten_##set;
EDGEAD_SETS(EDGEAD_DECLARE)
#define EDGEAD_DECLARE_NEAREST(set) std::remove_pointer_t<NearestCpu> nearest_##set;
EDGEAD_NEAREST_SETS(EDGEAD_DECLARE_NEAREST)

namespace {

#define EDGEAD_ROW(set) {#set, preprocess_##set, anomaly_map_##set, whiten_##set},
const Kernels kSets[] = {EDGEAD_SETS(EDGEAD_ROW)};
#define EDGEAD_NEAREST_ROW(set) {#set, nearest_##set},
const NearestKernel kNearestSets[] = {EDGEAD_NEAREST_SETS(EDGEAD_NEAREST_ROW)};

#ifdef EDGEAD_X86
// Clang before 18 and GCC before 11 do not know "f16c" below.
bool has_f16c() {
  unsigned a, b, c = 0, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

// Nor compilers of those years "avxvnni": bit 4 of EAX.
bool has_avxvnni() {
  unsigned a = 0, b, c, d;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4);
}
#endif

// The compiler's own test: it also asks whether the system saves the wide registers.
bool supported(const char* name) {
#ifdef EDGEAD_X86
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (!std::strcmp(name, "avx2")) return avx2;
  if (!std::strcmp(name, "avxvnni")) return avx2 && has_avxvnni();
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  if (!std::strcmp(name, "avx512")) return avx512;
  if (!std::strcmp(name, "avx512vnni")) return avx512 && __builtin_cpu_supports("avx512vnni");
#elif defined(EDGEAD_ARM) && defined(__linux__)
  if (!std::strcmp(name, "neondot")) return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#elif defined(EDGEAD_ARM)
  if (!std::strcmp(name, "neondot")) return false;
#endif
  (void)name;
  return true;
}

template <class Set, size_t n>
std::vector<const Set*> supported_of(const Set (&sets)[n]) {
  std::vector<const Set*> found;
  for (const Set& set : sets)
    if (supported(set.name)) found.push_back(&set);
  return found;
}

}  // namespace

std::vector<const Kernels*> all_kernels() { return supported_of(kSets); }

std::vector<const NearestKernel*> all_nearest_kernels() { return supported_of(kNearestSets); }

}  // namespace edgead

// SHA-256 by the instructions that x86 (SHA-NI) and ARMv8 have for it: four rounds at a time, while
// the words of the four rounds that come 16 later are made.
#include "sha256_blocks.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

namespace edgead {

#if defined(__x86_64__)
namespace {

__attribute__((target("sha,sse4.1"))) void add_blocks(uint32_t state[8], const uint8_t* blocks,
                                                      size_t count) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  auto* const memory = reinterpret_cast<__m128i*>(state);
  // The instructions keep the eight words as (f, e, b, a) and (h, g, d, c).
  const __m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(memory), 0xb1);
  const __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128(memory + 1), 0x1b);
  __m128i feba = _mm_alignr_epi8(badc, hgfe, 8), hgdc = _mm_blend_epi16(hgfe, badc, 0xf0);
  for (; count > 0; --count, blocks += 64) {
    const __m128i old_feba = feba, old_hgdc = hgdc;
    __m128i w[4];
    for (int i = 0; i < 4; ++i) {
      const auto* at = reinterpret_cast<const __m128i*>(blocks) + i;
      w[i] = _mm_shuffle_epi8(_mm_loadu_si128(at), big_endian);
    }
    for (int first = 0; first < 64; first += 16)
      for (int i = 0; i < 4; ++i) {
        const auto* round = reinterpret_cast<const __m128i*>(kSha256Round + first) + i;
        const __m128i words = _mm_add_epi32(w[i], _mm_load_si128(round));
        hgdc = _mm_sha256rnds2_epu32(hgdc, feba, words);
        feba = _mm_sha256rnds2_epu32(feba, hgdc, _mm_shuffle_epi32(words, 0x0e));
        const __m128i second = w[(i + 1) % 4], third = w[(i + 2) % 4], fourth = w[(i + 3) % 4];
        const __m128i sum =
            _mm_add_epi32(_mm_sha256msg1_epu32(w[i], second), _mm_alignr_epi8(fourth, third, 4));
        w[i] = _mm_sha256msg2_epu32(sum, fourth);
      }
    feba = _mm_add_epi32(feba, old_feba), hgdc = _mm_add_epi32(hgdc, old_hgdc);
  }
  const __m128i abef = _mm_shuffle_epi32(feba, 0x1b), dcgh = _mm_shuffle_epi32(hgdc, 0xb1);
  _mm_storeu_si128(memory, _mm_blend_epi16(abef, dcgh, 0xf0));
  _mm_storeu_si128(memory + 1, _mm_alignr_epi8(dcgh, abef, 8));
}

bool is_there() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & bit_SSE4_1) == 0) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b & bit_SHA) != 0;
}

}  // namespace

Sha256Blocks native_sha256_blocks() { return is_there() ? add_blocks : nullptr; }

#elif defined(__aarch64__) && defined(__linux__)
namespace {

__attribute__((target("+crypto"))) void add_blocks(uint32_t state[8], const uint8_t* blocks,
                                                   size_t count) {
  uint32x4_t abcd = vld1q_u32(state), efgh = vld1q_u32(state + 4);
  for (; count > 0; --count, blocks += 64) {
    const uint32x4_t old_abcd = abcd, old_efgh = efgh;
    uint32x4_t w[4];
    for (int i = 0; i < 4; ++i) w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(blocks + 16 * i)));
    for (int first = 0; first < 64; first += 16)
      for (int i = 0; i < 4; ++i) {
        const uint32x4_t words = vaddq_u32(w[i], vld1q_u32(kSha256Round + first + 4 * i));
        const uint32x4_t before = abcd;
        abcd = vsha256hq_u32(abcd, efgh, words);
        efgh = vsha256h2q_u32(efgh, before, words);
        const uint32x4_t sum = vsha256su0q_u32(w[i], w[(i + 1) % 4]);
        w[i] = vsha256su1q_u32(sum, w[(i + 2) % 4], w[(i + 3) % 4]);
      }
    abcd = vaddq_u32(abcd, old_abcd), efgh = vaddq_u32(efgh, old_efgh);
  }
  vst1q_u32(state, abcd), vst1q_u32(state + 4, efgh);
}

}  // namespace

Sha256Blocks native_sha256_blocks() {
  return (getauxval(AT_HWCAP) & HWCAP_SHA2) != 0 ? add_blocks : nullptr;
}

#else

Sha256Blocks native_sha256_blocks() { return nullptr; }

#endif

}  // namespace edgead

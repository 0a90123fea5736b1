// The vertical pass of preprocess on the CPU, a part of preprocess_cpu.cpp: rows of the frame,
// contiguous or gathered, become rows of 16-bit sums.
#pragma once
#include "layout.h"
#include "preprocess.h"
#include "simd.h"

namespace edgead {
namespace {

struct Task : Workspace {
  const PreprocessParams& p;
  const PreprocessAxis &vertical, &horizontal;
  RowLayout row;
  const char* frame;
  void* image;
};

// The samples [first, first + n) of row y, packed one after the other.
template <class Sample>
void gather(const Task& t, int32_t y, int32_t first, int32_t n, Sample* line) {
  const PreprocessParams& p = t.p;
  const char* row = t.frame + y * p.row_stride;
  int32_t x = first / p.channels, c = first % p.channels;
  for (int32_t i = 0; i < n; ++i) {
    std::memcpy(line + i, row + x * p.pixel_stride + c * p.channel_stride, sizeof(Sample));
    if (++c == p.channels) c = 0, ++x;
  }
}

// Hands out pieces of rows, where they lie or gathered. Output rows ask for rising input rows, so a
// ring of `taps` pieces holds all that one of them needs, and each piece is gathered once.
template <class Sample>
struct Rows {
  const Task& t;
  int32_t first, n, end;  // samples [first, first + n); rows before `end` are in the ring

  const Sample* get(int32_t y) {
    if (t.row.direct) {
      const char* row = t.frame + t.row.origin + y * t.p.row_stride;
      return reinterpret_cast<const Sample*>(row) + first;
    }
    Sample* ring = reinterpret_cast<Sample*>(t.gathered);
    for (; end <= y; ++end)
      gather(t, end, first, n, ring + static_cast<size_t>(end % t.vertical.taps) * kChunk);
    return ring + static_cast<size_t>(y % t.vertical.taps) * kChunk;
  }
};

// N taps of the vertical pass over n samples of uint8, in 16-bit lanes and yet exact. With
// weight = 64 * high + low,
//   (sum weight * s + 32) >> 6  =  sum high * s + ((sum low * s + 32) >> 6);
// the first sum is at most 255 * 256, the second is carried every four taps:
// 4 * 63 * 255 + 63 + 32 < 2^16. Weights of halving and the like have no low part.
//
// Here taps in pairs, of which one factor is signed and the sum of two products saturates at
// 2^15 - 1: the high parts of a pair of weights must each be below 128 and sum to at most 128, as
// when shrinking by 2 and more. Returns how many samples are done.
template <int N, bool kFirst, bool kLow>
int32_t add_tap_pairs(const uint8_t* const* row, const uint16_t* weight, int32_t n, uint16_t* mid,
                      uint16_t* rest) {
  int32_t i = 0;
#ifdef EDGEAD_BYTE_PAIRS
  constexpr int kPairs = (N + 1) / 2;
  U16 high[kPairs], low[kPairs];
  for (int k = 0; k < kPairs; ++k) {
    const int a = weight[2 * k], b = 2 * k + 1 < N ? weight[2 * k + 1] : 0;
    if (a >= 128 << 6 || b >= 128 << 6 || (a >> 6) + (b >> 6) > 128) return 0;
    high[k] = all_lanes(static_cast<uint16_t>(a >> 6 | b >> 6 << 8));
    low[k] = all_lanes(static_cast<uint16_t>((a & 63) | (b & 63) << 8));
  }
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    U16 upper[2] = {}, lower[2] = {};
    EDGEAD_UNROLL
    for (int k = 0; k < kPairs; ++k) {
      const U8 a = load<U8>(row[2 * k] + i);
      const U8 b = 2 * k + 1 < N ? load<U8>(row[2 * k + 1] + i) : U8{};
      add_byte_pairs(a, b, high[k], upper);
      if (kLow) add_byte_pairs(a, b, low[k], lower);
    }
    put_in_order(upper);
    if (kLow) put_in_order(lower);
    EDGEAD_UNROLL
    for (int v = 0; v < 2; ++v) {
      const int32_t at = i + v * 2 * kLanes;
      if (!kFirst) upper[v] += load<U16>(mid + at);
      if (kLow) {
        lower[v] += kFirst ? U16{} + 32 : load<U16>(rest + at);
        upper[v] += lower[v] >> 6;
        store(rest + at, lower[v] & 63);
      }
      store(mid + at, upper[v]);
    }
  }
#else
  (void)row, (void)weight, (void)n, (void)mid, (void)rest;
#endif
  return i;
}

template <int N, bool kFirst, bool kLow>
void add_taps(const uint8_t* const* row, const uint16_t* weight, int32_t n, uint16_t* mid,
              uint16_t* rest) {
  uint16_t high[N], low[N];
  const uint8_t* r[N];
  for (int k = 0; k < N; ++k) r[k] = row[k], high[k] = weight[k] >> 6, low[k] = weight[k] & 63;
  for (int32_t i = add_tap_pairs<N, kFirst, kLow>(row, weight, n, mid, rest); i < n; ++i) {
    uint16_t upper = kFirst ? 0 : mid[i], lower = kFirst ? 32 : rest[i];
    EDGEAD_UNROLL
    for (int k = 0; k < N; ++k) {
      const uint16_t s = r[k][i];
      upper += high[k] * s;
      if (kLow) lower += low[k] * s;
    }
    mid[i] = upper + (kLow ? lower >> 6 : 0);
    if (kLow) rest[i] = lower & 63;
  }
}

template <int N, bool kFirst>
void add_taps(const uint16_t* const* row, const uint16_t* weight, int32_t n, uint32_t* acc,
              uint32_t half) {
  uint32_t w[N];
  const uint16_t* r[N];
  for (int k = 0; k < N; ++k) r[k] = row[k], w[k] = weight[k];
  for (int32_t i = 0; i < n; ++i) {
    uint32_t sum = kFirst ? half : acc[i];
    EDGEAD_UNROLL
    for (int k = 0; k < N; ++k) sum += w[k] * r[k][i];
    acc[i] = sum;
  }
}

// One to four taps of output row y. (Pointers to functions instead cost a third with SSE2.)
template <bool kFirst, bool... kLow, class Sample, class... Sums>
void add_some(const Sample* const* row, const uint16_t* weight, int32_t taps, int32_t n,
              Sums... sums) {
  if (taps == 1) add_taps<1, kFirst, kLow...>(row, weight, n, sums...);
  if (taps == 2) add_taps<2, kFirst, kLow...>(row, weight, n, sums...);
  if (taps == 3) add_taps<3, kFirst, kLow...>(row, weight, n, sums...);
  if (taps == 4) add_taps<4, kFirst, kLow...>(row, weight, n, sums...);
}

// Calls add(first, rows, weights, taps) for the taps of output row y, four at a time.
template <class Sample, class Add>
void for_taps(const Task& t, Rows<Sample>& rows, int32_t y, Add add) {
  const PreprocessAxis& axis = t.vertical;
  const uint16_t* weight = axis.weight + static_cast<size_t>(y) * axis.taps;
  for (int32_t k = 0; k < axis.count[y]; k += 4) {
    const int32_t left = axis.count[y] - k, taps = left < 4 ? left : 4;
    const Sample* row[4];
    for (int32_t i = 0; i < taps; ++i) row[i] = rows.get(axis.start[y] + k + i);
    add(k == 0, row, weight + k, taps);
  }
}

// mid[i] = output row y of the vertical pass at the samples that `rows` hands out.
void vertical_row(const Task& t, Rows<uint8_t>& rows, int32_t y, uint16_t* mid) {
  const PreprocessAxis& axis = t.vertical;
  uint16_t bits = 0;
  for (int32_t k = 0; k < axis.count[y]; ++k)
    bits |= axis.weight[static_cast<size_t>(y) * axis.taps + k];
  const bool low = bits % 64 != 0;
  uint16_t* rest = reinterpret_cast<uint16_t*>(t.rest);
  for_taps(t, rows, y, [&](bool first, const uint8_t** row, const uint16_t* weight, int32_t taps) {
    if (low && first) add_some<true, true>(row, weight, taps, rows.n, mid, rest);
    if (low && !first) add_some<false, true>(row, weight, taps, rows.n, mid, rest);
    if (!low && first) add_some<true, false>(row, weight, taps, rows.n, mid, rest);
    if (!low && !first) add_some<false, false>(row, weight, taps, rows.n, mid, rest);
  });
}

void vertical_row(const Task& t, Rows<uint16_t>& rows, int32_t y, uint16_t* mid) {
  const int32_t shift = t.p.bit_depth - 2;
  const uint32_t half = 1u << (shift - 1);
  for_taps(t, rows, y, [&](bool first, const uint16_t** row, const uint16_t* weight, int32_t taps) {
    first ? add_some<true>(row, weight, taps, rows.n, t.rest, half)
          : add_some<false>(row, weight, taps, rows.n, t.rest, half);
  });
  if (shift == 14) {  // of 16 bits, where no sum is larger
    for (int32_t i = 0; i < rows.n; ++i) mid[i] = static_cast<uint16_t>(t.rest[i] >> 14);
    return;
  }
  for (int32_t i = 0; i < rows.n; ++i) {
    const uint32_t sum = t.rest[i] >> shift;
    mid[i] = static_cast<uint16_t>(sum < 65535u ? sum : 65535u);
  }
}

}  // namespace
}  // namespace edgead

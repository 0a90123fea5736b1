// A part of nearest_cpu.cpp: the queries of a block, as they are and as bytes of F.
#pragma once
#include "layout.h"
#include "nearest.h"
#include "nearest_scan.h"
#include "simd.h"

namespace edgead {
namespace {

// to [kTile, pitch] = from [pitch, kTile] transposed, or the other way round; pitch a multiple of
// kLanes.
inline void transpose_block(const float* from, int32_t from_pitch, int32_t rows, int32_t columns,
                            float* to, int32_t to_pitch) {
  for (int32_t y = 0; y < rows; y += kLanes)
    for (int32_t x = 0; x < columns; x += kLanes) {
      F32 tile[kLanes];
      for (int i = 0; i < kLanes; ++i) tile[i] = load<F32>(from + (y + i) * from_pitch + x);
      transpose(tile);
      for (int i = 0; i < kLanes; ++i) store(to + (x + i) * to_pitch + y, tile[i]);
    }
}

// values [kTile, pitch] and lanes [pitch, kTile] of the queries at `at`; the rest of both is 0.
template <class Q>
void load_block(const NearestParams& p, const Q* query, const int32_t* at, int32_t count,
                const NearestWorkspace& w) {
  const int32_t pitch = w.pitch;
  if (p.layout == Layout::nchw) {
    const bool together = at[count - 1] - at[0] == count - 1;
    std::memset(w.lanes, 0, sizeof(float) * pitch * kTile);
    for (int32_t c = 0; c < p.channels; ++c) {
      const Q* plane = query + static_cast<int64_t>(c) * p.positions;
      float* to = w.lanes + c * kTile;
      int32_t i = 0;
      for (; together && i + kLanes <= count; i += kLanes)
        store(to + i, load_floats(plane + at[0] + i));
      for (; i < count; ++i) to[i] = float_of(plane[at[i]]);
    }
    transpose_block(w.lanes, kTile, pitch, kTile, w.values, pitch);
    return;
  }
  std::memset(w.values, 0, sizeof(float) * pitch * kTile);
  for (int32_t i = 0; i < count; ++i) {
    const Q* from = query + static_cast<int64_t>(at[i]) * p.channels;
    float* to = w.values + static_cast<int64_t>(i) * pitch;
    int32_t c = 0;
    for (; c + kLanes <= p.channels; c += kLanes) store(to + c, load_floats(from + c));
    for (; c < p.channels; ++c) to[c] = float_of(from[c]);
  }
  transpose_block(w.values, pitch, kTile, pitch, w.lanes, kTile);
}

// lanes = gain * (lanes - mean); square [kTile] of it.
void centre(const NearestIndex& index, float* lanes, float* square) {
  F32 sum[kVectors] = {};
  for (int32_t c = 0; c < index.channels; ++c)
    for (int v = 0; v < kVectors; ++v) {
      float* at = lanes + c * kTile + v * kLanes;
      const F32 x = (load<F32>(at) - index.mean[c]) * index.gain;
      store(at, x);
      sum[v] = multiply_add(x, x, sum[v]);
    }
  for (int v = 0; v < kVectors; ++v) store(square + v * kLanes, sum[v]);
}

// F of the queries, as bytes; and what the scan has to know of it.
void encode(const NearestIndex& index, const NearestWorkspace& w, Query* queries) {
  float* parts = w.parts;  // [kParts, kTile]
  for (int32_t i = 0; i < kParts; i += kGroup)
    for (int v0 = 0; v0 < kVectors; v0 += kWide) {
      F32 sum[kGroup][kWide];
      dot_floats<kGroup>(w.lanes + v0 * kLanes, index.basis + i, kParts, index.channels, sum);
      for (int j = 0; j < kGroup; ++j)
        for (int v = 0; v < kWide; ++v)
          store(parts + (i + j) * kTile + (v0 + v) * kLanes, sum[j][v]);
    }
  const int32_t components = index.channels < kParts - 1 ? index.channels : kParts - 1;
  const int32_t words = index.parts / 4;
  const float stretch = index.stretch * index.stretch;
  for (int v = 0; v < kVectors; ++v) {
    auto at = [&](int32_t i) { return parts + i * kTile + v * kLanes; };
    F32 along = {}, largest = {};
    for (int32_t i = 0; i < components; ++i) {
      const F32 x = load<F32>(at(i)), size = x < 0.0f ? -x : x;
      along = multiply_add(x, x, along);
      largest = size > largest ? size : largest;
    }
    // The length of the rest, from a difference that rounding has made uncertain.
    const F32 square = load<F32>(w.square + v * kLanes);
    const F32 doubt = square * ((6.0f * index.slack + index.leak) * stretch);
    F32 left, unsure, length;
    for (int i = 0; i < kLanes; ++i) {
      const float d = square[i] - along[i];
      const float high = __builtin_sqrtf(d + doubt[i] > 0.0f ? d + doubt[i] : 0.0f);
      const float low = __builtin_sqrtf(d - doubt[i] > 0.0f ? d - doubt[i] : 0.0f);
      left[i] = 0.5f * (high + low), unsure[i] = 0.5f * (high - low);
      length[i] = __builtin_sqrtf(square[i]);
    }
    store(at(components), left);
    largest = left > largest ? left : largest;
    const F32 step = largest * (1.0f / kQueryCode);
    const F32 inverse = reinterpret_cast<F32>((I32)(step > 0.0f) & (I32)(1.0f / step));
    F32 off = {}, whole = {};
    I32 total = {};
    for (int32_t i = 0; i < words; ++i) {
      I32 word = {};
      for (int32_t j = 0; j < 4; ++j) {
        if (4 * i + j > components) break;
        const F32 x = load<F32>(at(4 * i + j)), scaled = x * inverse;
        const F32 half = scaled < 0.0f ? F32{} - 0.5f : F32{} + 0.5f;
        I32 code = __builtin_convertvector(scaled + half, I32);
        code = code > kQueryCode ? I32{} + kQueryCode : code;
        code = code < -kQueryCode ? I32{} - kQueryCode : code;
        const F32 back = __builtin_convertvector(code, F32) * step;
        off = multiply_add(x - back, x - back, off);
        whole = multiply_add(back, back, whole);
        total += code;
        word |= (code & 255) << (8 * j);
      }
      store(w.words + i * kTile + v * kLanes, word);
    }
    for (int i = 0; i < kLanes; ++i) {
      Query& query = queries[v * kLanes + i];
      query.scale = 2.0f * step[i];
      query.square = whole[i] * (1.0f - 4e-6f);
      query.off = __builtin_sqrtf(off[i]) * 1.0001f + unsure[i] * 1.0001f +
                  3.0f * index.slack * stretch * length[i];
      query.start = -kCodeZero * total[i];
    }
  }
}

}  // namespace
}  // namespace edgead

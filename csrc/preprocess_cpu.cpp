// preprocess on the CPU, compiled once per instruction set (simd.h).
//
// Sixteen output rows travel together. The vertical pass runs along rows, where samples are
// contiguous. Its result is turned by 90 degrees, so that the horizontal pass has the sixteen rows
// in its lanes and needs no gather, whatever the ratio of widths; then it is turned back on the way
// out. The frame is read once (rows shared by neighbouring outputs come from the cache).
#include "layout.h"
#include "preprocess.h"
#include "simd.h"

namespace edgead {
namespace {

struct Task {
  const PreprocessParams& p;
  const PreprocessAxis &vertical, &horizontal;
  RowLayout row;
  const char* frame;
  uint16_t *mid, *rest, *turned;
  void *gathered, *image;
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
    Sample* ring = static_cast<Sample*>(t.gathered);
    for (; end <= y; ++end)
      gather(t, end, first, n, ring + static_cast<size_t>(end % t.vertical.taps) * kChunk);
    return ring + static_cast<size_t>(y % t.vertical.taps) * kChunk;
  }
};

// N taps of the vertical pass over n samples of uint8, in 16-bit lanes and yet exact. With
// weight = 64 * high + low,
//   (sum weight * s + 32) >> 6  =  sum high * s + ((sum low * s + 32) >> 6);
// the first sum is at most 255 * 256, the second is carried every four taps:
// 4 * 63 * 255 + 63 + 32 < 2^16.
// Weights of halving and the like are multiples of 64: no low part.
template <int N, bool kFirst, bool kLow>
void add_taps(const uint8_t* const* row, const uint16_t* weight, int32_t n, uint16_t* mid,
              uint16_t* rest) {
  uint16_t high[N], low[N];
  const uint8_t* r[N];
  for (int k = 0; k < N; ++k) r[k] = row[k], high[k] = weight[k] >> 6, low[k] = weight[k] & 63;
  for (int32_t i = 0; i < n; ++i) {
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
void add_taps(const uint16_t* const* row, const uint16_t* weight, int32_t n, uint32_t* acc) {
  uint32_t w[N];
  const uint16_t* r[N];
  for (int k = 0; k < N; ++k) r[k] = row[k], w[k] = weight[k];
  for (int32_t i = 0; i < n; ++i) {
    uint32_t sum = kFirst ? 1u << 13 : acc[i];
    EDGEAD_UNROLL
    for (int k = 0; k < N; ++k) sum += w[k] * r[k][i];
    acc[i] = sum;
  }
}

// One to four taps of output row y; `first` when they are its first ones.
template <bool kFirst, bool kLow>
void add_some(const uint8_t* const* row, const uint16_t* weight, int32_t taps, int32_t n,
              uint16_t* mid, uint16_t* rest) {
  if (taps == 1) add_taps<1, kFirst, kLow>(row, weight, n, mid, rest);
  if (taps == 2) add_taps<2, kFirst, kLow>(row, weight, n, mid, rest);
  if (taps == 3) add_taps<3, kFirst, kLow>(row, weight, n, mid, rest);
  if (taps == 4) add_taps<4, kFirst, kLow>(row, weight, n, mid, rest);
}

template <bool kFirst>
void add_some(const uint16_t* const* row, const uint16_t* weight, int32_t taps, int32_t n,
              uint32_t* acc) {
  if (taps == 1) add_taps<1, kFirst>(row, weight, n, acc);
  if (taps == 2) add_taps<2, kFirst>(row, weight, n, acc);
  if (taps == 3) add_taps<3, kFirst>(row, weight, n, acc);
  if (taps == 4) add_taps<4, kFirst>(row, weight, n, acc);
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
  for_taps(t, rows, y, [&](bool first, const uint8_t** row, const uint16_t* weight, int32_t taps) {
    if (low && first) add_some<true, true>(row, weight, taps, rows.n, mid, t.rest);
    if (low && !first) add_some<false, true>(row, weight, taps, rows.n, mid, t.rest);
    if (!low && first) add_some<true, false>(row, weight, taps, rows.n, mid, t.rest);
    if (!low && !first) add_some<false, false>(row, weight, taps, rows.n, mid, t.rest);
  });
}

void vertical_row(const Task& t, Rows<uint16_t>& rows, int32_t y, uint16_t* mid) {
  uint32_t* acc = reinterpret_cast<uint32_t*>(t.rest);
  for_taps(t, rows, y, [&](bool first, const uint16_t** row, const uint16_t* weight, int32_t taps) {
    if (first)
      add_some<true>(row, weight, taps, rows.n, acc);
    else
      add_some<false>(row, weight, taps, rows.n, acc);
  });
  for (int32_t i = 0; i < rows.n; ++i) mid[i] = static_cast<uint16_t>(acc[i] >> 14);
}

// to[j][i] = from[i][j] for an 8 x 8 tile; rows of kChunk become rows of kBlock.
inline void turn_8x8(const uint16_t* from, uint16_t* to) {
  U16x8 a[8], b[8];
  EDGEAD_UNROLL
  for (int i = 0; i < 8; ++i) a[i] = load<U16x8>(from + i * kChunk);
  // Interleaving rows i and i + 4 three times moves the row index through to the lanes.
  EDGEAD_UNROLL
  for (int stage = 0; stage < 3; ++stage) {
    EDGEAD_UNROLL
    for (int i = 0; i < 4; ++i) {
      b[2 * i] = EDGEAD_SHUFFLE(U16x8, a[i], a[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      b[2 * i + 1] = EDGEAD_SHUFFLE(U16x8, a[i], a[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
    EDGEAD_UNROLL
    for (int i = 0; i < 8; ++i) a[i] = b[i];
  }
  EDGEAD_UNROLL
  for (int i = 0; i < 8; ++i) store(to + i * kBlock, a[i]);
}

// Output rows [y0, y0 + rows) of the vertical pass, turned: turned[sample][row].
template <class Sample>
void vertical_block(const Task& t, int32_t y0, int32_t rows) {
  for (int32_t first = 0; first < t.row.samples; first += kChunk) {
    const int32_t left = t.row.samples - first, n = left < kChunk ? left : kChunk;
    const int32_t tiles = (n + 7) / 8;
    Rows<Sample> input{t, first, n, t.vertical.start[y0]};
    for (int32_t r = 0; r < kBlock; ++r) {
      uint16_t* mid = t.mid + r * kChunk;
      const int32_t done = r < rows ? n : 0;  // zeros below the image and past the row's end
      if (r < rows) vertical_row(t, input, y0 + r, mid);
      for (int32_t i = done; i < tiles * 8; ++i) mid[i] = 0;
    }
    for (int32_t i = 0; i < tiles; ++i) {
      uint16_t* to = t.turned + static_cast<size_t>(first + i * 8) * kBlock;
      turn_8x8(t.mid + i * 8, to);
      turn_8x8(t.mid + 8 * kChunk + i * 8, to + 8);
    }
  }
}

// Sums of one image column: acc[channel][x][row].
using Sums = int32_t[kBlock][kBlock];

// Sixteen rows of column x, C channels: sums of weight[k] * turned[sample of pixel start + k][row].
template <int C>
inline void horizontal_sum(const Task& t, int32_t x, Sums* acc, int32_t column) {
  const PreprocessAxis& axis = t.horizontal;
  const int32_t count = axis.count[x], pitch = t.row.step * kBlock;
  const uint16_t* weight = axis.weight + static_cast<size_t>(x) * axis.taps;
  const uint16_t* from = t.turned + static_cast<size_t>(axis.start[x]) * pitch;
  constexpr int kVectors = kBlock / kLanes;
  U32 sum[C][kVectors] = {};
  for (int32_t k = 0; k < count; ++k, from += pitch) {
    const uint32_t w = weight[k];
    EDGEAD_UNROLL
    for (int c = 0; c < C; ++c) {
      const uint16_t* rows = from + t.row.offset[c] * kBlock;
      EDGEAD_UNROLL
      for (int v = 0; v < kVectors; ++v) sum[c][v] += widen(rows + v * kLanes) * w;
    }
  }
  EDGEAD_UNROLL
  for (int c = 0; c < C; ++c) EDGEAD_UNROLL
  for (int v = 0; v < kVectors; ++v) store(acc[c][column] + v * kLanes, sum[c][v]);
}

// Sums [x][row] of one plane, turned back and normalised: tile[row][x].
void finish(const Sums& acc, float scale, float bias, float (*to)[kBlock]) {
  for (int32_t y = 0; y < kBlock; y += kLanes)
    for (int32_t x = 0; x < kBlock; x += kLanes) {
      F32 tile[kLanes];
      EDGEAD_UNROLL
      for (int i = 0; i < kLanes; ++i)
        tile[i] = __builtin_convertvector(load<I32>(acc[x + i] + y), F32) * scale + bias;
      transpose(tile);
      EDGEAD_UNROLL
      for (int i = 0; i < kLanes; ++i) store(to[y + i] + x, tile[i]);
    }
}

inline void put(const float* from, int32_t n, float* to) {
  std::memcpy(to, from, sizeof(float) * n);
}

inline void put(const float* from, int32_t n, uint16_t* to) {
  for (int32_t i = 0; i < n; ++i) to[i] = half_from_float(from[i]);
}

// Writes `rows` x `columns` pixels of a tile [channel][row][x] at pixel (y0, x0) of the image.
template <class Value>
void write_tile(const Task& t, const float (*tile)[kBlock][kBlock], int32_t y0, int32_t rows,
                int32_t x0, int32_t columns) {
  const int64_t width = t.p.out_width, plane = width * t.p.out_height;
  for (int32_t y = 0; y < rows; ++y) {
    const int64_t at = (y0 + y) * width + x0;
    Value* to = static_cast<Value*>(t.image);
    if (t.p.layout == Layout::nhwc) {
      float line[kBlock * 3];
      for (int32_t x = 0; x < kBlock; ++x)
        for (int32_t c = 0; c < 3; ++c) line[x * 3 + c] = tile[c][y][x];
      put(line, columns * 3, to + at * 3);
    } else if (columns == kBlock) {  // a constant: no loop is left
      for (int32_t c = 0; c < 3; ++c) put(tile[c][y], kBlock, to + c * plane + at);
    } else {
      for (int32_t c = 0; c < 3; ++c) put(tile[c][y], columns, to + c * plane + at);
    }
  }
}

void horizontal_block(const Task& t, int32_t y0, int32_t rows) {
  const int32_t width = t.p.out_width;
  alignas(64) Sums acc[3] = {};
  alignas(64) float tile[3][kBlock][kBlock];
  for (int32_t x0 = 0; x0 < width; x0 += kBlock) {
    const int32_t columns = width - x0 < kBlock ? width - x0 : kBlock;
    for (int32_t i = 0; i < columns; ++i)
      t.p.channels == 1 ? horizontal_sum<1>(t, x0 + i, acc, i)
                        : horizontal_sum<3>(t, x0 + i, acc, i);
    for (int32_t c = 0; c < 3; ++c) finish(acc[t.p.order[c]], t.p.scale[c], t.p.bias[c], tile[c]);
    t.p.type == Type::float16 ? write_tile<uint16_t>(t, tile, y0, rows, x0, columns)
                              : write_tile<float>(t, tile, y0, rows, x0, columns);
  }
}

}  // namespace

void EDGEAD_EXPORT(preprocess)(const PreprocessParams& p, const PreprocessAxis& vertical,
                               const PreprocessAxis& horizontal, const void* frame, void* image,
                               void* workspace) {
  const Workspace w = workspace_of(p, vertical.taps);
  char* base = static_cast<char*>(workspace);
  const Task t{p,
               vertical,
               horizontal,
               layout_of(p, reinterpret_cast<uintptr_t>(frame)),
               static_cast<const char*>(frame),
               reinterpret_cast<uint16_t*>(base + w.mid),
               reinterpret_cast<uint16_t*>(base + w.rest),
               reinterpret_cast<uint16_t*>(base + w.turned),
               base + w.gathered,
               image};
  for (int32_t y = 0; y < p.out_height; y += kBlock) {
    const int32_t rows = p.out_height - y < kBlock ? p.out_height - y : kBlock;
    p.sample_bytes == 1 ? vertical_block<uint8_t>(t, y, rows)
                        : vertical_block<uint16_t>(t, y, rows);
    horizontal_block(t, y, rows);
  }
}

}  // namespace edgead

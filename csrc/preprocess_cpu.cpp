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
  void* gathered;
  float* image;
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

// Four taps of the vertical pass over n samples; begin() before the first four, end() after the
// last.
//
// uint8 stays in 16-bit lanes and is yet exact. With weight = 64 * high + low,
//   (sum weight * s + 32) >> 6  =  sum high * s + ((sum low * s + 32) >> 6);
// the first sum is at most 255 * 256, the second is carried every four taps:
// 4 * 63 * 255 + 63 + 32 < 2^16.
struct Sum8 {
  uint16_t *mid, *low;
  bool halves;  // all weights are multiples of 64 (halving and the like): no low part

  void begin(int32_t n) {
    for (int32_t i = 0; i < n; ++i) mid[i] = 0;
    for (int32_t i = 0; i < n; ++i) low[i] = 32;
  }
  void add(const uint8_t* const row[4], const uint16_t w[4], int32_t n) {
    const uint8_t *r0 = row[0], *r1 = row[1], *r2 = row[2], *r3 = row[3];
    const uint16_t h0 = w[0] >> 6, h1 = w[1] >> 6, h2 = w[2] >> 6, h3 = w[3] >> 6;
    for (int32_t i = 0; i < n; ++i) mid[i] += h0 * r0[i] + h1 * r1[i] + h2 * r2[i] + h3 * r3[i];
    if (halves) return;
    const uint16_t l0 = w[0] & 63, l1 = w[1] & 63, l2 = w[2] & 63, l3 = w[3] & 63;
    for (int32_t i = 0; i < n; ++i) {
      uint16_t sum = low[i] + l0 * r0[i] + l1 * r1[i] + l2 * r2[i] + l3 * r3[i];
      mid[i] += sum >> 6;
      low[i] = sum & 63;
    }
  }
  void end(int32_t) {}
};

struct Sum16 {
  uint16_t* mid;
  uint32_t* acc;

  void begin(int32_t n) {
    for (int32_t i = 0; i < n; ++i) acc[i] = 1u << 13;
  }
  void add(const uint16_t* const row[4], const uint16_t w[4], int32_t n) {
    const uint16_t *r0 = row[0], *r1 = row[1], *r2 = row[2], *r3 = row[3];
    const uint32_t w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
    for (int32_t i = 0; i < n; ++i) acc[i] += w0 * r0[i] + w1 * r1[i] + w2 * r2[i] + w3 * r3[i];
  }
  void end(int32_t n) {
    for (int32_t i = 0; i < n; ++i) mid[i] = static_cast<uint16_t>(acc[i] >> 14);
  }
};

inline Sum8 sum_of(const Task& t, uint16_t* mid, const uint16_t* weight, int32_t count, uint8_t) {
  uint16_t bits = 0;
  for (int32_t k = 0; k < count; ++k) bits |= weight[k];
  return {mid, t.rest, bits % 64 == 0};
}

inline Sum16 sum_of(const Task& t, uint16_t* mid, const uint16_t*, int32_t, uint16_t) {
  return {mid, reinterpret_cast<uint32_t*>(t.rest)};
}

// mid[i] = output row y of the vertical pass at the samples that `rows` hands out.
template <class Sample>
void vertical_row(const Task& t, Rows<Sample>& rows, int32_t y, uint16_t* mid) {
  const PreprocessAxis& axis = t.vertical;
  const int32_t start = axis.start[y], count = axis.count[y];
  const uint16_t* weight = axis.weight + static_cast<size_t>(y) * axis.taps;
  auto sum = sum_of(t, mid, weight, count, Sample());
  sum.begin(rows.n);
  for (int32_t k = 0; k < count; k += 4) {
    const Sample* row[4];
    for (int32_t i = 0; i < 4; ++i)  // past the last tap the weight is 0: any row will do
      row[i] = rows.get(start + (k + i < count ? k + i : count - 1));
    sum.add(row, weight + k, rows.n);
  }
  sum.end(rows.n);
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

// Sixteen rows of one output sample: acc[row] = sum of weight[k] * from[k * pitch][row].
inline void horizontal_sum(const uint16_t* from, int32_t pitch, const uint16_t* weight,
                           int32_t count, int32_t acc[kBlock]) {
  U32 sum[kBlock / kLanes] = {};
  for (int32_t k = 0; k < count; ++k) {
    const uint32_t w = weight[k];
    EDGEAD_UNROLL
    for (int v = 0; v < kBlock / kLanes; ++v)
      sum[v] += __builtin_convertvector(load<U16>(from + k * pitch + v * kLanes), U32) * w;
  }
  EDGEAD_UNROLL
  for (int v = 0; v < kBlock / kLanes; ++v) store(acc + v * kLanes, sum[v]);
}

// Writes a 4 x 4 corner of acc[x][row] to the image, turned back and normalised.
inline void finish_4x4(const int32_t (*acc)[kBlock], float scale, float bias, float* to,
                       int64_t pitch) {
  F32x4 a[4], b[4];
  EDGEAD_UNROLL
  for (int i = 0; i < 4; ++i)
    a[i] = __builtin_convertvector(load<I32x4>(acc[i]), F32x4) * scale + bias;
  b[0] = EDGEAD_SHUFFLE(I32x4, a[0], a[2], 0, 4, 1, 5);
  b[1] = EDGEAD_SHUFFLE(I32x4, a[0], a[2], 2, 6, 3, 7);
  b[2] = EDGEAD_SHUFFLE(I32x4, a[1], a[3], 0, 4, 1, 5);
  b[3] = EDGEAD_SHUFFLE(I32x4, a[1], a[3], 2, 6, 3, 7);
  store(to, EDGEAD_SHUFFLE(I32x4, b[0], b[2], 0, 4, 1, 5));
  store(to + pitch, EDGEAD_SHUFFLE(I32x4, b[0], b[2], 2, 6, 3, 7));
  store(to + 2 * pitch, EDGEAD_SHUFFLE(I32x4, b[1], b[3], 0, 4, 1, 5));
  store(to + 3 * pitch, EDGEAD_SHUFFLE(I32x4, b[1], b[3], 2, 6, 3, 7));
}

// acc[x][row] for n <= 16 columns and `rows` <= 16 rows of one plane.
void finish(const int32_t (*acc)[kBlock], int32_t n, int32_t rows, float scale, float bias,
            float* to, int64_t pitch) {
  if (n == kBlock && rows == kBlock) {
    for (int32_t y = 0; y < kBlock; y += 4)
      for (int32_t x = 0; x < kBlock; x += 4)
        finish_4x4(reinterpret_cast<const int32_t (*)[kBlock]>(&acc[x][y]), scale, bias,
                   to + y * pitch + x, pitch);
    return;
  }
  for (int32_t y = 0; y < rows; ++y)
    for (int32_t x = 0; x < n; ++x)
      to[y * pitch + x] = static_cast<float>(acc[x][y]) * scale + bias;
}

void horizontal_block(const Task& t, int32_t y0, int32_t rows) {
  const PreprocessAxis& axis = t.horizontal;
  const int64_t plane = static_cast<int64_t>(t.p.out_height) * axis.out;
  alignas(64) int32_t acc[kBlock][kBlock];
  for (int32_t x0 = 0; x0 < axis.out; x0 += kBlock) {
    const int32_t n = axis.out - x0 < kBlock ? axis.out - x0 : kBlock;
    for (int32_t c = 0; c < 3; ++c) {
      const uint16_t* samples = t.turned + t.row.offset[t.p.order[c]] * kBlock;
      if (c == 0 || t.p.channels > 1)  // the three planes of grey share their sums
        for (int32_t i = 0; i < n; ++i) {
          const int32_t x = x0 + i;
          horizontal_sum(samples + static_cast<size_t>(axis.start[x]) * t.row.step * kBlock,
                         t.row.step * kBlock, axis.weight + static_cast<size_t>(x) * axis.taps,
                         axis.count[x], acc[i]);
        }
      float* to = t.image + c * plane + static_cast<int64_t>(y0) * axis.out + x0;
      finish(acc, n, rows, t.p.scale[c], t.p.bias[c], to, axis.out);
    }
  }
}

}  // namespace

void EDGEAD_EXPORT(preprocess)(const PreprocessParams& p, const PreprocessAxis& vertical,
                               const PreprocessAxis& horizontal, const void* frame, float* image,
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

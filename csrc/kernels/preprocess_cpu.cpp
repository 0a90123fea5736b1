// preprocess on the CPU, compiled once per instruction set (simd.h).
//
// The vertical pass (preprocess_vertical.h) runs along rows, where samples are contiguous. There
// are two ways on from there, each reading the frame once (rows shared by neighbouring outputs come
// from the cache). Any ratio of widths: sixteen output rows are turned by 90 degrees, so that the
// horizontal pass has them in its lanes and needs no gather, and turned back on the way out. Width
// halved: every output takes the same four neighbours, so each row stays as it lies, is split into
// channels, and the lanes are neighbouring outputs, all in the L1 cache; 1.6 times as fast.
#include "preprocess_vertical.h"

namespace edgead {
namespace {

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

// Sums [x][row] of one plane, turned back and normalised, into rows of `pitch` floats.
void finish(const Sums& acc, float scale, float bias, float* to, int64_t pitch) {
  for (int32_t y = 0; y < kBlock; y += kLanes)
    for (int32_t x = 0; x < kBlock; x += kLanes) {
      F32 tile[kLanes];
      EDGEAD_UNROLL
      for (int i = 0; i < kLanes; ++i)
        tile[i] = __builtin_convertvector(load<I32>(acc[x + i] + y), F32) * scale + bias;
      transpose(tile);
      EDGEAD_UNROLL
      for (int i = 0; i < kLanes; ++i) store(to + (y + i) * pitch + x, tile[i]);
    }
}

// Whether rows of float32 are the image's own, so that they are written where they belong at once.
bool is_float_planes(const Task& t) {
  return t.p.type == Type::float32 && t.p.layout == Layout::nchw;
}

// Where pixel (y, x) of channel c lies in an image of float32 planes.
float* in_planes(const Task& t, int32_t c, int32_t y, int32_t x) {
  return static_cast<float*>(t.image) +
         (static_cast<int64_t>(c) * t.p.out_height + y) * t.p.out_width + x;
}

// Writes n pixels from (y, x) on, given as a row of float32 per channel, in the image's own type
// and layout.
template <class Value>
void write_pixels(const Task& t, const float* const row[3], int32_t y, int32_t x, int32_t n) {
  const int64_t width = t.p.out_width, at = y * width + x;
  Value* to = static_cast<Value*>(t.image);
  if (t.p.layout == Layout::nhwc) {
    const float *r = row[0], *g = row[1], *b = row[2];
    for (int32_t i = 0; i < n; ++i)
      t.pixels[3 * i] = r[i], t.pixels[3 * i + 1] = g[i], t.pixels[3 * i + 2] = b[i];
    put(t.pixels, 3 * n, to + 3 * at);
  } else {
    for (int32_t c = 0; c < 3; ++c) put(row[c], n, to + c * width * t.p.out_height + at);
  }
}

void write_pixels(const Task& t, const float* const row[3], int32_t y, int32_t x, int32_t n) {
  t.p.type == Type::float16 ? write_pixels<uint16_t>(t, row, y, x, n)
                            : write_pixels<float>(t, row, y, x, n);
}

void horizontal_block(const Task& t, int32_t y0, int32_t rows) {
  const int32_t width = t.p.out_width;
  alignas(64) Sums acc[3] = {};
  alignas(64) float tile[3][kBlock][kBlock];
  for (int32_t x0 = 0; x0 < width; x0 += kBlock) {
    const int32_t columns = width - x0 < kBlock ? width - x0 : kBlock;
    const bool at_once = is_float_planes(t) && columns == kBlock && rows == kBlock;
    for (int32_t i = 0; i < columns; ++i)
      t.p.channels == 1 ? horizontal_sum<1>(t, x0 + i, acc, i)
                        : horizontal_sum<3>(t, x0 + i, acc, i);
    for (int32_t c = 0; c < 3; ++c)
      finish(acc[t.p.order[c]], t.p.scale[c], t.p.bias[c],
             at_once ? in_planes(t, c, y0, x0) : tile[c][0], at_once ? width : kBlock);
    if (at_once) continue;
    for (int32_t y = 0; y < rows; ++y) {
      const float* const row[3] = {tile[0][y], tile[1][y], tile[2][y]};
      write_pixels(t, row, y0 + y, x0, columns);
    }
  }
}

// Plane s gets samples s, s + kStep, s + 2 * kStep ..
template <int kStep>
void split(const uint16_t* from, int32_t n, uint16_t* planes, int64_t pitch) {
  int32_t i = 0;
  if (kStep == 3) i = split_by_three(from, n, planes, pitch);
  for (; i < n; ++i)
    for (int32_t s = 0; s < kStep; ++s) planes[s * pitch + i] = from[i * kStep + s];
}

// One row and channel of the image. Output x is the sum of samples 2 x - 1 .. 2 x + 2 with the
// weights of output 1; the first and the last output have three samples and weights of their own.
void halve(const Task& t, const uint16_t* from, float scale, float bias, float* to) {
  const PreprocessAxis& axis = t.horizontal;
  const int32_t width = t.p.out_width;
  const I16 left = load_pairs<I16>(axis.weight + axis.taps);
  const I16 right = load_pairs<I16>(axis.weight + axis.taps + 2);
  const U16 flip = all_lanes(1 << 15);            // products need signed samples:
  const int32_t lost = (1 << 15) << kWeightBits;  // 2^15 times the sum of the weights
  auto outputs = [&](int32_t x) {
    const I16 a = reinterpret_cast<I16>(load<U16>(from + 2 * x - 1) ^ flip);
    const I16 b = reinterpret_cast<I16>(load<U16>(from + 2 * x + 1) ^ flip);
    const I32 sum = dot_pairs(a, left) + dot_pairs(b, right) + lost;
    store(to + x, __builtin_convertvector(sum, F32) * scale + bias);
  };
  for (int32_t x = 0; x + kLanes <= width; x += kLanes) outputs(x);
  outputs(width - kLanes);
  for (int32_t x = 0; x < width; x += width - 1) {
    const uint16_t* w = axis.weight + static_cast<size_t>(x) * axis.taps;
    const uint16_t* s = from + axis.start[x];
    const int32_t sum = w[0] * s[0] + w[1] * s[1] + w[2] * s[2];
    to[x] = static_cast<float>(sum) * scale + bias;
  }
}

template <class Sample>
void halve_rows(const Task& t) {
  const int32_t width = t.p.width, samples = t.row.samples;
  const int64_t pitch = plane_pitch(width);
  float* const pixels = t.pixels + 3 * t.p.out_width;
  for (int32_t y = 0; y < t.p.out_height; ++y) {
    for (int32_t first = 0; first < samples; first += kChunk) {
      Rows<Sample> input{t, first, samples - first < kChunk ? samples - first : kChunk, 0};
      vertical_row(t, input, y, t.line + first);
    }
    if (t.row.step == 2) split<2>(t.line, width, t.planes, pitch);
    if (t.row.step == 3) split<3>(t.line, width, t.planes, pitch);
    if (t.row.step == 4) split<4>(t.line, width, t.planes, pitch);
    float* row[3];
    for (int32_t c = 0; c < 3; ++c) {
      const int32_t offset = t.row.offset[t.p.order[c]];
      row[c] = is_float_planes(t) ? in_planes(t, c, y, 0) : pixels + c * t.p.out_width;
      halve(t, t.row.step == 1 ? t.line : t.planes + offset * pitch, t.p.scale[c], t.p.bias[c],
            row[c]);
    }
    if (!is_float_planes(t)) write_pixels(t, row, y, 0, t.p.out_width);
  }
}

}  // namespace

void EDGEAD_EXPORT(preprocess)(const PreprocessParams& p, const PreprocessAxis& vertical,
                               const PreprocessAxis& horizontal, const void* frame, void* image,
                               void* workspace) {
  Arena<> arena{static_cast<char*>(workspace)};
  Task t{workspace_of(p, vertical.taps, arena),
         p,
         vertical,
         horizontal,
         layout_of(p, reinterpret_cast<uintptr_t>(frame)),
         static_cast<const char*>(frame),
         image};
  t.line += kMargin, t.planes += kMargin;
  if (t.row.direct && p.width == 2 * p.out_width && p.out_width >= kLanes)
    return p.sample_bytes == 1 ? halve_rows<uint8_t>(t) : halve_rows<uint16_t>(t);
  for (int32_t y = 0; y < p.out_height; y += kBlock) {
    const int32_t rows = p.out_height - y < kBlock ? p.out_height - y : kBlock;
    p.sample_bytes == 1 ? vertical_block<uint8_t>(t, y, rows)
                        : vertical_block<uint16_t>(t, y, rows);
    horizontal_block(t, y, rows);
  }
}

}  // namespace edgead

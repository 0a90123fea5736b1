// How preprocess_cpu walks a frame, and where the scratch arrays of the CPU implementations lie in
// their workspaces. (static: see simd.h)
#pragma once
#include "anomaly_map.h"
#include "preprocess.h"

namespace edgead {

static inline size_t round_up(size_t bytes) { return (bytes + 63) / 64 * 64; }

constexpr int32_t kBlock = 16;    // output rows that travel together through the horizontal pass
constexpr int32_t kChunk = 1536;  // samples of a row that the vertical pass keeps in the L1 cache

// A row as the vertical pass sees it: `samples` consecutive samples in memory, pixel x of channel c
// at x * step + offset[c]. Frames with gaps of their own between pixels (mirrored, every other
// column) are gathered into such rows first.
struct RowLayout {
  bool direct;            // read where the frame lies; otherwise gather
  int32_t step, samples;  // samples per pixel, per row
  int32_t offset[3];
  int64_t origin;  // bytes from the frame's pointer to the first sample of row 0
};

// `frame` only matters for its alignment.
static inline RowLayout layout_of(const PreprocessParams& p, uintptr_t frame) {
  const int64_t size = p.sample_bytes, step = p.pixel_stride / size;
  const int64_t channel = p.channels > 1 ? p.channel_stride / size : 0;
  const int64_t span = (channel < 0 ? -channel : channel) * (p.channels - 1) + 1;
  const bool whole = p.pixel_stride % size == 0 && p.row_stride % size == 0 &&
                     (p.channels == 1 || p.channel_stride % size == 0) && frame % size == 0;
  RowLayout row{};
  // A row of one pixel has no step of its own. Up to four samples per pixel (BGRx, one channel of a
  // colour frame) reading the gaps too is cheaper than gathering.
  const int64_t distance = p.width == 1 ? span : step;
  row.direct = whole && span <= distance && distance <= 4;
  if (row.direct) {
    row.step = static_cast<int32_t>(distance);
    row.samples = static_cast<int32_t>((p.width - 1) * distance + span);
    row.origin = channel < 0 ? (p.channels - 1) * p.channel_stride : 0;
    for (int c = 0; c < p.channels; ++c)
      row.offset[c] =
          static_cast<int32_t>(channel < 0 ? (c + 1 - p.channels) * channel : c * channel);
  } else {
    row.step = p.channels;
    row.samples = p.width * p.channels;
    for (int c = 0; c < p.channels; ++c) row.offset[c] = c;
  }
  return row;
}

constexpr int32_t kMargin = 32;  // samples beside a row that may be read, but do not count

static inline int64_t plane_pitch(int32_t width) { return (width + 31) / 32 * 32 + kMargin; }

struct Workspace {
  size_t mid;       // uint16 [kBlock, kChunk]
  size_t rest;      // uint16 or uint32 [kChunk]
  size_t turned;    // uint16 [4 * width rounded up, kBlock]
  size_t line;      // uint16 [4 * width], a margin on both sides
  size_t planes;    // uint16 [4, plane_pitch(width)], a margin on both sides of each
  size_t pixels;    // float [2, 3 * out_width]
  size_t gathered;  // sample [taps, kChunk], a ring of rows
  size_t bytes;
};

static inline Workspace workspace_of(const PreprocessParams& p, int32_t taps) {
  const size_t samples = static_cast<size_t>(p.width) * 4;  // the widest direct row
  Workspace w{};
  w.rest = round_up(sizeof(uint16_t) * kBlock * kChunk);
  w.turned = w.rest + round_up(sizeof(uint32_t) * kChunk);
  w.line = w.turned + round_up(sizeof(uint16_t) * kBlock * (samples + 8));
  w.planes = w.line + round_up(sizeof(uint16_t) * (samples + 2 * kMargin));
  w.pixels = w.planes + round_up(sizeof(uint16_t) * (4 * plane_pitch(p.width) + kMargin));
  w.gathered = w.pixels + round_up(sizeof(float) * 6 * p.out_width);
  w.bytes = w.gathered + round_up(static_cast<size_t>(taps) * kChunk * p.sample_bytes);
  return w;
}

constexpr int32_t kPositions = 512;         // positions whose distances are summed together
constexpr int32_t kSums = kPositions + 16;  // and room for one vector more (anomaly_map_cpu.cpp)

struct MapWorkspace {
  size_t sums;                     // float [3, kSums]
  size_t distances[kMaxLevels];    // float [height_k, width_k]
  size_t stretched[kMaxLevels];    // float [height_k, pitch]: columns done, rows not
  size_t product, product_across;  // float [height, pitch], fusion by product with a blur
  size_t keys;                     // uint32 [height * width], top_k
  int32_t pitch;                   // width rounded up to whole vectors
  size_t bytes;
};

static inline MapWorkspace map_workspace_of(const AnomalyMapParams& p) {
  MapWorkspace w{};
  w.pitch = (p.width + 31) / 32 * 32;
  const size_t row = sizeof(float) * w.pitch;
  auto take = [&](size_t bytes) {
    const size_t at = w.bytes;
    w.bytes += round_up(bytes);
    return at;
  };
  w.sums = take(sizeof(float) * 3 * kSums);
  for (int32_t k = 0; k < p.levels; ++k) {
    w.distances[k] = take(sizeof(float) * p.level[k].height * p.level[k].width);
    w.stretched[k] = take(row * p.level[k].height);
  }
  if (p.fusion == Fusion::product && p.sigma > 0.0) {
    w.product = take(row * p.height);
    w.product_across = take(row * p.height);
  }
  if (p.pooling == Pooling::top_k) w.keys = take(sizeof(uint32_t) * p.height * p.width);
  return w;
}

}  // namespace edgead

// How preprocess_cpu walks a frame, and where the scratch arrays of the CPU implementations lie in
// their workspaces. (static: see simd.h)
#pragma once
#include "anomaly_map.h"
#include "nearest.h"
#include "preprocess.h"

namespace edgead {

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
  const int64_t apart = row.direct ? channel : 1, first = apart < 0 ? p.channels - 1 : 0;
  row.step = row.direct ? static_cast<int32_t>(distance) : p.channels;
  row.samples = (p.width - 1) * row.step + static_cast<int32_t>(row.direct ? span : p.channels);
  row.origin = first * p.channel_stride;
  for (int c = 0; c < p.channels; ++c) row.offset[c] = static_cast<int32_t>((c - first) * apart);
  return row;
}

constexpr int32_t kMargin = 32;  // samples beside a row that may be read, but do not count

static inline int64_t plane_pitch(int32_t width) { return (width + 31) / 32 * 32 + kMargin; }

struct Workspace {
  uint16_t* mid;     // [kBlock, kChunk]
  uint32_t* rest;    // uint16 or uint32 [kChunk]
  uint16_t* turned;  // [4 * width rounded up, kBlock]
  uint16_t* line;    // [4 * width], a margin on both sides
  uint16_t* planes;  // [4, plane_pitch(width)], a margin on both sides of each
  float* pixels;     // [2, 3 * out_width]
  char* gathered;    // sample [taps, kChunk], a ring of rows
};

static inline Workspace workspace_of(const PreprocessParams& p, int32_t taps, Arena<>& arena) {
  const size_t samples = static_cast<size_t>(p.width) * 4;  // the widest direct row
  return {arena.take<uint16_t>(kBlock * kChunk),
          arena.take<uint32_t>(kChunk),
          arena.take<uint16_t>(kBlock * (samples + 8)),
          arena.take<uint16_t>(samples + 2 * kMargin),
          arena.take<uint16_t>(4 * plane_pitch(p.width) + kMargin),
          arena.take<float>(static_cast<size_t>(p.out_width) * 6),
          arena.take<char>(static_cast<size_t>(taps) * kChunk * p.sample_bytes)};
}

constexpr int32_t kPositions = 512;         // positions whose distances are summed together
constexpr int32_t kSums = kPositions + 16;  // and room for one vector more (anomaly_map_cpu.cpp)

struct MapWorkspace {
  float* sums;                      // [3, kSums]
  float* distances[kMaxLevels];     // [height_k, width_k]
  float* stretched[kMaxLevels];     // [height_k, pitch]: columns done, rows not
  float *product, *product_across;  // [height, pitch], fusion by product with a blur
  uint32_t* keys;                   // [height * width], top_k
  int32_t pitch;                    // width rounded up to whole vectors
};

static inline MapWorkspace map_workspace_of(const AnomalyMapParams& p, Arena<>& arena) {
  MapWorkspace w{};
  w.pitch = (p.width + 31) / 32 * 32;
  const size_t pitch = w.pitch, height = p.height;
  w.sums = arena.take<float>(3 * kSums);
  for (int32_t k = 0; k < p.levels; ++k) {
    const size_t rows = p.level[k].height;
    w.distances[k] = arena.take<float>(rows * p.level[k].width);
    w.stretched[k] = arena.take<float>(rows * pitch);
  }
  if (p.fusion == Fusion::product && p.sigma > 0.0) {
    w.product = arena.take<float>(height * pitch);
    w.product_across = arena.take<float>(height * pitch);
  }
  if (p.pooling == Pooling::top_k) w.keys = arena.take<uint32_t>(height * p.width);
  return w;
}

constexpr int32_t kNearestChunk = 8 * kNearestTile;  // rows until what was found narrows the search

struct NearestWorkspace {
  float* values;         // [kNearestTile, pitch] queries as they are
  float* lanes;          // [pitch, kNearestTile] queries, then gain * (query - mean)
  float* square;         // [kNearestTile] of those
  float* parts;          // [kParts, kNearestTile] F of the queries
  int32_t* words;        // [kParts / 4, kNearestTile] and as bytes
  uint32_t* kept;        // [kNearestTile, tiles of a chunk] a bit for each row that may count
  float* centre_bounds;  // [kNearestTile, centres] of the centres of tiles
  uint32_t* alive;  // [groups of queries, centres / kNearestTile] bits of tiles that may hold one
  int32_t centres;  // tiles, rounded up to whole tiles
  int32_t pitch;    // channels rounded up to whole vectors
};

static inline NearestWorkspace nearest_workspace_of(const NearestParams& p, Arena<>& arena) {
  NearestWorkspace w{};
  w.pitch = (p.channels + 15) / 16 * 16;
  const size_t values = static_cast<size_t>(w.pitch) * kNearestTile;
  w.values = arena.take<float>(values);
  w.lanes = arena.take<float>(values);
  w.square = arena.take<float>(kNearestTile);
  w.parts = arena.take<float>(kParts * kNearestTile);
  w.words = arena.take<int32_t>(kParts / 4 * kNearestTile);
  w.kept = arena.take<uint32_t>(kNearestTile * (kNearestChunk / kNearestTile));
  const int32_t tiles = (p.rows + kNearestTile - 1) / kNearestTile;
  w.centres = (tiles + kNearestTile - 1) / kNearestTile * kNearestTile;
  w.centre_bounds = arena.take<float>(static_cast<size_t>(kNearestTile) * w.centres);
  w.alive = arena.take<uint32_t>(w.centres);
  return w;
}

}  // namespace edgead

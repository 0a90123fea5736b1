// nearest: how far the feature of each position is from a memory, the features of good parts.
//
//   query  [batch, channels, positions] (nchw) or [batch, positions, channels] (nhwc), float32 or
//          float16, contiguous
//   memory [rows, channels] float32, float16, or int8 times scale [channels]
//   ->  distance [batch, positions] float32
//
//   d_r      = sum_c (query_c - memory_rc)^2
//   distance = sum_i weight[i] * (the i-th smallest of all d_r), i = 0 .. k-1, k <= kMaxNearest
//   distance = 0 where the region of interest (roi) is 0
//
// A weight of 1 alone: the squared distance to the nearest; 1 / k each: the mean of the k nearest.
// Or the squared distance to a blend of the nearest, with d_i the i-th smallest:
//
//   e_i      = exp((d_0 - d_i) / temperature) / sum over i < k of exp((d_0 - d_i) / temperature)
//   share_i  ~ e_i - e_blended + kLeastShare, i < blended; their sum is 1; no e_k
//   distance = sum_c (query_c - sum_i share_i memory_(row i)c)^2
//
// Where a row ceases to be among the nearest its share is about 0: a tie, which rounding decides,
// is not a jump. Of either the root, where that is asked for.
// Everything is float32 after reading; an int8 value is the float32 product with its scale.
//
// Exact: d_r is summed as written, for the rows that may be among the nearest; the others are left
// out because a lower bound says so, proven with its rounding. So the search changes no bit: with
// and without it, the distance is that of the same float32 d_r. Equal features give exactly 0.
//
// The bound, on the CPU. With mean and a basis of principal components V [kParts - 1, channels], of
// any origin, F(x) = (V y, |y - V^T V y|), y = gain * (x - mean), never draws two features apart:
// |F(q) - F(m)| <= stretch * gain * |q - m|, stretch = 1 + a millionth (measured, so V need not be
// orthonormal). F of each row is kept as kParts bytes times a step of its tile, and how far off
// that is; F of a query is brought to as many bytes. So
//   |F^(q) - F^(m)| <= stretch * gain * sqrt(d) + off(q) + off(m)
// must hold for the rows that count, d the k-th smallest so far. A product of bytes says it: 16
// instructions for 16 rows with VNNI where float32 needs one for each channel. Rows are put in an
// order in which those of a tile are alike; the centre of a tile is one more F^, which is off by
// the tile's radius too, so the same product says which tiles may hold a row that counts, and which
// is the best to begin with.
//
// Simple use: fill NearestParams; give nearest_index() nearest_index_bytes() of memory once; take a
// workspace of nearest_workspace_bytes(); call a NearestCpu once per batch.
// Ownership: the caller owns query, memory, scale, distance, index memory, guess and workspace; the
// index lives as long as its memory and reads the memory's rows. Nothing here allocates per call,
// keeps state, starts a thread or checks an argument: problem_of() of arguments.h does, once per
// geometry. Threads: one workspace and guess per thread; the index can be shared.
// Not finite: a NaN in a query gives NaN, otherwise an infinity, or a d over float32, infinity. An
// ignored position is exactly 0 whatever was there. The memory is finite.
#pragma once
#include "common.h"

namespace edgead {

constexpr int32_t kMaxNearest = 8;
constexpr int32_t kParts = 64;        // bytes of F: 63 components and the length of the rest
constexpr int32_t kNearestTile = 32;  // positions, or rows of the memory, that are seen together

// pruned: by the bound above. every: float32 products with all channels are the bound; for a memory
// that has no structure, and to measure against.
enum class Search : int32_t { pruned, every };

constexpr float kLeastShare = 1e-4f;  // of a blend: where all are equal, their mean counts

struct NearestParams {
  int32_t positions, width;  // of a frame; width of their grid, neighbours are alike; 0: no grid
  int32_t channels, rows;    // rows of the memory
  int32_t k;                 // 1 .. kMaxNearest, <= rows
  int32_t blended;           // k or k - 1 of the nearest are blended; 0: weights
  float temperature;         // of the blend, > 0
  bool root;                 // of the distance
  float weight[kMaxNearest];
  Type query_type;   // float32 or float16
  Layout layout;     // of the query
  Type memory_type;  // any
  Search search;
};

// F of features as bytes, in whole tiles of kNearestTile; what lies beyond the last never counts.
struct NearestCodes {
  const uint8_t* codes;  // [tiles, parts / 4, kNearestTile, 4], 128 is 0
  const float* step;     // [tiles] of the codes
  const float* length;   // [tiles, kNearestTile] |F^|^2 - off^2, less what rounding may add
  const float* off;      // rows: [tiles] the largest |F - F^|; centres: [tiles, kNearestTile] of
                         // each, and its radius
};

// What is kept of a memory beside its rows.
struct NearestIndex {
  const void* memory;             // [rows, channels], the caller's
  const float* scale;             // [channels], the caller's; int8 only
  int32_t rows, channels, parts;  // parts: of F in use, a multiple of 4, <= kParts
  float gain, stretch;
  float slack;           // share of |F|^2 that rounding may take
  float leak;            // share of |V y|^2 by which V is not orthonormal
  const float* mean;     // [channels]
  const float* basis;    // [channels, kParts]
  const int32_t* order;  // [tiles, kNearestTile] the rows, those of a tile are alike
  NearestCodes places;   // of the rows in that order
  NearestCodes centres;  // of the tiles
  const float* exact;    // [tiles, channels, kNearestTile] gain * (memory - mean); Search::every
  const float* half;     // [tiles, kNearestTile] half the square of those, less what rounding adds
};

size_t nearest_index_bytes(int32_t rows, int32_t channels, Search search);

// memory [rows, channels] of `type`, scale [channels] (int8 only), mean [channels], basis
// [min(channels, kParts - 1), channels], rows about orthonormal; both are copied.
NearestIndex nearest_index(int32_t rows, int32_t channels, Type type, Search search,
                           const void* memory, const float* scale, const float* mean,
                           const float* basis, void* index_memory);

// Bytes of the CPU implementation's workspace, 64-byte aligned.
size_t nearest_workspace_bytes(const NearestParams& params);

// roi [positions], 0 where a position is ignored, or null. guess [positions, k], in and out: rows
// of the memory to try first, any values, as those of the last frame; receives the k nearest, the
// nearest first (-1: none, where a position is ignored or NaN), of the last frame of the batch.
// Time depends on the guess; the distance does not.
using NearestCpu = void (*)(const NearestParams& params, const NearestIndex& index,
                            const void* query, int32_t batch, const uint8_t* roi, float* distance,
                            int32_t* guess, void* workspace);

// The float32 value that the kernels see: of the memory's value number `at`.
float memory_value(Type type, const void* memory, const float* scale, size_t at, int32_t channel);

// The CUDA implementation: query, memory, scale, shares, roi on the device, as `codes` are, which
// were made of this memory (nearest_codes.h); enqueued on `stream` (a cudaStream_t), safe inside a
// CUDA graph. Whatever params.search is. shares [positions], or null for 1: what the query at each
// position is multiplied by first; roi as above. workspace of nearest_cuda_workspace_bytes(),
// 256-byte aligned, one for each stream. Returns the cudaError_t of the launches.
struct RowCodes;
size_t nearest_cuda_workspace_bytes(const NearestParams& params, int32_t batch);
int nearest_cuda(const NearestParams& params, const RowCodes& codes, const void* memory,
                 const float* scale, const void* query, int32_t batch, const float* shares,
                 const uint8_t* roi, const DistanceOut& out, void* workspace, void* stream);

}  // namespace edgead

// A part of nearest_cuda.cu: queries as bytes, and their products with the codes of all rows.
#pragma once
#include "cuda.h"
#include "nearest_codes.h"

namespace edgead {
namespace {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;
constexpr int kGroup = 64;           // positions whose codes have one step: four fragments of 16
constexpr int kEncodeThreads = 256;  // four for each position
constexpr int kScanWarps = 4;        // of a block; each takes kScanTiles tiles of the memory
constexpr int kScanTiles = 8;
constexpr float kFar = 1e12f;  // a query beyond it, in units of the longest row, has no bound

// What the kernels leave for each other.
struct Encoded {
  uint32_t* codes;  // [batch, groups, 4, chunks, 32, 4], words as code_word() has them
  float* step;      // [batch, groups]; 0: no position of the group has codes
  float* length;    // [batch, groups, kGroup] |q^|^2
  float* off;       // [batch, groups, kGroup]; infinite: no bound
  int32_t* best;    // [batch, groups, kGroup, tiles rounded up to kScanTiles]
  int groups, tiles;
};

template <class Q>
struct Queries {
  const Q* query;
  const float *shares, *mean;
  const uint8_t* roi;
  int positions, channels;
  bool channels_first;
  float gain;
};

// A position's query, after its share.
template <class Q>
struct Query {
  const Q* from;
  int stride;  // from a channel to the next; a frame's values fit into 31 bits
  float share;

  __device__ __forceinline__ Query(const Queries<Q>& given, int frame, int position)
      : from(given.query + static_cast<int64_t>(frame) * given.positions * given.channels +
             position * (given.channels_first ? 1 : given.channels)),
        stride(given.channels_first ? given.positions : 1),
        share(given.shares == nullptr ? 1.0f : __ldg(given.shares + position)) {}
  // (Rounded, so that equal features are at 0 from each other.)
  __device__ __forceinline__ float operator[](int c) const {
    return __fmul_rn(float_of(__ldg(from + c * stride)), share);
  }
};

// The largest of a warp's values, in all its lanes.
__device__ __forceinline__ unsigned largest_of_warp(unsigned value) {
#pragma unroll
  for (int by = kWarp / 2; by > 0; by /= 2)
    value = max(value, __shfl_xor_sync(kAllLanes, value, by));
  return value;
}

// A block encodes a group; a thread takes every fourth word of one position. Reads the features
// twice: for the step, and for the codes. Warps read neighbouring positions of a channel.
template <class Q>
__global__ void __launch_bounds__(kEncodeThreads)
    encode_kernel(const __grid_constant__ Queries<Q> given, float least, int chunks,
                  const __grid_constant__ Encoded to) {
  constexpr int kParts = kEncodeThreads / kGroup;
  __shared__ unsigned largest[kParts][kGroup], largest_of[kGroup / kWarp];
  __shared__ int squares[kParts][kGroup];
  __shared__ float rests[kParts][kGroup];
  const int one = threadIdx.x % kGroup, part = threadIdx.x / kGroup;
  const int position = blockIdx.x * kGroup + one;
  const int64_t group = static_cast<int64_t>(blockIdx.y) * to.groups + blockIdx.x;
  const bool kept =
      position < given.positions && (given.roi == nullptr || __ldg(given.roi + position) != 0);
  const Query<Q> query(given, blockIdx.y, min(position, given.positions - 1));
  const auto centred = [&](int c) {
    return __fmul_rn(given.gain, query[c] - __ldg(given.mean + c));
  };
  const int words = kept ? (given.channels + 3) / 4 : 0;
  unsigned mine = 0;  // bits of the largest, as NaN lies above infinity
  for (int word = part; word < words; word += kParts)
    for (int c = word * 4; c < min(word * 4 + 4, given.channels); ++c)
      mine = max(mine, __float_as_uint(fabsf(centred(c))));
  largest[part][one] = mine;
  __syncthreads();
  mine = 0;
#pragma unroll
  for (int i = 0; i < kParts; ++i) mine = max(mine, largest[i][one]);
  const bool far = mine > __float_as_uint(kFar);
  if (part == 0) {
    const unsigned most = largest_of_warp(far || !kept ? 0u : mine + 1u);  // 0: no thread
    if (one % kWarp == 0) largest_of[one / kWarp] = most;
  }
  __syncthreads();
  const unsigned most = max(largest_of[0], largest_of[1]);
  const float step = max(__uint_as_float(most == 0u ? 0u : most - 1u) / 127.0f, least);
  const float inverse = 1.0f / step;
  uint32_t* codes = to.codes + (group * 4 + one / 16) * chunks * 128;
  int square = 0;
  float rest = 0.0f;
  for (int word = part; word < chunks * 8; word += kParts) {
    uint32_t bytes = 0;
    for (int j = 0; j < 4 && word < words && !far; ++j) {
      const int c = word * 4 + j;
      if (c >= given.channels) break;
      const float value = centred(c);
      const int code = __float2int_rn(min(max(__fmul_rn(value, inverse), -127.0f), 127.0f));
      const float left = fmaf(-step, static_cast<float>(code), value);
      square += code * code, rest = fmaf(left, left, rest);
      bytes |= static_cast<uint32_t>(code & 255) << 8 * j;
    }
    codes[word / 8 * 128 + code_word(one % 16, word % 8)] = bytes;
  }
  squares[part][one] = square, rests[part][one] = rest;
  __syncthreads();
  if (part != 0) return;
#pragma unroll
  for (int i = 1; i < kParts; ++i) square += squares[i][one], rest += rests[i][one];
  to.length[group * kGroup + one] = step * step * static_cast<float>(square);
  to.off[group * kGroup + one] = far ? __uint_as_float(0x7f800000u) : sqrtf(rest);
  if (one == 0) to.step[group] = most == 0u ? 0.0f : step;
}

// Blocks that share a multiprocessor. For sm_100 and sm_110 three would spill a register.
#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ == 1000 || __CUDA_ARCH__ == 1100)
constexpr int kScanBlocks = 2;
#else
constexpr int kScanBlocks = 3;
#endif

// A warp takes a group and kScanTiles tiles: products of 64 positions with 32 rows at a time, 4 x 4
// fragments, whose sums begin with -|m^|^2 / 2 in units of both steps. Of each position and tile
// the largest sum is left, that of the nearest row as far as the codes tell. A fragment of the
// queries serves four, one of the rows four products; what warps of a block share comes from the L1
// cache.
__global__ void __launch_bounds__(kScanWarps* kWarp, kScanBlocks)
    scan_kernel(const __grid_constant__ RowCodes rows, const __grid_constant__ Encoded queries) {
  const int lane = threadIdx.x % kWarp;
  const int first = (blockIdx.y * kScanWarps + threadIdx.x / kWarp) * kScanTiles;
  const int64_t group = static_cast<int64_t>(blockIdx.z) * queries.groups + blockIdx.x;
  const float step = __ldg(queries.step + group);
  if (step == 0.0f || first >= rows.tiles) return;  // the same for all lanes
  const uint4* a = reinterpret_cast<const uint4*>(queries.codes) + group * 4 * rows.chunks * kWarp;
  int32_t* best = queries.best + group * kGroup * queries.tiles + first;
  int kept[8][2];  // of the two tiles that this lane writes
  for (int pair = 0; pair < kScanTiles; pair += 2) {
#pragma unroll
    for (int t = 0; t < 2; ++t) {
      const int tile = min(first + pair + t, rows.tiles - 1);
      const float scale = 0.5f / (step * __ldg(rows.step + tile));
      int sum[4][4][4];  // [queries, rows] of fragments
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        const float* length = rows.length + tile * kCodeRows + n * 8 + lane % 4 * 2;
        const int even = -__float2int_rn(min(__ldg(length) * scale, kCodeLimit));
        const int odd = -__float2int_rn(min(__ldg(length + 1) * scale, kCodeLimit));
#pragma unroll
        for (int m = 0; m < 4; ++m)
          sum[m][n][0] = sum[m][n][2] = even, sum[m][n][1] = sum[m][n][3] = odd;
      }
      const uint4* b = reinterpret_cast<const uint4*>(rows.codes) +
                       static_cast<int64_t>(tile) * 2 * rows.chunks * kWarp;
      for (int chunk = 0; chunk < rows.chunks; ++chunk) {
        const uint4 low = __ldg(b + chunk * kWarp + lane);
        const uint4 high = __ldg(b + (rows.chunks + chunk) * kWarp + lane);
#pragma unroll
        for (int m = 0; m < 4; ++m) {
          const uint4 q = __ldg(a + (m * rows.chunks + chunk) * kWarp + lane);
          const uint32_t words[] = {q.x, q.z, q.y, q.w};
          multiply_bytes(words, low.x, low.y, sum[m][0]);
          multiply_bytes(words, low.z, low.w, sum[m][1]);
          multiply_bytes(words, high.x, high.y, sum[m][2]);
          multiply_bytes(words, high.z, high.w, sum[m][3]);
        }
      }
#pragma unroll
      for (int i = 0; i < 8; ++i) {  // a row of a fragment of queries: 16, and 8 further on
        int most = max(sum[i / 2][0][i % 2 * 2], sum[i / 2][0][i % 2 * 2 + 1]);
#pragma unroll
        for (int n = 1; n < 4; ++n)
          most = max(most, max(sum[i / 2][n][i % 2 * 2], sum[i / 2][n][i % 2 * 2 + 1]));
        most = max(most, __shfl_xor_sync(kAllLanes, most, 1));
        most = max(most, __shfl_xor_sync(kAllLanes, most, 2));
        kept[i][t] = pair == 0 || lane % 4 == pair / 2 ? most : kept[i][t];
      }
    }
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {  // four lanes write eight tiles of a position, a sector
    const int one = i / 2 * 16 + i % 2 * 8 + lane / 4;
    int32_t* to = best + static_cast<int64_t>(one) * queries.tiles + lane % 4 * 2;
    *reinterpret_cast<int2*>(to) = {kept[i][0], kept[i][1]};
  }
}

}  // namespace
}  // namespace edgead

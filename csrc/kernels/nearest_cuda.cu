// nearest on the GPU, three launches: every row is multiplied, as bytes, and few are looked at.
//
//   encode  a block makes the codes of 64 positions: bytes of gain * (query - mean), one step
//   scan    tensor cores multiply the codes of 64 positions with those of all rows; what is left is
//           the largest for each position and tile of 32 rows (nearest_scan_cuda.h)
//   refine  a warp has a position. Tiles in the order of their bounds, then the rows of a tile in
//           that of theirs, until what the codes allow is above what was found: nearest_codes.h has
//           the bound. Each row that counts gets its float32 distance, as nearest.h defines it.
//
// Why all channels as bytes, and no components as on the CPU: two rows of 4096 are left to refine
// where 64 components leave 7 to 21, or all of features without structure, and the queries need not
// be turned. 1024 positions, 4096 rows and 160 channels are 0.67 G multiply-adds of bytes: 67 us of
// an Orin Nano's 20 TOPS. Features whose distances are all the same are refined row by row: exact,
// and slow.
// Traffic: queries twice, codes of the rows once for each 64 positions, from the L2 cache; a word
// for each position and tile is written and read; rows where they count.
#include "cuda.h"
#include "nearest_scan_cuda.h"

namespace edgead {
namespace {

constexpr int kRefined = 4;    // positions of a block of refine_kernel, one for each warp
constexpr int kStaged = 2048;  // channels of a query that are kept in shared memory

template <class T>
__device__ __forceinline__ float value_of(const T* from, const float*, int) {
  return float_of(__ldg(from));
}
__device__ __forceinline__ float value_of(const int8_t* from, const float* scale, int c) {
  return __fmul_rn(static_cast<float>(__ldg(from)), __ldg(scale + c));
}

struct Shape {
  int rows, k, blended;
  bool root;
  float temperature;
  float weight[kMaxNearest];
};

__device__ __forceinline__ float infinity() { return __uint_as_float(0x7f800000u); }

// The sum of the values of neighbouring lanes, kLanes of them; in all of these the same bits.
template <int kLanes>
__device__ __forceinline__ float sum_of(float value) {
#pragma unroll
  for (int by = kLanes / 2; by > 0; by /= 2) value += __shfl_xor_sync(kAllLanes, value, by);
  return value;
}

// The smallest of a warp's keys, in all its lanes.
__device__ __forceinline__ unsigned smallest_of_warp(unsigned key) {
#pragma unroll
  for (int by = kWarp / 2; by > 0; by /= 2) key = min(key, __shfl_xor_sync(kAllLanes, key, by));
  return key;
}

// A key is a bound's bits, of which the last ones are the number of what it is the bound of: a bit
// for each doubling of `count`. Keys have the order of the bounds, and the bound of a key is at
// most what it was made of.
struct Keys {
  unsigned numbers;
  __device__ __forceinline__ explicit Keys(int count) : numbers(0) {
    while (numbers < static_cast<unsigned>(count - 1)) numbers = numbers * 2 + 1;
  }
  __device__ __forceinline__ unsigned key(float bound, int number) const {
    return (__float_as_uint(bound) & ~numbers) | static_cast<unsigned>(number);
  }
  __device__ __forceinline__ float bound(unsigned key) const {
    return __uint_as_float(key & ~numbers);
  }
};
constexpr unsigned kNone = 0xffffffffu;  // a key above those of all bounds

// One position's search, by a warp; all its lanes call each function.
template <class Q, class T>
struct Search {
  const Shape& shape;
  const RowCodes& rows;
  const Query<Q>& query;
  const T* memory;
  const float* scale;
  const float* staged;  // [min(channels, kStaged)] the query
  int position, lane;
  // Of the query's codes: |q^|^2, and with the shares of rounding what squares may be too large by,
  // and what lengths are off by; infinite: no bound.
  const uint32_t* codes;  // of its 16 positions and the first chunk
  float step, length, rounded, off;
  // The nearest so far: lane i has the i-th.
  float best;
  int row_of;
  float bound;  // times gain, a row that is farther does not count

  __device__ __forceinline__ float value(int c) const { return c < kStaged ? staged[c] : query[c]; }
  __device__ __forceinline__ float row_value(int row, int c) const {
    return value_of(memory + (static_cast<int64_t>(row) * rows.channels + c), scale, c);
  }

  // What |q - m| is at least, times gain. product: of the codes less half of |m^|^2, in units of
  // both steps, off by one of them.
  __device__ __forceinline__ float lower(float product, float row_step, float row_off) const {
    if (!(off < infinity())) return 0.0f;
    const float unit = step * row_step;
    const float square = fmaf(-2.0f * unit, product, length) - fmaf(4.0f, unit, rounded);
    const float least = fmaf(sqrtf(max(square, 0.0f)), 1.0f - 1e-6f, -(off + row_off));
    return max(least, 0.0f);
  }

  __device__ void try_row(int row) {
    float square = 0.0f;
    for (int c = lane; c < rows.channels; c += kWarp) {
      const float difference = value(c) - row_value(row, c);
      square = fmaf(difference, difference, square);
    }
    square = sum_of<kWarp>(square);
    // Takes its place among the smallest; those behind it move along.
    const float before = __shfl_up_sync(kAllLanes, best, 1);
    const int row_before = __shfl_up_sync(kAllLanes, row_of, 1);
    if (square < best) {
      const bool here = lane == 0 || before <= square;
      best = here ? square : before, row_of = here ? row : row_before;
    }
    const float last = __shfl_sync(kAllLanes, best, shape.k - 1);
    bound = rows.gain * sqrtf(last) * (1.0f + rows.slack);
  }

  // The product of the query's codes with those of row `lane` of a tile.
  __device__ __forceinline__ int product(int tile) const {
    const uint32_t* a = codes + code_word(position % 16, 0);
    const uint32_t* b = rows.codes +
                        (static_cast<int64_t>(tile) * 2 + lane / 16) * rows.chunks * 128 +
                        code_word(lane % 16, 0);
    int sum = 0;
    for (int chunk = 0; chunk < rows.chunks; ++chunk, a += 128, b += 128)
#pragma unroll
      for (int word = 0; word < 4; ++word) {  // and that 16 channels further on, beside it
        const uint2 q = *reinterpret_cast<const uint2*>(a + word * 4);
        const uint2 r = *reinterpret_cast<const uint2*>(b + word * 4);
        sum = __dp4a(static_cast<int>(q.x), static_cast<int>(r.x), sum);
        sum = __dp4a(static_cast<int>(q.y), static_cast<int>(r.y), sum);
      }
    return sum;
  }

  // The rows of a tile that may count, the nearest first.
  __device__ void search_tile(int tile) {
    const Keys keys(kCodeRows);
    const int row = tile * kCodeRows + lane;
    const float row_step = __ldg(rows.step + tile);
    const float half = __ldg(rows.length + row) * (0.5f / (step * row_step));
    const float least =
        lower(static_cast<float>(product(tile)) - half, row_step, __ldg(rows.off + tile));
    unsigned key = row < rows.rows ? keys.key(least, lane) : kNone;
    for (;;) {
      const unsigned next = smallest_of_warp(key);
      if (next == kNone || keys.bound(next) > bound) return;
      try_row(tile * kCodeRows + next % kCodeRows);
      if (key == next) key = kNone;
    }
  }

  // Tiles in the order of their bounds and then of their numbers. sums [tiles]: of the scan;
  // receives the keys.
  __device__ void search(int32_t* sums) {
    const Keys keys(rows.tiles);
    unsigned next = kNone;
    for (int tile = lane; tile < rows.tiles; tile += kWarp) {
      const float least =
          lower(static_cast<float>(sums[tile]), __ldg(rows.step + tile), __ldg(rows.off + tile));
      const unsigned key = keys.key(least, tile);
      sums[tile] = static_cast<int32_t>(key);
      next = min(next, key);
    }
    for (;;) {
      next = smallest_of_warp(next);
      if (next == kNone || keys.bound(next) > bound) return;
      search_tile(static_cast<int>(next & keys.numbers));
      const unsigned last = next;
      next = kNone;
      for (int tile = lane; tile < rows.tiles; tile += kWarp) {
        const unsigned key = static_cast<unsigned>(sums[tile]);
        if (key > last) next = min(next, key);
      }
    }
  }

  // The distance to the blend of the nearest, see nearest.h.
  __device__ float to_blend() const {
    const float first = __shfl_sync(kAllLanes, best, 0);
    const float e = lane < shape.k ? expf((first - best) / shape.temperature) : 0.0f;
    const float all = __shfl_sync(kAllLanes, sum_of<kMaxNearest>(e), 0);
    const float after = __shfl_sync(kAllLanes, e, shape.blended % kWarp);
    const float next = shape.k > shape.blended ? after : 0.0f;
    float share = lane < shape.blended ? (e - next) / all + kLeastShare : 0.0f;
    share /= __shfl_sync(kAllLanes, sum_of<kMaxNearest>(share), 0);
    float square = 0.0f;
    for (int c0 = 0; c0 < rows.channels; c0 += kWarp) {
      const int c = c0 + lane;
      float blend = 0.0f;
      for (int i = 0; i < shape.blended; ++i) {
        const float its_share = __shfl_sync(kAllLanes, share, i);
        const int its_row = __shfl_sync(kAllLanes, row_of, i);
        if (c < rows.channels) blend = fmaf(its_share, row_value(its_row, c), blend);
      }
      const float difference = c < rows.channels ? value(c) - blend : 0.0f;
      square = fmaf(difference, difference, square);
    }
    return sum_of<kWarp>(square);
  }

  __device__ float distance() const {
    float sum = 0.0f;
    for (int i = 0; i < shape.k; ++i) {
      const float d = __shfl_sync(kAllLanes, best, i);
      if (shape.weight[i] > 0.0f) sum += shape.weight[i] * d;
    }
    const float first = __shfl_sync(kAllLanes, best, 0);
    if (shape.blended > 0)  // a distance beyond float32 has no blend
      sum = first < infinity() ? to_blend() : first;
    return shape.root ? sqrtf(sum) : sum;
  }
};

template <class Q, class T>
__global__ void __launch_bounds__(kRefined* kWarp)
    refine_kernel(const __grid_constant__ Shape shape, const __grid_constant__ RowCodes rows,
                  const __grid_constant__ Encoded encoded, const __grid_constant__ Queries<Q> given,
                  const T* memory, const float* scale, const __grid_constant__ DistanceOut out) {
  __shared__ float staged[kRefined][kStaged];
  const int first = blockIdx.x * kRefined, warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  {  // neighbouring threads read what lies side by side, in the usual layout
    const int one = threadIdx.x % kRefined;
    const Query<Q> its(given, blockIdx.y, min(first + one, given.positions - 1));
    for (int c = threadIdx.x / kRefined; c < min(given.channels, kStaged); c += kWarp)
      staged[one][c] = its[c];
  }
  __syncthreads();
  const int position = first + warp;
  if (position >= given.positions) return;
  if (given.roi != nullptr && __ldg(given.roi + position) == 0) {
    if (lane == 0) put_distance(out, blockIdx.y, given.positions, position, 0.0f);
    return;
  }
  const int group = blockIdx.y * encoded.groups + position / kGroup;
  const int64_t at = static_cast<int64_t>(group) * kGroup + position % kGroup;
  const float length = __ldg(encoded.length + at), off = __ldg(encoded.off + at);
  const Query<Q> query(given, blockIdx.y, position);
  Search<Q, T> search{shape,
                      rows,
                      query,
                      memory,
                      scale,
                      staged[warp],
                      position,
                      lane,
                      encoded.codes + (at / 16) * rows.chunks * 128,
                      __ldg(encoded.step + group),
                      length,
                      rows.slack * (length + rows.longest),
                      (off * (1.0f + rows.slack) + rows.slack * sqrtf(length)) * (1.0f + 1e-6f),
                      infinity(),
                      0,
                      infinity()};
  unsigned largest = 0;  // bits: a NaN is above infinity
  for (int c = lane; c < given.channels; c += kWarp)
    largest = max(largest, __float_as_uint(fabsf(search.value(c))));
  largest = largest_of_warp(largest);
  float distance = __uint_as_float(largest > 0x7f800000u ? 0x7fc00000u : 0x7f800000u);
  if (largest < 0x7f800000u) {
    search.search(encoded.best + at * encoded.tiles);
    distance = search.distance();
  }
  if (lane == 0) put_distance(out, blockIdx.y, given.positions, position, distance);
}

Encoded lay_out(const NearestParams& p, int32_t batch, Arena<256>& arena) {
  Encoded e{};
  e.groups = (p.positions + kGroup - 1) / kGroup;
  const int32_t tiles = (p.rows + kCodeRows - 1) / kCodeRows;
  e.tiles = (tiles + kScanTiles - 1) / kScanTiles * kScanTiles;
  const size_t groups = static_cast<size_t>(batch) * e.groups;
  const size_t chunks = (p.channels + kCodeChannels - 1) / kCodeChannels;
  e.codes = arena.take<uint32_t>(groups * kGroup * chunks * kCodeChannels / 4);
  e.step = arena.take<float>(groups);
  e.length = arena.take<float>(groups * kGroup);
  e.off = arena.take<float>(groups * kGroup);
  e.best = arena.take<int32_t>(groups * kGroup * e.tiles);
  return e;
}

template <class Q, class T>
void start(const NearestParams& p, const RowCodes& codes, const void* memory, const float* scale,
           const Queries<Q>& queries, int32_t batch, const DistanceOut& out, const Encoded& encoded,
           cudaStream_t stream) {
  Shape shape{p.rows, p.k, p.blended, p.root, p.temperature, {}};
  for (int i = 0; i < p.k; ++i) shape.weight[i] = p.weight[i];
  const int tiles_of_block = kScanWarps * kScanTiles;
  const dim3 scan((queries.positions + kGroup - 1) / kGroup,
                  (codes.tiles + tiles_of_block - 1) / tiles_of_block, batch);
  launch(encode_kernel<Q>, dim3(encoded.groups, batch), dim3(kEncodeThreads), stream, queries,
         codes.least, codes.chunks, encoded);
  launch(scan_kernel, scan, dim3(kScanWarps * kWarp), stream, codes, encoded);
  launch(refine_kernel<Q, T>, dim3((p.positions + kRefined - 1) / kRefined, batch),
         dim3(kRefined * kWarp), stream, shape, codes, encoded, queries,
         static_cast<const T*>(memory), scale, out);
}

template <class Q>
void start(const NearestParams& p, const RowCodes& codes, const void* memory, const float* scale,
           const void* query, int32_t batch, const float* shares, const uint8_t* roi,
           const DistanceOut& out, const Encoded& encoded, cudaStream_t stream) {
  const Queries<Q> queries{
      static_cast<const Q*>(query), shares,    codes.mean, roi, p.positions, p.channels,
      p.layout == Layout::nchw,     codes.gain};
  constexpr decltype(&start<Q, float>) kStarts[] = {start<Q, float>, start<Q, uint16_t>,
                                                    start<Q, int8_t>};  // in the order of Type
  kStarts[static_cast<int>(p.memory_type)](p, codes, memory, scale, queries, batch, out, encoded,
                                           stream);
}

}  // namespace

size_t nearest_cuda_workspace_bytes(const NearestParams& params, int32_t batch) {
  Arena<256> arena{nullptr};
  lay_out(params, batch, arena);
  return arena.used;
}

int nearest_cuda(const NearestParams& params, const RowCodes& codes, const void* memory,
                 const float* scale, const void* query, int32_t batch, const float* shares,
                 const uint8_t* roi, const DistanceOut& out, void* workspace, void* stream) {
  Arena<256> arena{static_cast<char*>(workspace)};
  const Encoded encoded = lay_out(params, batch, arena);
  const auto run = params.query_type == Type::float16 ? &start<uint16_t> : &start<float>;
  run(params, codes, memory, scale, query, batch, shares, roi, out, encoded,
      static_cast<cudaStream_t>(stream));
  return static_cast<int>(cudaGetLastError());
}

}  // namespace edgead

// anomaly_map on the GPU: three launches for any number of levels (four for a product with a blur).
//
//   distances  a block takes 32 positions of one level and all channels; a thread loads four
//              elements at once, 16 bytes of float32 or 8 of float16; every feature is read once
//   map        a block makes a tile of 64 x 64 pixels, all levels at once: the distances that the
//              tile needs (with their halo) come into shared memory, become
//              stretched_k = distance_k C_k^T there, and R_k stretched_k is added up in registers.
//              The map is written once; each block leaves its largest pixel and its sum.
//              A product with a blur takes it twice: product of the levels, then blur
//   pool       one block per frame
//
// Traffic: features once, map once; from the cache the distances again with the halo and the bands'
// weights for each tile. Larger tiles would ask for less and leave multiprocessors idle: a map of
// 256 x 256 has 16 tiles. tests/cuda_on_cpu/traffic.py counts it.
#include "anomaly_map.h"
#include "cuda.h"
#include "pool_cuda.h"

namespace edgead {
namespace {

constexpr int kThreads = 256;
constexpr int kPositions = 32, kVector = 4;     // of a block and of a load of distance_kernel
constexpr int kAbreast = kPositions / kVector;  // threads whose loads lie side by side
constexpr int kBatch = 4;                       // loads of each feature that a thread has under way
constexpr int kTile = 64;                       // rows and columns of map_kernel's tile
constexpr int kStageRows = 32, kStageColumns = 64;
constexpr int kBesides = kThreads / kTile;  // rows of a tile that are made at the same time

struct DistanceLevel {
  const void *a, *b;  // [batch, channels, positions] or [batch, positions, channels]
  float* distance;    // [batch, positions]
  int channels, positions, first_block;
};
struct DistanceLevels {
  DistanceLevel level[kMaxLevels];
  int levels;
};

__device__ __forceinline__ void load_vector(const float* from, float to[kVector]) {
  const float4 v = __ldg(reinterpret_cast<const float4*>(from));
  to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}
__device__ __forceinline__ void load_vector(const uint16_t* from, float to[kVector]) {
  const uint2 v = __ldg(reinterpret_cast<const uint2*>(from));
  to[0] = float_of(static_cast<uint16_t>(v.x)), to[1] = float_of(static_cast<uint16_t>(v.x >> 16));
  to[2] = float_of(static_cast<uint16_t>(v.y)), to[3] = float_of(static_cast<uint16_t>(v.y >> 16));
}

// Element j of a thread within a row of neighbours. Without aligned vectors the threads' elements
// alternate, so that each load still takes neighbours.
template <bool kAligned>
__device__ __forceinline__ int element(int thread, int j) {
  return kAligned ? thread * kVector + j : thread + j * kAbreast;
}

// A thread's elements of a row that has `n` left; 0 after its end.
template <class T, bool kAligned>
__device__ __forceinline__ void load(const T* row, int thread, int n, float to[kVector]) {
  if (kAligned && thread * kVector < n) {  // n is a multiple of kVector
    load_vector(row + thread * kVector, to);
    return;
  }
#pragma unroll
  for (int j = 0; j < kVector; ++j) {
    const int i = element<kAligned>(thread, j);
    to[j] = !kAligned && i < n ? float_of(__ldg(row + i)) : 0.0f;
  }
}

struct Sums {
  float ab, aa, bb;  // ab: of a b, or of |a - b|, or of (a - b)^2
};

__device__ __forceinline__ Sums operator+(const Sums& s, const Sums& t) {
  return {s.ab + t.ab, s.aa + t.aa, s.bb + t.bb};
}

// The sums of the lanes whose numbers differ in the bits `from`, 2 from, .. below `to`.
__device__ __forceinline__ Sums add_lanes(Sums s, int from, int to) {
#pragma unroll
  for (int by = from; by < to; by *= 2)
    s = s + Sums{__shfl_xor_sync(kAllLanes, s.ab, by), __shfl_xor_sync(kAllLanes, s.aa, by),
                 __shfl_xor_sync(kAllLanes, s.bb, by)};
  return s;
}

__device__ __forceinline__ void add(Distance kind, const float a[kVector], const float b[kVector],
                                    Sums to[kVector]) {
#pragma unroll
  for (int j = 0; j < kVector; ++j) {
    const float d = fabsf(a[j] - b[j]);
    if (kind == Distance::cosine) {
      to[j].ab = fmaf(a[j], b[j], to[j].ab);
      to[j].aa = fmaf(a[j], a[j], to[j].aa);
      to[j].bb = fmaf(b[j], b[j], to[j].bb);
    } else {
      to[j].ab = kind == Distance::l1 ? to[j].ab + d : fmaf(d, d, to[j].ab);
    }
  }
}

// A thread's way through the features: `steps` loads, each `stride` elements on. The first one's
// row has `n` elements left, each later one's `n_less` less than the one before.
struct Way {
  int thread, steps, n, n_less;
  size_t stride;
};

// Adds element j of each load to sums[j]. All loads of a batch are under way at the same time.
template <class T, bool kAligned>
__device__ __forceinline__ void add_way(const T* a, const T* b, const Way& way, Distance kind,
                                        Sums sums[kVector]) {
  for (int step = 0; step < way.steps; step += kBatch) {
    float va[kBatch][kVector], vb[kBatch][kVector];
#pragma unroll
    for (int i = 0; i < kBatch; ++i) {
      const int n = step + i < way.steps ? way.n - (step + i) * way.n_less : 0;
      load<T, kAligned>(a + (step + i) * way.stride, way.thread, n, va[i]);
      load<T, kAligned>(b + (step + i) * way.stride, way.thread, n, vb[i]);
    }
#pragma unroll
    for (int i = 0; i < kBatch; ++i) add(kind, va[i], vb[i], sums);
  }
}

// NCHW: 8 threads take a channel's 32 positions, the block 32 channels at the same time.
// NHWC: 8 threads take a position's channels, the block 32 positions at the same time.
// (Blocks per multiprocessor are named in both kernels, because ptxas would spill to have more.)
template <class T, Layout kLayout, bool kAligned>
__global__ void __launch_bounds__(kThreads, 2)
    distance_kernel(const __grid_constant__ DistanceLevels levels, Distance kind) {
  constexpr bool kNchw = kLayout == Layout::nchw;
  constexpr int kTogether = kThreads / kAbreast, kParts = kNchw ? kThreads / kWarp : 1;
  __shared__ Sums parts[kParts][kPositions];
  int k = 0;
  while (k + 1 < levels.levels && (int)blockIdx.x >= levels.level[k + 1].first_block) ++k;
  const DistanceLevel& l = levels.level[k];
  const int first = (blockIdx.x - l.first_block) * kPositions, left = l.positions - first;
  const int thread = threadIdx.x % kAbreast, row = threadIdx.x / kAbreast;
  const size_t channels = l.channels, positions = l.positions;
  const size_t frame = blockIdx.y * channels * positions;
  const size_t skip =
      frame + (kNchw ? row * positions + first : (first + static_cast<size_t>(row)) * channels);
  const Way way = kNchw ? Way{thread, (l.channels - row + kTogether - 1) / kTogether, left, 0,
                              kTogether * positions}
                        : Way{thread, row < left ? (l.channels - 1) / kPositions + 1 : 0,
                              l.channels, kPositions, kPositions};
  Sums own[kVector] = {};
  add_way<T, kAligned>(static_cast<const T*>(l.a) + skip, static_cast<const T*>(l.b) + skip, way,
                       kind, own);
  if (kNchw) {
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const Sums sums = add_lanes(own[j], kAbreast, kWarp);
      if (threadIdx.x % kWarp < kAbreast)
        parts[threadIdx.x / kWarp % kParts][element<kAligned>(thread, j)] = sums;
    }
  } else {
    const Sums sums = add_lanes(own[0] + own[1] + (own[2] + own[3]), 1, kAbreast);
    if (thread == 0) parts[0][row] = sums;
  }
  __syncthreads();
  if ((int)threadIdx.x >= min(kPositions, left)) return;
  Sums total = parts[0][threadIdx.x];
  for (int part = 1; part < kParts; ++part) total = total + parts[part][threadIdx.x];
  l.distance[blockIdx.y * positions + first + threadIdx.x] =
      kind == Distance::cosine ? cosine_distance(total.ab, total.aa, total.bb)
                               : total.ab / l.channels;
}

struct MapLevel {
  Band rows, columns;
  const float* from;  // [batch, rows.in, columns.in]
};
struct MapLevels {
  MapLevel level[kMaxLevels];
  int levels, height, width;
};

// The inputs that a tile needs: of the groups from `at` to that of the last of `size` outputs.
struct Span {
  int begin, end;
  __device__ Span(const Band& band, int at, int size) {
    const int last = (min(at + size, band.out) - 1) / band.group;
    begin = __ldg(band.start + at / band.group);
    end = __ldg(band.start + last) + __ldg(band.count + last);
  }
};

// stretched[r][x] for the rows top + r < bottom of the input and the tile's columns x0 + x.
// All threads call it; those past the map's edge repeat its last column.
__device__ void stretch(const MapLevel& l, int x0, int top, int bottom,
                        float (*stage)[kStageColumns], float (*stretched)[kTile]) {
  const Band& band = l.columns;
  const Span span(band, x0, kTile);
  const int x = min(x0 + (int)threadIdx.x % kTile, band.out - 1), g = x / kColumnGroup;
  const int start = __ldg(band.start + g), count = __ldg(band.count + g);
  const float* weight = band.weight + static_cast<size_t>(g) * band.taps * kColumnGroup;
  const float* from = l.from + (static_cast<size_t>(blockIdx.z) * l.rows.in + top) * band.in;
  float sum[kStageRows / kBesides] = {};
  for (int left = span.begin; left < span.end; left += kStageColumns) {
    __syncthreads();  // no thread reads what the stage had
#pragma unroll
    for (int i = 0; i < kStageRows * kStageColumns / kThreads; ++i) {
      const int r = (i * kThreads + threadIdx.x) / kStageColumns, c = threadIdx.x % kStageColumns;
      const bool inside = top + r < bottom && left + c < span.end;
      stage[r][c] = inside ? __ldg(from + static_cast<size_t>(r) * band.in + left + c) : 0.0f;
    }
    __syncthreads();
    const int end = min(start + count, left + kStageColumns);
    for (int c = max(start, left); c < end; ++c) {
      const float w = __ldg(weight + (c - start) * kColumnGroup + x % kColumnGroup);
#pragma unroll
      for (int i = 0; i < kStageRows / kBesides; ++i)
        sum[i] = fmaf(w, stage[threadIdx.x / kTile + i * kBesides][c - left], sum[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < kStageRows / kBesides; ++i)
    stretched[threadIdx.x / kTile + i * kBesides][threadIdx.x % kTile] = sum[i];
}

// A thread's pixels: column threadIdx.x % kTile, and of every kBesides-th group all rows.
constexpr int kGroups = kTile / kRowGroup / kBesides;
using Pixels = float[kGroups][kRowGroup];
__device__ __forceinline__ int row_of(int y0, int group) {
  return y0 + (threadIdx.x / kTile + group * kBesides) * kRowGroup;
}

// pixels += the rows [top, bottom) of the band's input, which are in stretched.
__device__ __forceinline__ void add_rows(const Band& band, int y0, int top, int bottom,
                                         const float (*stretched)[kTile], Pixels pixels) {
#pragma unroll
  for (int i = 0; i < kGroups; ++i) {
    if (row_of(y0, i) >= band.out) break;
    const int g = row_of(y0, i) / kRowGroup, start = __ldg(band.start + g);
    const int end = min(start + __ldg(band.count + g), bottom);
    const float* weight = band.weight + static_cast<size_t>(g) * band.taps * kRowGroup;
    for (int r = max(start, top); r < end; ++r) {
      const float value = stretched[r - top][threadIdx.x % kTile];
      const float4 w = __ldg(reinterpret_cast<const float4*>(weight) + (r - start));
      pixels[i][0] = fmaf(w.x, value, pixels[i][0]);
      pixels[i][1] = fmaf(w.y, value, pixels[i][1]);
      pixels[i][2] = fmaf(w.z, value, pixels[i][2]);
      pixels[i][3] = fmaf(w.w, value, pixels[i][3]);
    }
  }
}

// map [batch, height, width]; roi [height, width] or null; partial [batch, blocks] or null.
__global__ void __launch_bounds__(kThreads, 1)
    map_kernel(const __grid_constant__ MapLevels levels, Fusion fusion, const uint8_t* roi,
               float* map, Partial* partial) {
  __shared__ float stage[kStageRows][kStageColumns];
  __shared__ float stretched[kStageRows][kTile];
  const int x0 = blockIdx.x * kTile, y0 = blockIdx.y * kTile;
  Pixels fused = {};
  for (int k = 0; k < levels.levels; ++k) {
    const MapLevel& l = levels.level[k];
    const Span span(l.rows, y0, kTile);
    Pixels own = {};
    for (int top = span.begin; top < span.end; top += kStageRows) {
      const int bottom = min(top + kStageRows, span.end);
      stretch(l, x0, top, bottom, stage, stretched);
      __syncthreads();
      add_rows(l.rows, y0, top, bottom, stretched, own);
    }
#pragma unroll
    for (int i = 0; i < kGroups * kRowGroup; ++i) {
      float& to = fused[i / kRowGroup][i % kRowGroup];
      const float value = own[i / kRowGroup][i % kRowGroup];
      to = fusion == Fusion::sum || k == 0 ? to + value : to * value;
    }
  }
  const int x = x0 + threadIdx.x % kTile;
  unsigned largest = 0;
  double sum = 0.0;
#pragma unroll
  for (int i = 0; i < kGroups * kRowGroup; ++i) {
    const int y = row_of(y0, i / kRowGroup) + i % kRowGroup;
    if (x >= levels.width || y >= levels.height) continue;
    const size_t at = static_cast<size_t>(y) * levels.width + x;
    const bool kept = roi == nullptr || __ldg(roi + at) != 0;
    const float value = kept ? fused[i / kRowGroup][i % kRowGroup] : 0.0f;
    map[static_cast<size_t>(blockIdx.z) * levels.height * levels.width + at] = value;
    largest = max(largest, __float_as_uint(value));
    sum += value;
  }
  if (partial == nullptr) return;  // the same for all threads
  const size_t block = (static_cast<size_t>(blockIdx.z) * gridDim.y + blockIdx.y) * gridDim.x;
  reduce_block<kThreads>(largest, sum, partial + block + blockIdx.x);
}

int divide_up(int n, int by) { return (n - 1) / by + 1; }

dim3 map_grid(const AnomalyMapParams& p, int32_t batch) {
  return dim3(divide_up(p.width, kTile), divide_up(p.height, kTile), batch);
}

struct Buffers {
  float *distances[kMaxLevels], *product;
  Partial* partial;
};

Buffers lay_out(const AnomalyMapParams& p, int32_t batch, Arena<256>& arena) {
  Buffers w{};
  const size_t frames = batch;
  for (int32_t k = 0; k < p.levels; ++k)
    w.distances[k] = arena.take<float>(frames * p.level[k].height * p.level[k].width);
  if (p.fusion == Fusion::product && p.sigma > 0.0)
    w.product = arena.take<float>(frames * p.height * p.width);
  const dim3 grid = map_grid(p, batch);
  w.partial = arena.take<Partial>(frames * grid.x * grid.y);
  return w;
}

bool is_aligned(const DistanceLevels& levels, Layout layout, size_t vector_bytes) {
  bool aligned = true;
  for (int k = 0; k < levels.levels; ++k) {
    const DistanceLevel& l = levels.level[k];
    const auto bits = reinterpret_cast<uintptr_t>(l.a) | reinterpret_cast<uintptr_t>(l.b);
    const int row = layout == Layout::nchw ? l.positions : l.channels;
    aligned = aligned && bits % vector_bytes == 0 && row % kVector == 0;
  }
  return aligned;
}

template <class T>
auto distance_kernel_of(const DistanceLevels& levels, Layout layout) {
  const bool aligned = is_aligned(levels, layout, sizeof(T) * kVector);
  if (layout == Layout::nchw)
    return aligned ? distance_kernel<T, Layout::nchw, true>
                   : distance_kernel<T, Layout::nchw, false>;
  return aligned ? distance_kernel<T, Layout::nhwc, true> : distance_kernel<T, Layout::nhwc, false>;
}

}  // namespace

size_t anomaly_map_cuda_workspace_bytes(const AnomalyMapParams& params, int32_t batch) {
  Arena<256> arena{nullptr};
  lay_out(params, batch, arena);
  return arena.used;
}

int anomaly_map_cuda(const AnomalyMapPlan& plan, const void* const* reference,
                     const void* const* restored, int32_t batch, float* map, float* score,
                     void* workspace, void* stream_) {
  const AnomalyMapParams& p = plan.params;
  const cudaStream_t stream = static_cast<cudaStream_t>(stream_);
  Arena<256> arena{static_cast<char*>(workspace)};
  const Buffers w = lay_out(p, batch, arena);
  DistanceLevels distances{};
  MapLevels maps{};
  distances.levels = maps.levels = p.levels;
  maps.height = p.height, maps.width = p.width;
  int blocks = 0;
  // The last level first: it has the most channels, so its blocks take longest, and the first one
  // the most positions: what is written last is still in the cache when map_kernel reads it.
  for (int32_t k = p.levels - 1; k >= 0; --k) {
    const AnomalyMapLevel& l = p.level[k];
    const int positions = l.height * l.width;
    distances.level[p.levels - 1 - k] = {reference[k], restored[k], w.distances[k],
                                         l.channels,   positions,   blocks};
    blocks += divide_up(positions, kPositions);
    maps.level[k] = {plan.rows[k], plan.columns[k], w.distances[k]};
  }
  launch(p.type == Type::float32 ? distance_kernel_of<float>(distances, p.layout)
                                 : distance_kernel_of<uint16_t>(distances, p.layout),
         dim3(blocks, batch), dim3(kThreads), stream, distances, p.distance);
  const dim3 grid = map_grid(p, batch);
  if (w.product != nullptr) {
    launch(map_kernel, grid, dim3(kThreads), stream, maps, p.fusion, nullptr, w.product, nullptr);
    maps = {{{plan.blur_rows, plan.blur_columns, w.product}}, 1, p.height, p.width};
  }
  launch(map_kernel, grid, dim3(kThreads), stream, maps, p.fusion, plan.roi, map, w.partial);
  launch(pool_kernel, dim3(batch), dim3(kPoolThreads), stream, w.partial,
         static_cast<int>(grid.x * grid.y), map, p.height * p.width, plan.kept, p.pooling,
         p.top_count, score);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace edgead

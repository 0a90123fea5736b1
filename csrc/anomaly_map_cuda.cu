// anomaly_map on the GPU: four launches for any number of levels (six for a product with a blur).
//
//   distances  a block takes 32 positions of one level; its 8 warps share the channels, lane =
//              position, so that each load is 128 consecutive bytes; every feature is read once
//   columns    a thread makes one element of stretched_k = distance_k C_k^T (small, stays in L2)
//   rows       a thread makes four map rows of one column, all levels at once; the map is written
//              once, and each block leaves its largest pixel and its sum
//   pool       one block per frame
// No atomics on floats: the score is the same in every run. Largest pixels are compared as unsigned
// integers: the bits of floats >= 0 have the order of the floats, and NaN lies above infinity.
#include "anomaly_map.h"
#include "cuda.h"

namespace edgead {
namespace {

constexpr int kLanesPerBlock = 32, kWarps = 8, kPoolThreads = 256;

struct DistanceLevel {
  const float *a, *b;  // [batch, channels, positions]
  float* distance;     // [batch, positions]
  int channels, positions, first_block;
};
struct DistanceLevels {
  DistanceLevel level[kMaxLevels];
  int levels;
};

__device__ __forceinline__ void add_channel(Distance kind, float a, float b, float& ab, float& aa,
                                            float& bb) {
  if (kind == Distance::cosine) {
    ab = fmaf(a, b, ab);
    aa = fmaf(a, a, aa);
    bb = fmaf(b, b, bb);
  } else {
    const float d = fabsf(a - b);
    ab = kind == Distance::l1 ? ab + d : fmaf(d, d, ab);
  }
}

__global__ void __launch_bounds__(kLanesPerBlock* kWarps)
    distance_kernel(const DistanceLevels levels, Distance kind) {
  __shared__ float sums[3][kWarps][kLanesPerBlock];
  DistanceLevel l =
      levels.level[0];  // a run-time index into the parameter would copy it to a stack
#pragma unroll
  for (int k = 1; k < kMaxLevels; ++k)
    if (k < levels.levels && (int)blockIdx.x >= levels.level[k].first_block) l = levels.level[k];
  const int at = (blockIdx.x - l.first_block) * kLanesPerBlock + threadIdx.x;
  const size_t skip = (size_t)blockIdx.y * l.channels * l.positions;
  float ab = 0.0f, aa = 0.0f, bb = 0.0f;
  if (at < l.positions)
#pragma unroll 4
    for (int c = threadIdx.y; c < l.channels; c += kWarps) {
      const size_t i = skip + (size_t)c * l.positions + at;
      add_channel(kind, __ldg(l.a + i), __ldg(l.b + i), ab, aa, bb);
    }
  sums[0][threadIdx.y][threadIdx.x] = ab;
  sums[1][threadIdx.y][threadIdx.x] = aa;
  sums[2][threadIdx.y][threadIdx.x] = bb;
  __syncthreads();
  if (threadIdx.y != 0 || at >= l.positions) return;
  for (int w = 1; w < kWarps; ++w) {
    ab += sums[0][w][threadIdx.x];
    aa += sums[1][w][threadIdx.x];
    bb += sums[2][w][threadIdx.x];
  }
  l.distance[(size_t)blockIdx.y * l.positions + at] =
      kind == Distance::cosine ? cosine_distance(ab, aa, bb) : ab / l.channels;
}

struct ColumnLevel {
  Band band;
  const float* from;  // [batch, height, band.in]
  float* to;          // [batch, height, band.out]
  int height, first_row;
};
struct ColumnLevels {
  ColumnLevel level[kMaxLevels];
  int levels, rows;  // rows of all levels together
};

__global__ void __launch_bounds__(kLanesPerBlock* kWarps)
    columns_kernel(const ColumnLevels levels) {
  const int x = blockIdx.x * kLanesPerBlock + threadIdx.x;
  int y = blockIdx.y * kWarps + threadIdx.y;
  ColumnLevel l = levels.level[0];
#pragma unroll
  for (int k = 1; k < kMaxLevels; ++k)
    if (k < levels.levels && y >= levels.level[k].first_row) l = levels.level[k];
  if (x >= l.band.out || y >= levels.rows) return;
  const size_t row = (size_t)blockIdx.z * l.height + (y - l.first_row);
  const int g = x / kColumnGroup, i = x % kColumnGroup, count = l.band.count[g];
  const float* from = l.from + row * l.band.in + l.band.start[g];
  const float* weight = l.band.weight + (size_t)g * l.band.taps * kColumnGroup + i;
  float sum = 0.0f;
  for (int t = 0; t < count; ++t) sum = fmaf(weight[t * kColumnGroup], from[t], sum);
  l.to[row * l.band.out + x] = sum;
}

struct RowLevel {
  Band band;
  const float* from;  // [batch, band.in, width]
};
struct RowLevels {
  RowLevel level[kMaxLevels];
  int levels, height, width;
};
struct Partial {  // of one block of rows_kernel
  double sum;
  unsigned largest;  // bits of a float
};

__device__ __forceinline__ void four_rows(const RowLevel& l, int width, int g, int x,
                                          float sum[kRowGroup]) {
  const int count = l.band.count[g];
  const float* from = l.from + ((size_t)blockIdx.z * l.band.in + l.band.start[g]) * width + x;
  const float* weight = l.band.weight + (size_t)g * l.band.taps * kRowGroup;
  for (int t = 0; t < count; ++t) {
    const float value = from[(size_t)t * width];
#pragma unroll
    for (int r = 0; r < kRowGroup; ++r) sum[r] = fmaf(weight[t * kRowGroup + r], value, sum[r]);
  }
}

// Leaves the largest value and the sum over the block in partial[0]. All threads call it.
__device__ void reduce_block(unsigned largest, double sum, Partial* partial) {
  __shared__ unsigned shared_largest[kWarps];
  __shared__ double shared_sum[kWarps];
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) {
    largest = max(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
    sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  }
  const int tid = threadIdx.y * blockDim.x + threadIdx.x;
  if (tid % 32 == 0) {
    shared_largest[tid / 32] = largest;
    shared_sum[tid / 32] = sum;
  }
  __syncthreads();
  if (tid != 0) return;
  for (int w = 1; w < kWarps; ++w) {
    largest = max(largest, shared_largest[w]);
    sum += shared_sum[w];
  }
  partial->largest = largest;
  partial->sum = sum;
}

// map [batch, height, width]; partial [batch, blocks] or null.
__global__ void __launch_bounds__(kLanesPerBlock* kWarps)
    rows_kernel(const RowLevels levels, Fusion fusion, float* map, Partial* partial) {
  const int x = blockIdx.x * kLanesPerBlock + threadIdx.x;
  const int g = blockIdx.y * kWarps + threadIdx.y, y = g * kRowGroup;
  unsigned largest = 0;
  double total = 0.0;
  if (x < levels.width && y < levels.height) {
    float sum[kRowGroup] = {};
#pragma unroll
    for (int k = 0; k < kMaxLevels; ++k) {
      if (k >= levels.levels) break;
      float part[kRowGroup] = {};
      four_rows(levels.level[k], levels.width, g, x, part);
#pragma unroll
      for (int r = 0; r < kRowGroup; ++r)
        sum[r] = fusion == Fusion::sum || k == 0 ? sum[r] + part[r] : sum[r] * part[r];
    }
#pragma unroll
    for (int r = 0; r < kRowGroup; ++r) {
      if (y + r >= levels.height) break;
      map[((size_t)blockIdx.z * levels.height + y + r) * levels.width + x] = sum[r];
      largest = max(largest, __float_as_uint(sum[r]));
      total += sum[r];
    }
  }
  if (partial == nullptr) return;  // the same for all threads
  const size_t blocks = (size_t)gridDim.x * gridDim.y;
  reduce_block(largest, total,
               partial + blockIdx.z * blocks + (size_t)blockIdx.y * gridDim.x + blockIdx.x);
}

// The digits of top_k's radix selection: 11, 11 and 10 bits.
__device__ __forceinline__ unsigned digit(unsigned key, int pass) {
  return pass == 0 ? key >> 21 : pass == 1 ? key >> 10 & 2047u : key & 1023u;
}
__device__ __forceinline__ unsigned prefix(unsigned key, int pass) {
  return pass == 0 ? 0u : pass == 1 ? key >> 21 : key >> 10;
}

// The `top`-th largest key of map [pixels]. All threads of the block call it.
__device__ unsigned select_key(const float* map, int pixels, int top) {
  __shared__ int histogram[2048];
  __shared__ unsigned shared_key;
  __shared__ int shared_wanted;
  unsigned key = 0;  // the digits found so far, in their places
  int wanted = top;
  for (int pass = 0; pass < 3; ++pass) {
    for (int i = threadIdx.x; i < 2048; i += kPoolThreads) histogram[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < pixels; i += kPoolThreads) {
      const unsigned bits = __float_as_uint(map[i]);
      if (prefix(bits, pass) == prefix(key, pass)) atomicAdd(&histogram[digit(bits, pass)], 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int bucket = 2047, above = 0;
      while (above + histogram[bucket] < wanted) above += histogram[bucket--];
      shared_key = key | (unsigned)bucket << (pass == 0 ? 21 : pass == 1 ? 10 : 0);
      shared_wanted = wanted - above;
    }
    __syncthreads();
    key = shared_key;
    wanted = shared_wanted;
  }
  return key;
}

// score[frame]; partial [batch, blocks], map [batch, pixels].
__global__ void __launch_bounds__(kPoolThreads)
    pool_kernel(const Partial* partial, int blocks, const float* map, int pixels, Pooling pooling,
                int top, float* score) {
  __shared__ Partial result;
  __shared__ int shared_above;
  partial += (size_t)blockIdx.x * blocks;
  map += (size_t)blockIdx.x * pixels;
  unsigned largest = 0, key = 0;
  double sum = 0.0;
  if (pooling == Pooling::top_k) {
    key = select_key(map, pixels, top);
    if (threadIdx.x == 0) shared_above = 0;
    __syncthreads();
    int above = 0;
    for (int i = threadIdx.x; i < pixels; i += kPoolThreads)
      if (__float_as_uint(map[i]) > key) {
        sum += map[i];
        ++above;
      }
    atomicAdd(&shared_above, above);
  } else {
    for (int i = threadIdx.x; i < blocks; i += kPoolThreads) {
      largest = max(largest, partial[i].largest);
      sum += partial[i].sum;
    }
  }
  reduce_block(largest, sum, &result);
  if (threadIdx.x != 0) return;
  if (pooling == Pooling::max) score[blockIdx.x] = __uint_as_float(result.largest);
  if (pooling == Pooling::mean) score[blockIdx.x] = static_cast<float>(result.sum / pixels);
  if (pooling == Pooling::top_k) {
    const double rest = (top - shared_above) * static_cast<double>(__uint_as_float(key));
    score[blockIdx.x] = static_cast<float>((result.sum + rest) / top);
  }
}

int divide_up(int n, int by) { return (n + by - 1) / by; }

struct Buffers {
  float *distances[kMaxLevels], *stretched[kMaxLevels], *product, *across;
  Partial* partial;
  size_t bytes;
};

Buffers lay_out(const AnomalyMapParams& p, int32_t batch, void* workspace) {
  Buffers w{};
  auto take = [&](size_t count, size_t size) {
    char* at = static_cast<char*>(workspace) + w.bytes;
    w.bytes += (count * size * batch + 255) / 256 * 256;
    return at;
  };
  auto floats = [&](size_t n) { return reinterpret_cast<float*>(take(n, sizeof(float))); };
  for (int32_t k = 0; k < p.levels; ++k) {
    w.distances[k] = floats((size_t)p.level[k].height * p.level[k].width);
    w.stretched[k] = floats((size_t)p.level[k].height * p.width);
  }
  if (p.fusion == Fusion::product && p.sigma > 0.0) {
    w.product = floats((size_t)p.height * p.width);
    w.across = floats((size_t)p.height * p.width);
  }
  const size_t blocks =
      (size_t)divide_up(p.width, kLanesPerBlock) * divide_up(p.height, kWarps * kRowGroup);
  w.partial = reinterpret_cast<Partial*>(take(blocks, sizeof(Partial)));
  return w;
}

void launch_columns(const ColumnLevels& levels, int width, int32_t batch, cudaStream_t stream) {
  const dim3 grid(divide_up(width, kLanesPerBlock), divide_up(levels.rows, kWarps), batch);
  launch(columns_kernel, grid, dim3(kLanesPerBlock, kWarps), stream, levels);
}

dim3 rows_grid(const RowLevels& levels, int32_t batch) {
  return dim3(divide_up(levels.width, kLanesPerBlock), divide_up(levels.height, kWarps * kRowGroup),
              batch);
}

}  // namespace

size_t anomaly_map_cuda_workspace_bytes(const AnomalyMapParams& params, int32_t batch) {
  return lay_out(params, batch, nullptr).bytes;
}

int anomaly_map_cuda(const AnomalyMapPlan& plan, const void* const* reference,
                     const void* const* restored, int32_t batch, float* map, float* score,
                     void* workspace, void* stream_) {
  const AnomalyMapParams& p = plan.params;
  if (p.type != Type::float32 || p.layout != Layout::nchw || p.has_roi)
    return static_cast<int>(cudaErrorNotSupported);
  const cudaStream_t stream = static_cast<cudaStream_t>(stream_);
  const Buffers w = lay_out(p, batch, workspace);
  DistanceLevels distances{};
  ColumnLevels columns{};
  RowLevels rows{};
  distances.levels = columns.levels = rows.levels = p.levels;
  rows.height = p.height, rows.width = p.width;
  int blocks = 0;
  for (int32_t k = 0; k < p.levels; ++k) {
    const AnomalyMapLevel& l = p.level[k];
    const int positions = l.height * l.width;
    distances.level[k] = {static_cast<const float*>(reference[k]),
                          static_cast<const float*>(restored[k]),
                          w.distances[k],
                          l.channels,
                          positions,
                          blocks};
    blocks += divide_up(positions, kLanesPerBlock);
    columns.level[k] = {plan.columns[k], w.distances[k], w.stretched[k], l.height, columns.rows};
    columns.rows += l.height;
    rows.level[k] = {plan.rows[k], w.stretched[k]};
  }
  const dim3 block(kLanesPerBlock, kWarps);
  launch(distance_kernel, dim3(blocks, batch), block, stream, distances, p.distance);
  launch_columns(columns, p.width, batch, stream);
  const dim3 grid = rows_grid(rows, batch);
  if (p.fusion == Fusion::product && p.sigma > 0.0) {
    launch(rows_kernel, grid, block, stream, rows, p.fusion, w.product, nullptr);
    launch_columns({{{plan.blur_columns, w.product, w.across, p.height, 0}}, 1, p.height}, p.width,
                   batch, stream);
    rows = {{{plan.blur_rows, w.across}}, 1, p.height, p.width};
  }
  launch(rows_kernel, grid, block, stream, rows, p.fusion, map, w.partial);
  launch(pool_kernel, dim3(batch), dim3(kPoolThreads), stream, w.partial,
         static_cast<int>(grid.x * grid.y), map, p.height * p.width, p.pooling, p.top_count, score);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace edgead

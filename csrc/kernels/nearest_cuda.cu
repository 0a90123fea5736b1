// nearest on the GPU: every row, no index.
//
// Mapping: a block takes kQueries positions and passes over the whole memory, kRows rows at a time
// and of these kDepth channels; a thread has kPer x kPer sums of squared differences in registers.
// Then kQueries threads, one for each position, put the rows' distances in their place among the k
// smallest, and the next rows follow. Nothing of size positions x rows leaves the block.
//
// Differences, not products: they cost two instructions where a product of tensor cores costs a
// fraction of one, but |q|^2 - 2 q m + |m|^2 cancels, and would need the bound of the CPU to stay
// exact. 1024 positions, 4096 rows and 152 channels are 1.3 G instructions: 0.6 ms on the 2048
// cores of an Orin at 1 GHz, on paper; most networks take longer.
//
// Traffic: a query is read rows / kRows times and a row of the memory once for each block, 32 of
// them here: 80 MB of float32, half of it as float16, from the L2 cache, which holds the memory
// (2.5 MB); from the device's memory each is read once.
#include "cuda.h"
#include "nearest.h"

namespace edgead {
namespace {

constexpr int kQueries = 32, kRows = 64, kDepth = 16, kPerQuery = 2, kPerRow = 4;
constexpr int kThreads = (kQueries / kPerQuery) * (kRows / kPerRow);  // 256
constexpr int kAcross = kRows / kPerRow;                              // threads beside each other

template <class T>
__device__ __forceinline__ float value_of(const T* from, const float*, int) {
  return float_of(__ldg(from));
}
__device__ __forceinline__ float value_of(const int8_t* from, const float* scale, int c) {
  return __fmul_rn(static_cast<float>(__ldg(from)), __ldg(scale + c));
}

struct Shape {
  int positions, channels, rows, k, blended;
  bool channels_first, root;
  float temperature;
  float weight[kMaxNearest];
};

// stage [kDepth, count + 1] = channels from `first` on of queries or rows, 0 beyond the end.
template <int kCount, class Value>
__device__ __forceinline__ void stage_values(float (*stage)[kCount + 1], int first, int channels,
                                             int left, bool lanes_first, Value value) {
  for (int i = threadIdx.x; i < kCount * kDepth; i += kThreads) {
    // Neighbouring threads read what lies side by side.
    const int one = lanes_first ? i % kCount : i / kDepth,
              c = lanes_first ? i / kCount : i % kDepth;
    const bool inside = one < left && first + c < channels;
    stage[c][one] = inside ? value(one, first + c) : 0.0f;
  }
}

// The shares [blended] of a blend, from the smallest distances [k].
__device__ __forceinline__ void share_out(const Shape& shape, const float* best, float* share) {
  float all = 0.0f, sum = 0.0f, next = 0.0f;
  for (int i = 0; i < shape.k; ++i) {
    const float e = expf((best[0] - best[i]) / shape.temperature);
    all += e;
    if (i < shape.blended)
      share[i] = e;
    else
      next = e;
  }
  for (int i = 0; i < shape.blended; ++i) sum += share[i] = (share[i] - next) / all + kLeastShare;
  for (int i = 0; i < shape.blended; ++i) share[i] /= sum;
}

template <class Q, class T>
__global__ void __launch_bounds__(kThreads)
    nearest_kernel(const __grid_constant__ Shape shape, const Q* query, const T* memory,
                   const float* scale, const float* shares, const uint8_t* roi,
                   const __grid_constant__ DistanceOut out) {
  __shared__ float queries[kDepth][kQueries + 1], rows[kDepth][kRows + 1];
  __shared__ float squares[kQueries][kRows + 1];
  __shared__ float best[kQueries][kMaxNearest + 1], share[kQueries][kMaxNearest + 1];
  __shared__ int row_of[kQueries][kMaxNearest + 1];
  const int first = blockIdx.x * kQueries, tid = threadIdx.x;
  query += static_cast<int64_t>(blockIdx.y) * shape.positions * shape.channels;
  const int q0 = tid / kAcross * kPerQuery, r0 = tid % kAcross;
  if (tid < kQueries)
    for (int i = 0; i < shape.k; ++i)
      best[tid][i] = __uint_as_float(0x7f800000u), row_of[tid][i] = 0;
  bool any = roi == nullptr;  // position kept, the same for all threads
  for (int i = 0; !any && i < min(kQueries, shape.positions - first); ++i)
    any = roi[first + i] != 0;
  const int row_end = any ? shape.rows : 0;
  bool bad = false;  // of thread tid's query: a NaN was among its distances

  auto query_value = [&](int one, int c) {
    const int64_t position = first + one;
    const int64_t at = shape.channels_first ? static_cast<int64_t>(c) * shape.positions + position
                                            : position * shape.channels + c;
    const float value = float_of(__ldg(query + at));
    // (Rounded, so that equal features are at 0 from each other.)
    return shares == nullptr ? value : __fmul_rn(value, __ldg(shares + position));
  };
  auto row_value = [&](int row, int c) {
    return value_of(memory + (static_cast<int64_t>(row) * shape.channels + c), scale, c);
  };
  for (int row = 0; row < row_end; row += kRows) {
    float sum[kPerQuery][kPerRow] = {};
    for (int c = 0; c < shape.channels; c += kDepth) {
      __syncthreads();  // no thread reads what the stages had
      stage_values<kQueries>(queries, c, shape.channels, shape.positions - first,
                             shape.channels_first, query_value);
      stage_values<kRows>(rows, c, shape.channels, shape.rows - row, false,
                          [&](int one, int channel) { return row_value(row + one, channel); });
      __syncthreads();
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
        float q[kPerQuery], r[kPerRow];
#pragma unroll
        for (int i = 0; i < kPerQuery; ++i) q[i] = queries[d][q0 + i];
#pragma unroll
        for (int j = 0; j < kPerRow; ++j) r[j] = rows[d][r0 + j * kAcross];
#pragma unroll
        for (int i = 0; i < kPerQuery; ++i)
#pragma unroll
          for (int j = 0; j < kPerRow; ++j) {
            const float difference = q[i] - r[j];
            sum[i][j] = fmaf(difference, difference, sum[i][j]);
          }
      }
    }
#pragma unroll
    for (int i = 0; i < kPerQuery; ++i)
#pragma unroll
      for (int j = 0; j < kPerRow; ++j) squares[q0 + i][r0 + j * kAcross] = sum[i][j];
    __syncthreads();
    if (tid < kQueries)
      for (int r = 0; r < min(kRows, shape.rows - row); ++r) {
        float d = squares[tid][r];
        bad = bad || d != d;
        if (!(d < best[tid][shape.k - 1])) continue;
        int at = shape.k - 1;
        for (; at > 0 && d < best[tid][at - 1]; --at)
          best[tid][at] = best[tid][at - 1], row_of[tid][at] = row_of[tid][at - 1];
        best[tid][at] = d, row_of[tid][at] = row + r;
      }
  }
  if (shape.blended > 0 && any) {
    constexpr int kParted = kThreads / kQueries;  // threads for one position
    const int one = tid / kParted;
    if (tid < kQueries) share_out(shape, best[tid], share[tid]);
    __syncthreads();
    float square = 0.0f;
    for (int c = tid % kParted; c < shape.channels && first + one < shape.positions; c += kParted) {
      float blend = 0.0f;
      for (int i = 0; i < shape.blended; ++i)
        blend = fmaf(share[one][i], row_value(row_of[one][i], c), blend);
      const float difference = query_value(one, c) - blend;
      square = fmaf(difference, difference, square);
    }
    squares[one][tid % kParted] = square;
    __syncthreads();
    if (tid < kQueries)
      for (int i = 1; i < kParted; ++i) squares[tid][0] += squares[tid][i];
  }
  if (tid >= kQueries || first + tid >= shape.positions) return;
  float sum = 0.0f;
  for (int i = 0; i < shape.k; ++i)
    if (shape.weight[i] > 0.0f) sum += shape.weight[i] * best[tid][i];
  if (shape.blended > 0)  // a distance beyond float32 has no blend
    sum = best[tid][0] < __uint_as_float(0x7f800000u) ? squares[tid][0] : best[tid][0];
  if (shape.root) sum = sqrtf(sum);
  const bool kept = roi == nullptr || roi[first + tid] != 0;
  if (bad) sum = __uint_as_float(0x7fc00000u);
  put_distance(out, blockIdx.y, shape.positions, first + tid, kept ? sum : 0.0f);
}

template <class Q, class T>
void start(const NearestParams& p, const Shape& shape, const void* memory, const float* scale,
           const void* query, int32_t batch, const float* shares, const uint8_t* roi,
           const DistanceOut& out, cudaStream_t stream) {
  const dim3 grid((p.positions + kQueries - 1) / kQueries, batch);
  launch(nearest_kernel<Q, T>, grid, dim3(kThreads), stream, shape, static_cast<const Q*>(query),
         static_cast<const T*>(memory), scale, shares, roi, out);
}

template <class Q>  // in the order of Type
constexpr decltype(&start<Q, float>) kStarts[] = {start<Q, float>, start<Q, uint16_t>,
                                                  start<Q, int8_t>};

}  // namespace

int nearest_cuda(const NearestParams& p, const void* memory, const float* scale, const void* query,
                 int32_t batch, const float* shares, const uint8_t* roi, const DistanceOut& out,
                 void* stream) {
  Shape shape{p.positions, p.channels,    p.rows, p.k, p.blended, p.layout == Layout::nchw,
              p.root,      p.temperature, {}};
  for (int i = 0; i < p.k; ++i) shape.weight[i] = p.weight[i];
  const bool half = p.query_type == Type::float16;
  const auto run = (half ? kStarts<uint16_t> : kStarts<float>)[static_cast<int>(p.memory_type)];
  run(p, shape, memory, scale, query, batch, shares, roi, out, static_cast<cudaStream_t>(stream));
  return static_cast<int>(cudaGetLastError());
}

}  // namespace edgead

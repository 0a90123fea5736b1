// The score of a map on the GPU: part of anomaly_map_cuda.cu.
//
// No atomics on floats: the score is the same in every run. Largest pixels are compared as the keys
// of top_k, see key_digit() in anomaly_map.h.
#pragma once
#include "anomaly_map.h"
#include "cuda.h"

namespace edgead {
namespace {

constexpr int kWarp = 32, kPoolThreads = 1024;
constexpr unsigned kAllLanes = 0xffffffffu;

struct Partial {  // of a block's pixels
  double sum;
  unsigned largest;  // bits of a float
};

// Leaves the largest value and the sum over the block's threads in *partial. All of them call it.
template <int kThreads>
__device__ void reduce_block(unsigned largest, double sum, Partial* partial) {
  __shared__ unsigned shared_largest[kThreads / kWarp];
  __shared__ double shared_sum[kThreads / kWarp];
#pragma unroll
  for (int by = kWarp / 2; by > 0; by /= 2) {
    largest = max(largest, __shfl_xor_sync(kAllLanes, largest, by));
    sum += __shfl_xor_sync(kAllLanes, sum, by);
  }
  if (threadIdx.x % kWarp == 0) {
    shared_largest[threadIdx.x / kWarp] = largest;
    shared_sum[threadIdx.x / kWarp] = sum;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int w = 1; w < kThreads / kWarp; ++w) {
    largest = max(largest, shared_largest[w]);
    sum += shared_sum[w];
  }
  partial->largest = largest;
  partial->sum = sum;
}

// The digits before that of `pass`.
__device__ __forceinline__ unsigned prefix(unsigned key, int pass) {
  return pass == 0 ? 0u : pass == 1 ? key >> 21 : key >> 10;
}

struct Bucket {
  int number, above;  // above: keys in the buckets over it
};

// The bucket with key number `rank` from the top. A thread adds up two buckets, and gets what all
// before it have from a scan of the warp and the totals of the warps before. All threads call it.
__device__ Bucket find_bucket(const int* histogram, int rank) {
  static_assert(kBuckets == 2 * kPoolThreads);
  __shared__ int totals[kPoolThreads / kWarp];
  __shared__ Bucket found;
  const int tid = threadIdx.x, high = histogram[kBuckets - 1 - 2 * tid];
  const int both = high + histogram[kBuckets - 2 - 2 * tid];
  int until = both;
#pragma unroll
  for (int by = 1; by < kWarp; by *= 2) {
    const int before = __shfl_up_sync(kAllLanes, until, by);
    if (tid % kWarp >= by) until += before;
  }
  if (tid % kWarp == kWarp - 1) totals[tid / kWarp] = until;
  __syncthreads();
  for (int w = 0; w < tid / kWarp; ++w) until += totals[w];
  const int above = until - both;
  if (above < rank && rank <= until) {  // of one thread only
    const bool is_high = rank <= above + high;
    found = {kBuckets - (is_high ? 1 : 2) - 2 * tid, is_high ? above : above + high};
  }
  __syncthreads();
  return found;
}

// The `top`-th largest key of map [pixels]. All threads call it.
__device__ unsigned select_key(const float* map, int pixels, int top) {
  __shared__ int histogram[kBuckets];
  unsigned key = 0;  // the digits found so far, in their places
  for (int pass = 0; pass < 3; ++pass) {
    for (int i = threadIdx.x; i < kBuckets; i += kPoolThreads) histogram[i] = 0;
    __syncthreads();
#pragma unroll 4
    for (int i = threadIdx.x; i < pixels; i += kPoolThreads) {
      const unsigned bits = __float_as_uint(__ldg(map + i));
      if (prefix(bits, pass) == prefix(key, pass)) atomicAdd(&histogram[key_digit(bits, pass)], 1);
    }
    __syncthreads();
    const Bucket bucket = find_bucket(histogram, top);
    key |= static_cast<unsigned>(bucket.number) << (pass == 0 ? 21 : pass == 1 ? 10 : 0);
    top -= bucket.above;
    __syncthreads();  // found and histogram are free again
  }
  return key;
}

// score [batch]; partial [batch, blocks]; map [batch, pixels], of which `kept` count and the others
// are 0: they are never among the largest that matter, for no pixel is below 0.
__global__ void __launch_bounds__(kPoolThreads)
    pool_kernel(const Partial* partial, int blocks, const float* map, int pixels, int kept,
                Pooling pooling, int top, float* score) {
  __shared__ Partial result;
  __shared__ int shared_above;
  partial += static_cast<size_t>(blockIdx.x) * blocks;
  map += static_cast<size_t>(blockIdx.x) * pixels;
  unsigned largest = 0, key = 0;
  double sum = 0.0;
  if (threadIdx.x == 0) shared_above = 0;
  if (pooling == Pooling::top_k) {
    key = select_key(map, pixels, top);
    int above = 0;
#pragma unroll 4
    for (int i = threadIdx.x; i < pixels; i += kPoolThreads) {
      const float value = __ldg(map + i);
      if (__float_as_uint(value) > key) {
        sum += value;
        ++above;
      }
    }
    atomicAdd(&shared_above, above);
  } else {
    for (int i = threadIdx.x; i < blocks; i += kPoolThreads) {
      largest = max(largest, partial[i].largest);
      sum += partial[i].sum;
    }
  }
  reduce_block<kPoolThreads>(largest, sum, &result);
  if (threadIdx.x != 0) return;
  if (pooling == Pooling::max) score[blockIdx.x] = __uint_as_float(result.largest);
  if (pooling == Pooling::mean) score[blockIdx.x] = static_cast<float>(result.sum / kept);
  if (pooling == Pooling::top_k) {
    const double rest = (top - shared_above) * static_cast<double>(__uint_as_float(key));
    score[blockIdx.x] = static_cast<float>((result.sum + rest) / top);
  }
}

}  // namespace
}  // namespace edgead

// whiten on the GPU.
//
// Mapping: a block takes kPositions positions of one region and passes over all outputs, kOutputs
// at a time, and for these over the channels, kDepth at a time; a thread has kPerPosition x
// kPerOutput sums in registers. Each panel's outputs are squared and added where they are; the
// threads of a position add theirs at the end. Of a triangular factor the channels left of the
// panel's first output are left out.
//
// With channel_normal a first pass over the channels finds mean and variance of each position, the
// mean before the squares of what differs from it, as the CPU does; the features come from the
// L2 cache after that.
//
// Traffic: a factor is read once for each block of its region, the features outputs / kOutputs
// times, in lines of `side` places; from the device's memory each once. 32 x 32 positions, 152
// channels and 64 regions are 64 blocks and 12 M multiply-adds: some 30 microseconds on an Orin,
// most of them latency; a frame has one such launch for each level.
#include "cuda.h"
#include "whiten.h"

namespace edgead {
namespace {

constexpr int kPositions = 16, kOutputs = 64, kDepth = 16, kPerPosition = 2, kPerOutput = 4;
constexpr int kThreads = (kPositions / kPerPosition) * (kOutputs / kPerOutput);  // 128
constexpr int kAcross = kOutputs / kPerOutput;  // threads beside each other
constexpr int kSlices = kThreads / kPositions;  // of the channels, for mean and variance
static_assert(kPositions == kWhitenBlock, "");

// Adds one value of each of kSlices threads for every position; all threads call it. The sum is
// that of the same order everywhere.
__device__ __forceinline__ float sum_of_slices(float (*part)[kPositions], int slice, int position,
                                               float value) {
  __syncthreads();  // no thread reads what was there
  part[slice][position] = value;
  __syncthreads();
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kSlices; ++i) sum += part[i][position];
  return sum;
}

// 8 blocks at once leave 64 registers: ptxas would take 40, and spill on sm_80.
template <class T>
__global__ void __launch_bounds__(kThreads, 8)
    whiten_kernel(const __grid_constant__ WhitenParams p, int blocks, const float* mean,
                  const float* factor, const T* feature, const float* centre, const uint8_t* roi,
                  const __grid_constant__ DistanceOut out) {
  __shared__ float values[kDepth][kPositions + 1], rows[kDepth][kOutputs + 1];
  __shared__ float part[kSlices][kPositions], total[kPositions][kAcross + 1];
  __shared__ float middle[kPositions], scale[kPositions];
  const int tid = threadIdx.x, region = blockIdx.x / blocks;
  const int across = whiten_regions(p.width, p.side);
  const int top = region / across * p.side, left = region % across * p.side;
  const int columns = min(p.side, p.width - left), count = columns * min(p.side, p.height - top);
  const int first = blockIdx.x % blocks * kPositions;
  if (first >= count) return;  // of a smaller region: all threads
  const int positions = p.height * p.width;
  feature += static_cast<int64_t>(blockIdx.y) * positions * p.channels;
  factor += static_cast<int64_t>(region) * p.outputs * p.channels;

  // The place in a frame of the block's position i, -1: none.
  auto place_of = [&](int i) {
    if (first + i >= count) return -1;
    return (top + (first + i) / columns) * p.width + left + (first + i) % columns;
  };
  auto value_at = [&](int place, int c) {
    const int64_t at = p.layout == Layout::nchw ? static_cast<int64_t>(c) * positions + place
                                                : static_cast<int64_t>(place) * p.channels + c;
    const float value = float_of(__ldg(feature + at));
    return centre == nullptr ? value : value - __ldg(centre + c);
  };
  bool any = roi == nullptr;  // position kept, the same for all threads
  for (int i = 0; !any && i < kPositions; ++i) {
    const int place = place_of(i);
    any = place >= 0 && roi[place] != 0;
  }
  const int output_end = any ? p.outputs : 0;

  const int mine = tid % kPositions, slice = tid / kPositions, my_place = place_of(mine);
  if (p.channel_normal && any) {
    float sum = 0.0f, square = 0.0f;
    for (int c = slice; my_place >= 0 && c < p.channels; c += kSlices) sum += value_at(my_place, c);
    const float m = sum_of_slices(part, slice, mine, sum) / static_cast<float>(p.channels);
    for (int c = slice; my_place >= 0 && c < p.channels; c += kSlices) {
      const float x = value_at(my_place, c) - m;
      square = fmaf(x, x, square);
    }
    const float v = sum_of_slices(part, slice, mine, square) / static_cast<float>(p.channels);
    const float square_scale = v + p.epsilon;  // infinite: its scale is NaN, and hides nothing
    if (slice == 0) middle[mine] = m, scale[mine] = sqrtf(square_scale) / square_scale;
  }

  const int q0 = tid / kAcross * kPerPosition, r0 = tid % kAcross;
  float squares[kPerPosition] = {};
  for (int o = 0; o < output_end; o += kOutputs) {
    float sum[kPerPosition][kPerOutput] = {};
    for (int c0 = whiten_first(p, o); c0 < p.channels; c0 += kDepth) {
      __syncthreads();  // no thread reads what the stages had
      for (int i = tid; i < kPositions * kDepth; i += kThreads) {
        const int one = i % kPositions, c = c0 + i / kPositions, place = place_of(one);
        float x = 0.0f;
        if (place >= 0 && c < p.channels) {
          x = value_at(place, c);
          if (p.channel_normal) x = (x - middle[one]) * scale[one];
          x -= __ldg(mean + static_cast<int64_t>(c) * positions + place);
        }
        values[i / kPositions][one] = x;
      }
      for (int i = tid; i < kOutputs * kDepth; i += kThreads) {
        const int one = o + i / kDepth, c = c0 + i % kDepth;
        const bool read = one < p.outputs && c < p.channels && c >= whiten_first(p, one);
        rows[i % kDepth][i / kDepth] =
            read ? __ldg(factor + static_cast<int64_t>(one) * p.channels + c) : 0.0f;
      }
      __syncthreads();
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
        float q[kPerPosition], r[kPerOutput];
#pragma unroll
        for (int i = 0; i < kPerPosition; ++i) q[i] = values[d][q0 + i];
#pragma unroll
        for (int j = 0; j < kPerOutput; ++j) r[j] = rows[d][r0 + j * kAcross];
#pragma unroll
        for (int i = 0; i < kPerPosition; ++i)
#pragma unroll
          for (int j = 0; j < kPerOutput; ++j) sum[i][j] = fmaf(q[i], r[j], sum[i][j]);
      }
    }
#pragma unroll
    for (int i = 0; i < kPerPosition; ++i)
#pragma unroll
      for (int j = 0; j < kPerOutput; ++j) squares[i] = fmaf(sum[i][j], sum[i][j], squares[i]);
  }
#pragma unroll
  for (int i = 0; i < kPerPosition; ++i) total[q0 + i][r0] = squares[i];
  __syncthreads();
  if (tid >= kPositions || my_place < 0) return;
  float sum = 0.0f;
#pragma unroll
  for (int j = 0; j < kAcross; ++j) sum += total[tid][j];
  const bool kept = roi == nullptr || roi[my_place] != 0;
  put_distance(out, blockIdx.y, positions, my_place,
               kept ? sum / static_cast<float>(p.outputs) : 0.0f);
}

}  // namespace

int whiten_cuda(const WhitenParams& p, const float* mean, const float* factor, const void* feature,
                int32_t batch, const float* centre, const uint8_t* roi, const DistanceOut& out,
                void* stream) {
  const int side_y = p.side < p.height ? p.side : p.height;
  const int side_x = p.side < p.width ? p.side : p.width;
  const int blocks = (side_y * side_x + kPositions - 1) / kPositions;  // of the largest region
  const int regions = whiten_regions(p.height, p.side) * whiten_regions(p.width, p.side);
  const dim3 grid(regions * blocks, batch);
  const cudaStream_t s = static_cast<cudaStream_t>(stream);
  if (p.type == Type::float16)
    launch(whiten_kernel<uint16_t>, grid, dim3(kThreads), s, p, blocks, mean, factor,
           static_cast<const uint16_t*>(feature), centre, roi, out);
  else
    launch(whiten_kernel<float>, grid, dim3(kThreads), s, p, blocks, mean, factor,
           static_cast<const float*>(feature), centre, roi, out);
  return static_cast<int>(cudaGetLastError());
}

}  // namespace edgead

// preprocess on the GPU: one launch, the same bits as the CPU implementation.
//
// Mapping: a block makes a tile of 8 rows x 32 columns of the image. Its pixels of the frame are
// taken in pieces of up to 1024 samples per row: first a thread per four samples runs down the
// frame's rows and loads them at once, where the frame is packed and aligned (4 bytes of uint8, 8
// of uint16), for all 8 rows of the tile; the 16-bit results meet in shared memory; then a thread
// per output adds its taps from there. One piece is enough up to a shrinking by 10 (colour).
// Traffic: the frame once, and again, from the cache, the rows and columns that neighbouring tiles
// share; the image once. Larger tiles would share less and leave fewer blocks: 8 rows are 256
// blocks for an image of 256 x 256. tests/cuda_on_cpu/traffic.py counts it.
#include <type_traits>

#include "cuda.h"
#include "preprocess.h"

namespace edgead {
namespace {

constexpr int kTileWidth = 32, kTileHeight = 8, kThreads = kTileWidth * kTileHeight;
constexpr int kVector = 4;                    // samples of a load
constexpr int kSamples = kThreads * kVector;  // of a row of the frame in shared memory
constexpr int kInputRows = 32;                // rows whose weights are in shared memory

// Samples are numbered along a row of the frame: pixel * channels + channel.
template <class Sample, int kChannels>
struct Tile {
  const PreprocessParams& p;
  const PreprocessAxis &vertical, &horizontal;
  const char* frame;
  bool vectors;               // can be loaded
  int x0, y0, columns, rows;  // of the image; columns and rows that exist

  // Samples [at, at + 4) of row y, 0 after its end.
  __device__ __forceinline__ void load(int y, int at, uint32_t sample[kVector]) const {
    const char* row = frame + y * p.row_stride;
    const int end = p.width * kChannels;
    if (vectors && at + kVector <= end) {
      using Four = std::conditional_t<sizeof(Sample) == 1, uchar4, ushort4>;
      const Four v = __ldg(reinterpret_cast<const Four*>(row + at * (int)sizeof(Sample)));
      sample[0] = v.x, sample[1] = v.y, sample[2] = v.z, sample[3] = v.w;
      return;
    }
#pragma unroll
    for (int j = 0; j < kVector; ++j) {
      const int x = (at + j) / kChannels, c = (at + j) % kChannels;
      const char* from = row + x * p.pixel_stride + c * p.channel_stride;
      sample[j] = at + j < end ? __ldg(reinterpret_cast<const Sample*>(from)) : 0;
    }
  }
};

// weights[i][r] = what row y0 + r of the image takes of the frame's row first + i.
__device__ void load_weights(const PreprocessAxis& axis, int y0, int rows, int first,
                             uint16_t (*weights)[kTileHeight]) {
  for (int i = threadIdx.x; i < kInputRows * kTileHeight; i += kThreads) {
    const int r = i % kTileHeight;
    uint16_t weight = 0;
    if (r < rows) {
      const int k = first + i / kTileHeight - axis.start[y0 + r];
      if (k >= 0 && k < axis.count[y0 + r]) weight = axis.weight[(y0 + r) * (size_t)axis.taps + k];
    }
    weights[i / kTileHeight][r] = weight;
  }
}

// mid[r][i] for the frame's samples [left, right), at most kSamples: the vertical pass.
template <class Sample, int kChannels>
__device__ void vertical_pass(const Tile<Sample, kChannels>& tile, int left, int right,
                              uint16_t (*weights)[kTileHeight], uint16_t (*mid)[kSamples]) {
  const int i = threadIdx.x * kVector;
  const PreprocessAxis& axis = tile.vertical;
  const int last = tile.y0 + tile.rows - 1;
  const int begin = axis.start[tile.y0], end = axis.start[last] + axis.count[last];
  uint32_t acc[kTileHeight][kVector] = {};
  for (int first = begin; first < end; first += kInputRows) {
    __syncthreads();  // weights and mid are free
    load_weights(axis, tile.y0, tile.rows, first, weights);
    __syncthreads();
    const int n = left + i < right ? min(kInputRows, end - first) : 0;
#pragma unroll 4
    for (int row = 0; row < n; ++row) {
      uint32_t sample[kVector];
      tile.load(first + row, left + i, sample);
#pragma unroll
      for (int r = 0; r < kTileHeight; ++r)
#pragma unroll
        for (int j = 0; j < kVector; ++j) acc[r][j] += weights[row][r] * sample[j];
    }
  }
  if (left + i >= right) return;
  const int bit_depth = sizeof(Sample) == 1 ? 8 : tile.p.bit_depth;
#pragma unroll
  for (int r = 0; r < kTileHeight; ++r)
#pragma unroll
    for (int j = 0; j < kVector; ++j)
      mid[r][i + j] = static_cast<uint16_t>(preprocess_mid(acc[r][j], bit_depth));
}

__device__ __forceinline__ void store(float* to, float value) { *to = value; }
__device__ __forceinline__ void store(uint16_t* to, float value) { *to = half_from_float(value); }

// A pixel of the image from its channels' accumulators.
template <class Value, int kChannels>
__device__ void write_pixel(const PreprocessParams& p, int y, int x, const uint32_t acc[kChannels],
                            Value* image) {
  const size_t at = static_cast<size_t>(y) * p.out_width + x;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    uint32_t sum = acc[0];
    if (kChannels == 3 && p.order[c] == 1) sum = acc[kChannels / 2];
    if (kChannels == 3 && p.order[c] == 2) sum = acc[kChannels - 1];
    const float value = __uint2float_rn(sum);  // no contraction: each step rounds
    const size_t i = p.layout == Layout::nchw
                         ? static_cast<size_t>(c) * p.out_height * p.out_width + at
                         : at * 3 + c;
    store(image + i, __fadd_rn(__fmul_rn(value, p.scale[c]), p.bias[c]));
  }
}

template <class Sample, int kChannels, class Value>
__global__ void __launch_bounds__(kThreads, 2)
    preprocess_kernel(const __grid_constant__ PreprocessParams p,
                      const __grid_constant__ PreprocessAxis vertical,
                      const __grid_constant__ PreprocessAxis horizontal, const char* frame,
                      bool vectors, Value* image) {
  constexpr int kPixels = (kSamples - kVector + 1) / kChannels;  // of a piece
  __shared__ uint16_t weights[kInputRows][kTileHeight];
  __shared__ uint16_t mid[kTileHeight][kSamples];
  const int x0 = blockIdx.x * kTileWidth, y0 = blockIdx.y * kTileHeight;
  const int columns = min(kTileWidth, p.out_width - x0), rows = min(kTileHeight, p.out_height - y0);
  const Tile<Sample, kChannels> tile{p,  vertical, horizontal, frame, vectors,
                                     x0, y0,       columns,    rows};
  const int last = x0 + columns - 1;
  const int begin = horizontal.start[x0], end = horizontal.start[last] + horizontal.count[last];
  const int column = threadIdx.x % kTileWidth, row = threadIdx.x / kTileWidth;
  const int x = min(x0 + column, last);  // threads past the edge repeat the last column
  const int start = horizontal.start[x], count = horizontal.count[x];
  const uint16_t* weight = horizontal.weight + static_cast<size_t>(x) * horizontal.taps;
  uint32_t acc[kChannels] = {};
  for (int left = begin; left < end; left += kPixels) {
    const int right = min(left + kPixels, end);
    const int first = left * kChannels / kVector * kVector;  // sample; where a vector begins
    vertical_pass(tile, first, right * kChannels, weights, mid);
    __syncthreads();
    const int k0 = max(0, left - start), k1 = min(count, right - start);
    for (int k4 = k0 / kVector * kVector; k4 < k1; k4 += kVector) {
      const ushort4 w4 = __ldg(reinterpret_cast<const ushort4*>(weight + k4));
      const uint32_t w[kVector] = {w4.x, w4.y, w4.z, w4.w};
#pragma unroll
      for (int j = 0; j < kVector; ++j) {
        const int k = k4 + j;
        if (k < k0 || k >= k1) continue;
        const uint16_t* from = &mid[row][(start + k) * kChannels - first];
#pragma unroll
        for (int c = 0; c < kChannels; ++c) acc[c] += w[j] * from[c];
      }
    }
  }
  if (column < columns && row < rows) write_pixel<Value, kChannels>(p, y0 + row, x, acc, image);
}

bool can_load_vectors(const PreprocessParams& p, const void* frame) {
  const auto bits = reinterpret_cast<uintptr_t>(frame) | static_cast<uintptr_t>(p.row_stride);
  return (p.channels == 1 || p.channel_stride == p.sample_bytes) &&
         p.pixel_stride == p.channels * p.sample_bytes && bits % (kVector * p.sample_bytes) == 0;
}

template <class Value>
auto kernel_of(const PreprocessParams& p) {
  if (p.sample_bytes == 1)
    return p.channels == 1 ? preprocess_kernel<uint8_t, 1, Value>
                           : preprocess_kernel<uint8_t, 3, Value>;
  return p.channels == 1 ? preprocess_kernel<uint16_t, 1, Value>
                         : preprocess_kernel<uint16_t, 3, Value>;
}

}  // namespace

int preprocess_cuda(const PreprocessParams& params, const PreprocessAxis& vertical,
                    const PreprocessAxis& horizontal, const void* frame, void* image,
                    void* stream) {
  const dim3 grid((params.out_width - 1) / kTileWidth + 1,
                  (params.out_height - 1) / kTileHeight + 1);
  auto run = [&](auto kernel, auto* to) {
    launch(kernel, grid, dim3(kThreads), static_cast<cudaStream_t>(stream), params, vertical,
           horizontal, static_cast<const char*>(frame), can_load_vectors(params, frame), to);
  };
  if (params.type == Type::float32)
    run(kernel_of<float>(params), static_cast<float*>(image));
  else
    run(kernel_of<uint16_t>(params), static_cast<uint16_t*>(image));
  return static_cast<int>(cudaGetLastError());
}

}  // namespace edgead

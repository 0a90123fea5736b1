// preprocess on the GPU: one launch, the same bits as the CPU twin.
//
// Mapping: a block makes a tile of 8 rows x 32 columns of the image. Its pixels of the frame are
// taken in pieces of 256 columns: first a thread per sample runs down the frame's rows, loading
// each sample once (neighbouring threads, neighbouring bytes) for all 8 rows of the tile; the
// 16-bit results meet in shared memory; then a thread per output adds its taps from there. One
// piece is enough up to a shrinking by 7.5. Traffic: the frame once, and again the rows and columns
// that neighbouring tiles share; the image once.
#include "cuda.h"
#include "preprocess.h"

namespace edgead {
namespace {

constexpr int kTileWidth = 32, kTileHeight = 8, kThreads = kTileWidth * kTileHeight;
constexpr int kPixels = 256;    // columns of the frame in shared memory
constexpr int kInputRows = 32;  // rows whose weights are in shared memory

template <class Sample, int kChannels>
struct Tile {
  const PreprocessParams& p;
  const PreprocessAxis &vertical, &horizontal;
  const char* frame;
  int x0, y0, columns, rows;  // of the image; columns and rows that exist

  __device__ uint32_t sample(int y, int x, int c) const {
    return *reinterpret_cast<const Sample*>(frame + y * p.row_stride + x * p.pixel_stride +
                                            c * p.channel_stride);
  }
};

// weights[i][r] = what row y0 + r of the image takes of the frame's row first + i.
__device__ void load_weights(const PreprocessAxis& axis, int y0, int rows, int first,
                             uint16_t (*weights)[kTileHeight]) {
  const int tid = threadIdx.y * kTileWidth + threadIdx.x;
  for (int i = tid; i < kInputRows * kTileHeight; i += kThreads) {
    const int r = i % kTileHeight;
    uint16_t weight = 0;
    if (r < rows) {
      const int k = first + i / kTileHeight - axis.start[y0 + r];
      if (k >= 0 && k < axis.count[y0 + r]) weight = axis.weight[(y0 + r) * (size_t)axis.taps + k];
    }
    weights[i / kTileHeight][r] = weight;
  }
}

// mid[r][sample] for the frame's columns [left, left + pixels): the vertical pass.
template <class Sample, int kChannels>
__device__ void vertical_pass(const Tile<Sample, kChannels>& tile, int left, int pixels,
                              uint16_t (*weights)[kTileHeight],
                              uint16_t (*mid)[kPixels * kChannels]) {
  constexpr int kPerThread = kPixels * kChannels / kThreads;
  const int tid = threadIdx.y * kTileWidth + threadIdx.x;
  const PreprocessAxis& axis = tile.vertical;
  const int last_row = tile.y0 + tile.rows - 1;
  const int begin = axis.start[tile.y0], end = axis.start[last_row] + axis.count[last_row];
  uint32_t acc[kPerThread][kTileHeight] = {};
  for (int first = begin; first < end; first += kInputRows) {
    __syncthreads();
    load_weights(axis, tile.y0, tile.rows, first, weights);
    __syncthreads();
    const int n = min(kInputRows, end - first);
    for (int i = 0; i < n; ++i) {
#pragma unroll
      for (int j = 0; j < kPerThread; ++j) {
        const int at = j * kThreads + tid;
        if (at >= pixels * kChannels) continue;
        const uint32_t s = tile.sample(first + i, left + at / kChannels, at % kChannels);
#pragma unroll
        for (int r = 0; r < kTileHeight; ++r) acc[j][r] += weights[i][r] * s;
      }
    }
  }
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const int at = j * kThreads + tid;
    if (at >= pixels * kChannels) continue;
#pragma unroll
    for (int r = 0; r < kTileHeight; ++r)
      mid[r][at] = static_cast<uint16_t>(preprocess_mid(acc[j][r], sizeof(Sample)));
  }
}

template <class Sample, int kChannels>
__global__ void __launch_bounds__(kThreads, 2)
    preprocess_kernel(const PreprocessParams p, const PreprocessAxis vertical,
                      const PreprocessAxis horizontal, const char* frame, float* image) {
  __shared__ uint16_t weights[kInputRows][kTileHeight];
  __shared__ uint16_t mid[kTileHeight][kPixels * kChannels];
  const int x0 = blockIdx.x * kTileWidth, y0 = blockIdx.y * kTileHeight;
  const Tile<Sample, kChannels> tile{p,
                                     vertical,
                                     horizontal,
                                     frame,
                                     x0,
                                     y0,
                                     min(kTileWidth, p.out_width - x0),
                                     min(kTileHeight, p.out_height - y0)};
  const int last = x0 + tile.columns - 1;
  const int begin = horizontal.start[x0], end = horizontal.start[last] + horizontal.count[last];
  const int x = min(x0 + (int)threadIdx.x, last);  // threads past the edge repeat the last column
  const int start = horizontal.start[x], count = horizontal.count[x];
  const uint16_t* weight = horizontal.weight + (size_t)x * horizontal.taps;
  uint32_t acc[kChannels] = {};
  for (int left = begin; left < end; left += kPixels) {
    const int pixels = min(kPixels, end - left);
    vertical_pass(tile, left, pixels, weights, mid);
    __syncthreads();
    const int k1 = min(count, left + pixels - start);
    for (int k = max(0, left - start); k < k1; ++k) {
      const uint16_t* from = &mid[threadIdx.y][(start + k - left) * kChannels];
      const uint32_t w = weight[k];
#pragma unroll
      for (int c = 0; c < kChannels; ++c) acc[c] += w * from[c];
    }
  }
  if ((int)threadIdx.x >= tile.columns || (int)threadIdx.y >= tile.rows) return;
  float* to = image + (size_t)(y0 + threadIdx.y) * p.out_width + x;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    uint32_t sum = acc[0];
    if (kChannels == 3 && p.order[c] == 1) sum = acc[kChannels / 2];
    if (kChannels == 3 && p.order[c] == 2) sum = acc[kChannels - 1];
    const float value = __uint2float_rn(sum);  // no contraction: each step rounds
    to[(size_t)c * p.out_height * p.out_width] = __fadd_rn(__fmul_rn(value, p.scale[c]), p.bias[c]);
  }
}

}  // namespace

int preprocess_cuda(const PreprocessParams& params, const PreprocessAxis& vertical,
                    const PreprocessAxis& horizontal, const void* frame, void* image,
                    void* stream) {
  if (params.type != Type::float32 || params.layout != Layout::nchw) return cudaErrorNotSupported;
  const dim3 grid((params.out_width + kTileWidth - 1) / kTileWidth,
                  (params.out_height + kTileHeight - 1) / kTileHeight);
  const dim3 block(kTileWidth, kTileHeight);
  const bool grey = params.channels == 1, byte = params.sample_bytes == 1;
  auto kernel = byte ? (grey ? preprocess_kernel<uint8_t, 1> : preprocess_kernel<uint8_t, 3>)
                     : (grey ? preprocess_kernel<uint16_t, 1> : preprocess_kernel<uint16_t, 3>);
  launch(kernel, grid, block, static_cast<cudaStream_t>(stream), params, vertical, horizontal,
         static_cast<const char*>(frame), static_cast<float*>(image));
  return static_cast<int>(cudaGetLastError());
}

}  // namespace edgead

// whiten on the CPU, compiled once per instruction set (simd.h), for blocks of kWhitenBlock
// positions of a region:
//
// 1. centre   x - mean, [channels, kWhitenBlock]: positions in the lanes
// 2. square   products with a panel of its region's factor, outputs in the lanes; squared and added
//
// Roofline of 32 x 32 positions, 152 channels, regions of 4 x 4, triangular, in vectors of 64
// bytes: 0.9 M multiply-adds, 0.11 ms at two in a cycle of 4.24 GHz; every factor is read once a
// frame, 3.6 MB for 64 regions, from the L3 cache or from memory, and serves 16 positions there:
// that is the longer of the two below 32 GB/s. One region for all stays in the L2 cache.
#include "products.h"
#include "whiten.h"

namespace edgead {
namespace {

constexpr int kBlockVectors = kWhitenBlock / kLanes;
static_assert(kTile == kWhitenPanel);

// to [channels, kWhitenBlock] = features at `place`, 0 where there is none.
template <class T>
void gather(const WhitenParams& p, const T* feature, const int32_t* place, float* to) {
  const bool planes = p.layout == Layout::nchw;
  const int64_t positions = static_cast<int64_t>(p.height) * p.width;
  const int64_t channel = planes ? positions : 1, position = planes ? 1 : p.channels;
  int32_t i = 0;
  for (; i < kWhitenBlock && place[i] >= 0;) {
    const T* from = feature + place[i] * position;
    float* at = to + i;
    int32_t together = 1;  // positions side by side
    while (i + together < kWhitenBlock && place[i + together] == place[i] + together) ++together;
    i += together;
    if (planes && together == kWhitenBlock && kWhitenBlock % kLanes == 0) {
      for (int32_t c = 0; c < p.channels; ++c)
        for (int v = 0; v < kBlockVectors; ++v)
          store(at + c * kWhitenBlock + v * kLanes, load_floats(from + c * channel + v * kLanes));
    } else {
      for (int32_t c = 0; c < p.channels; ++c)
        for (int32_t j = 0; j < together; ++j)
          at[c * kWhitenBlock + j] = float_of(from[c * channel + j * position]);
    }
  }
  for (; i < kWhitenBlock; ++i)
    for (int32_t c = 0; c < p.channels; ++c) to[c * kWhitenBlock + i] = 0.0f;
}

// Each position to mean 0 and variance 1 over its channels.
void normalise(const WhitenParams& p, float* values) {
  for (int v = 0; v < kBlockVectors; ++v) {
    float* at = values + v * kLanes;
    F32 sum = {}, square = {}, scale;
    for (int32_t c = 0; c < p.channels; ++c) sum += load<F32>(at + c * kWhitenBlock);
    const F32 mean = sum / static_cast<float>(p.channels);
    for (int32_t c = 0; c < p.channels; ++c) {
      const F32 x = load<F32>(at + c * kWhitenBlock) - mean;
      square = multiply_add(x, x, square);
    }
    square = square / static_cast<float>(p.channels) + p.epsilon;
    for (int i = 0; i < kLanes; ++i) scale[i] = __builtin_sqrtf(square[i]);
    scale = scale / square;  // of an infinite variance NaN, so that it hides nothing
    for (int32_t c = 0; c < p.channels; ++c)
      store(at + c * kWhitenBlock, (load<F32>(at + c * kWhitenBlock) - mean) * scale);
  }
}

// total[j] += the squares of a panel's outputs for positions j.
template <int kNumbers>
inline void add_squares(const float* panel, const float* values, int32_t count, F32* total) {
  for (int v0 = 0; v0 < kVectors; v0 += kWide) {
    F32 sum[kNumbers][kWide];
    dot_floats<kNumbers>(panel + v0 * kLanes, values, kWhitenBlock, count, sum);
    EDGEAD_UNROLL
    for (int j = 0; j < kNumbers; ++j) EDGEAD_UNROLL
    for (int v = 0; v < kWide; ++v) total[j] = multiply_add(sum[j][v], sum[j][v], total[j]);
  }
}

template <class T>
void whiten_frame(const WhitenParams& p, const WhitenIndex& index, const void* feature,
                  float* values, float* distance) {
  std::memset(distance, 0, sizeof(float) * p.height * p.width);
  for (int32_t block = 0; block < index.blocks; ++block) {
    const int32_t* place = index.place + block * kWhitenBlock;
    int32_t count = 0;
    while (count < kWhitenBlock && place[count] >= 0) ++count;
    gather(p, static_cast<const T*>(feature), place, values);
    if (p.channel_normal) normalise(p, values);
    const int64_t size = static_cast<int64_t>(p.channels) * kWhitenBlock;
    const float* mean = index.mean + block * size;
    for (int64_t i = 0; i < size; i += kLanes)
      store(values + i, load<F32>(values + i) - load<F32>(mean + i));
    F32 total[kWhitenBlock] = {};
    const float* panel = index.panels + index.region[block] * index.panel_floats;
    for (int32_t o = 0; o < p.outputs; o += kWhitenPanel) {
      const int32_t first = whiten_first(p, o), channels = p.channels - first;
      const float* from = values + first * kWhitenBlock;
      for (int32_t i = 0; i < count;) {
        if (count - i > 4 && kGroup > 4) {
          add_squares<kGroup>(panel, from + i, channels, total + i), i += kGroup;
        } else {
          add_squares<4>(panel, from + i, channels, total + i), i += 4;
        }
      }
      panel += static_cast<int64_t>(channels) * kWhitenPanel;
    }
    for (int32_t i = 0; i < count; ++i)
      distance[place[i]] = sum_of_lanes(total[i]) / static_cast<float>(p.outputs);
  }
}

}  // namespace

void EDGEAD_EXPORT(whiten)(const WhitenParams& p, const WhitenIndex& index, const void* feature,
                           int32_t batch, float* distance, void* workspace) {
  const bool half = p.type == Type::float16;
  const int64_t positions = static_cast<int64_t>(p.height) * p.width;
  const int64_t bytes = (half ? 2 : 4) * positions * p.channels;
  const auto run = half ? whiten_frame<uint16_t> : whiten_frame<float>;
  for (int32_t n = 0; n < batch; ++n)
    run(p, index, static_cast<const char*>(feature) + n * bytes, static_cast<float*>(workspace),
        distance + n * positions);
}

}  // namespace edgead

// anomaly_map on the CPU, compiled once per instruction set (simd.h).
//
// 1. distances   each feature is read once, and becomes float32 in the register; nchw: positions in
//                the lanes, four channels at a time; nhwc: channels in the lanes
// 2. columns     stretched_k = distance_k C_k^T, at feature height: the cheap end of the product
// 3. rows        map = sum_k R_k stretched_k, four map rows at a time, so that a row of stretched_k
//                is loaded once for four results
// 4. roi         ignored pixels become 0
// 5. pooling     one pass over the map
#include "anomaly_map.h"
#include "layout.h"
#include "simd.h"

namespace edgead {
namespace {

// The sums over channels that a distance is made of; l1 and l2 need only the first.
template <Distance kind, class V>
inline void add_channel(V a, V b, V& ab, V& aa, V& bb) {
  if (kind == Distance::cosine) ab += a * b, aa += a * a, bb += b * b;
  if (kind == Distance::l1) ab += a < b ? b - a : a - b;
  if (kind == Distance::l2) ab += (a - b) * (a - b);
}

// A tile of positions, taken in groups of kLanes. The second group starts at `head`, 1 .. kLanes,
// so that its loads and those of all after it are aligned; the last group ends with the tile. Both
// may repeat positions of the group before: that is cheaper than to cut a vector.
struct Tile {
  int32_t positions, head;

  int32_t groups() const {
    return positions <= kLanes ? 1 : 1 + (positions - head + kLanes - 1) / kLanes;
  }
  int32_t start(int32_t group) const {
    const int32_t last = positions > kLanes ? positions - kLanes : 0;
    const int32_t at = head + (group - 1) * kLanes, from = at > 0 ? at : 0;
    return from < last ? from : last;
  }
};

// Positions until the loads are aligned. (An unaligned vector of 64 bytes always costs two lines.)
template <class T>
inline int32_t head_of(const T* from) {
  const int32_t past = static_cast<int32_t>(reinterpret_cast<uintptr_t>(from) / sizeof(T) % kLanes);
  return kLanes - past;
}

// Adds `count` channels, `plane` values apart, to the sums of a tile of kLanes positions or more.
template <Distance kind, int count, class T>
inline void add_planes(const T* a, const T* b, int64_t plane, Tile tile, float* sums) {
  float *ab = sums, *aa = sums + kSums, *bb = sums + 2 * kSums;
  for (int32_t g = 0, n = tile.groups(); g < n; ++g) {
    const int32_t at = tile.start(g);
    F32 x = {}, y = {}, z = {};
    EDGEAD_UNROLL
    for (int c = 0; c < count; ++c)
      add_channel<kind>(load_floats(a + at + c * plane), load_floats(b + at + c * plane), x, y, z);
    auto add = [&](float* sum, F32 v) { store(sum + g * kLanes, load<F32>(sum + g * kLanes) + v); };
    add(ab, x);
    if (kind == Distance::cosine) add(aa, y), add(bb, z);
  }
}

constexpr int kPlanes = 4;  // as many streams as the L1 cache has room for, a stride of 4 KiB apart

// Sums of a tile of planes [channels, plane].
template <Distance kind, class T>
void sum_planes(const T* a, const T* b, int32_t channels, int64_t plane, Tile tile, float* sums) {
  std::memset(sums, 0, sizeof(float) * 3 * kSums);
  int32_t c = 0;
  if (tile.positions >= kLanes) {
    for (; c + kPlanes <= channels; c += kPlanes)
      add_planes<kind, kPlanes>(a + c * plane, b + c * plane, plane, tile, sums);
    for (; c < channels; ++c) add_planes<kind, 1>(a + c * plane, b + c * plane, plane, tile, sums);
  }
  for (; c < channels; ++c)  // fewer positions than lanes
    for (int32_t i = 0; i < tile.positions; ++i)
      add_channel<kind>(float_of(a[c * plane + i]), float_of(b[c * plane + i]), sums[i],
                        sums[kSums + i], sums[2 * kSums + i]);
}

// x, y, z: the sums over one position's channels, in the lanes.
template <Distance kind, class T>
inline void sum_position(const T* a, const T* b, int32_t channels, I32 rest, F32& x, F32& y,
                         F32& z) {
  int32_t c = 0;
  F32 u = {}, v = {}, w = {};  // two sums each: one would wait for itself
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes) {
    add_channel<kind>(load_floats(a + c), load_floats(b + c), x, y, z);
    add_channel<kind>(load_floats(a + c + kLanes), load_floats(b + c + kLanes), u, v, w);
  }
  x += u, y += v, z += w;
  for (; c + kLanes <= channels; c += kLanes)
    add_channel<kind>(load_floats(a + c), load_floats(b + c), x, y, z);
  if (c == channels) return;
  F32 p = {}, q = {};
  if (channels >= kLanes) {  // the last kLanes, without those that are counted already
    p = only(load_floats(a + channels - kLanes), rest);
    q = only(load_floats(b + channels - kLanes), rest);
  } else {
    for (; c < channels; ++c) p[c] = float_of(a[c]), q[c] = float_of(b[c]);
  }
  add_channel<kind>(p, q, x, y, z);
}

// Sums of a tile of positions [positions, channels]: channels in the lanes, then added across them.
template <Distance kind, class T>
void sum_vectors(const T* a, const T* b, int32_t channels, Tile tile, float* sums) {
  const I32 rest = last_lanes(channels % kLanes);
  for (int32_t g = 0, n = tile.groups(); g < n; ++g) {
    F32 sum[3][kLanes];
    if (tile.positions < kLanes) std::memset(sum, 0, sizeof sum);
    for (int i = 0; i < (tile.positions < kLanes ? tile.positions : kLanes); ++i) {
      const int64_t skip = static_cast<int64_t>(tile.start(g) + i) * channels;
      F32 x = {}, y = {}, z = {};
      sum_position<kind>(a + skip, b + skip, channels, rest, x, y, z);
      sum[0][i] = x, sum[1][i] = y, sum[2][i] = z;
    }
    for (int k = 0; k < (kind == Distance::cosine ? 3 : 1); ++k)
      store(sums + k * kSums + g * kLanes, add_lanes(sum[k]));
  }
}

// distance [positions] from a tile's sums, which are lost.
template <Distance kind>
void finish(Tile tile, int32_t channels, float* sums, float* distance) {
  const int32_t groups = tile.groups();
  for (int32_t i = 0; i < groups * kLanes; ++i)
    sums[i] = kind == Distance::cosine
                  ? cosine_distance(sums[i], sums[i + kSums], sums[i + 2 * kSums])
                  : sums[i] / static_cast<float>(channels);
  for (int32_t g = 0; g < groups; ++g)
    std::memcpy(distance + tile.start(g), sums + g * kLanes,
                sizeof(float) * (tile.positions < kLanes ? tile.positions : kLanes));
}

// distance [height, width] from one frame's a and b.
template <Distance kind, class T>
void distances(const AnomalyMapLevel& level, Layout layout, const void* a, const void* b,
               float* sums, float* distance) {
  const int64_t plane = static_cast<int64_t>(level.height) * level.width;
  const int32_t channels = level.channels;
  for (int64_t first = 0; first < plane; first += kPositions) {
    if (first > 0 && plane - first < kLanes) first = plane - kLanes;
    const int32_t n = static_cast<int32_t>(plane - first < kPositions ? plane - first : kPositions);
    const int64_t skip = layout == Layout::nchw ? first : first * channels;
    const T *p = static_cast<const T*>(a) + skip, *q = static_cast<const T*>(b) + skip;
    const Tile tile{n, layout == Layout::nchw ? head_of(p) : kLanes};
    if (layout == Layout::nchw)
      sum_planes<kind>(p, q, channels, plane, tile, sums);
    else
      sum_vectors<kind>(p, q, channels, tile, sums);
    finish<kind>(tile, channels, sums, distance + first);
  }
}

template <class T>  // in the order of Distance
constexpr decltype(&distances<Distance::l1, T>) kDistances[] = {
    distances<Distance::cosine, T>, distances<Distance::l1, T>, distances<Distance::l2, T>};

constexpr int kVectors = kColumnGroup / kLanes;  // vectors in a group of columns

// R rows of one group of columns: the weights are loaded once for all of them.
template <int R>
inline void column_group(const float* from, int64_t from_pitch, const float* weight, int32_t count,
                         float* to, int64_t to_pitch) {
  F32 sum[R][kVectors] = {};
  for (int32_t t = 0; t < count; ++t) {
    EDGEAD_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const F32 w = load<F32>(weight + t * kColumnGroup + v * kLanes);
      EDGEAD_UNROLL
      for (int r = 0; r < R; ++r) sum[r][v] += w * from[r * from_pitch + t];
    }
  }
  EDGEAD_UNROLL
  for (int r = 0; r < R; ++r) EDGEAD_UNROLL
  for (int v = 0; v < kVectors; ++v) store(to + r * to_pitch + v * kLanes, sum[r][v]);
}

// to [height, to_pitch] = from [height, from_pitch] times the band; pads the last group.
void columns(const Band& band, const float* from, int64_t from_pitch, int32_t height, float* to,
             int64_t to_pitch) {
  for (int32_t g = 0; g < band.groups; ++g) {
    const float* weight = band.weight + static_cast<size_t>(g) * band.taps * kColumnGroup;
    const float* source = from + band.start[g];
    float* target = to + g * kColumnGroup;
    int32_t y = 0;
    for (; y + 4 <= height; y += 4)
      column_group<4>(source + y * from_pitch, from_pitch, weight, band.count[g],
                      target + y * to_pitch, to_pitch);
    for (; y < height; ++y)
      column_group<1>(source + y * from_pitch, from_pitch, weight, band.count[g],
                      target + y * to_pitch, to_pitch);
  }
}

constexpr int kWide = 2;  // vectors side by side; with four rows that is eight sums in registers

// Four rows of the band times from [in, pitch], kWide vectors of columns.
inline void row_group(const Band& band, int32_t g, const float* from, int64_t pitch,
                      F32 sum[kRowGroup][kWide]) {
  const float* weight = band.weight + static_cast<size_t>(g) * band.taps * kRowGroup;
  from += band.start[g] * pitch;
  for (int32_t t = 0; t < band.count[g]; ++t) {
    F32 value[kWide];
    EDGEAD_UNROLL
    for (int v = 0; v < kWide; ++v) value[v] = load<F32>(from + t * pitch + v * kLanes);
    EDGEAD_UNROLL
    for (int r = 0; r < kRowGroup; ++r) EDGEAD_UNROLL
    for (int v = 0; v < kWide; ++v) sum[r][v] += value[v] * weight[t * kRowGroup + r];
  }
}

// to [height, width], rows to_pitch apart = the sum or product over k of band_k times from_k.
void rows(int32_t n, const Band* bands, const float* const* from, int64_t pitch, Fusion fusion,
          int32_t width, float* to, int64_t to_pitch) {
  const int32_t height = bands[0].out;
  for (int32_t g = 0; g < bands[0].groups; ++g) {
    const int32_t y = g * kRowGroup, count = height - y < kRowGroup ? height - y : kRowGroup;
    for (int32_t x = 0; x < width; x += kWide * kLanes) {
      F32 sum[kRowGroup][kWide] = {};
      for (int32_t k = 0; k < n; ++k) {
        if (fusion == Fusion::sum || k == 0) {
          row_group(bands[k], g, from[k] + x, pitch, sum);
          continue;
        }
        F32 factor[kRowGroup][kWide] = {};
        row_group(bands[k], g, from[k] + x, pitch, factor);
        EDGEAD_UNROLL
        for (int r = 0; r < kRowGroup; ++r) EDGEAD_UNROLL
        for (int v = 0; v < kWide; ++v) sum[r][v] *= factor[r][v];
      }
      const int32_t left = width - x;
      if (count == kRowGroup && left >= kWide * kLanes) {
        EDGEAD_UNROLL
        for (int r = 0; r < kRowGroup; ++r) EDGEAD_UNROLL
        for (int v = 0; v < kWide; ++v) store(to + (y + r) * to_pitch + x + v * kLanes, sum[r][v]);
      } else {
        const int32_t part = left < kWide * kLanes ? left : kWide * kLanes;
        for (int32_t r = 0; r < count; ++r)
          std::memcpy(to + (y + r) * to_pitch + x, sum[r], sizeof(float) * part);
      }
    }
  }
}

// The largest of n values >= 0; NaN if one of them is not finite.
float max_of(const float* map, int64_t n) {
  constexpr int kSteps = 4;  // side by side: one alone would wait for itself
  F32 top[kSteps] = {}, bad[kSteps] = {};
  int64_t i = 0;
  for (; i + kSteps * kLanes <= n; i += kSteps * kLanes) {
    EDGEAD_UNROLL
    for (int s = 0; s < kSteps; ++s) {
      const F32 v = load<F32>(map + i + s * kLanes);
      top[s] = v > top[s] ? v : top[s];
      bad[s] += v - v;  // 0, or NaN for what a comparison hides
    }
  }
  float largest = 0.0f, sound = 0.0f;
  for (int s = 0; s < kSteps; ++s)
    for (int l = 0; l < kLanes; ++l) {
      largest = top[s][l] > largest ? top[s][l] : largest;
      sound += bad[s][l];
    }
  for (; i < n; ++i) {
    largest = map[i] > largest ? map[i] : largest;
    sound += map[i] - map[i];
  }
  return largest + sound;
}

double sum_of(const float* map, int64_t n) {
  double sum[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int l = 0; l < 8; ++l) sum[l] += static_cast<double>(map[i + l]);
  for (; i < n; ++i) sum[0] += static_cast<double>(map[i]);
  for (int l = 1; l < 8; ++l) sum[0] += sum[l];
  return sum[0];
}

// Mean of the `top` largest of n values >= 0, NaN if one of them is, see key_digit().
float top_mean(const float* map, int64_t n, int32_t top, uint32_t* keys) {
  std::memcpy(keys, map, sizeof(float) * n);
  double sum = 0.0;
  int64_t rank = top;
  for (int pass = 0; pass < 3; ++pass) {
    int32_t histogram[kBuckets] = {};
    for (int64_t i = 0; i < n; ++i) ++histogram[key_digit(keys[i], pass)];
    int32_t bucket = kBuckets - 1;
    int64_t above = 0;
    while (above + histogram[bucket] < rank) above += histogram[bucket--];
    int64_t kept = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int32_t b = static_cast<int32_t>(key_digit(keys[i], pass));
      if (b > bucket) sum += static_cast<double>(load<float>(keys + i));
      if (b == bucket) keys[kept++] = keys[i];
    }
    rank -= above;
    n = kept;
  }
  // What is left are equal values; `rank` of them count.
  return static_cast<float>((sum + rank * static_cast<double>(load<float>(keys))) / top);
}

// Ignored pixels are 0 in the map and nothing is below 0: they change no sum and no maximum, and
// are among the top_count <= kept largest only where kept pixels are 0 too.
float pool(const AnomalyMapPlan& plan, const float* map, uint32_t* keys) {
  const AnomalyMapParams& p = plan.params;
  const int64_t n = static_cast<int64_t>(p.height) * p.width;
  if (p.pooling == Pooling::mean) return static_cast<float>(sum_of(map, n) / plan.kept);
  if (p.pooling == Pooling::top_k) return top_mean(map, n, p.top_count, keys);
  return max_of(map, n);
}

}  // namespace

void EDGEAD_EXPORT(anomaly_map)(const AnomalyMapPlan& plan, const void* const* reference,
                                const void* const* restored, int32_t batch, float* map,
                                float* score, void* workspace) {
  const AnomalyMapParams& p = plan.params;
  Arena<> arena{static_cast<char*>(workspace)};
  const MapWorkspace w = map_workspace_of(p, arena);
  const bool half = p.type == Type::float16;
  const auto fill = (half ? kDistances<uint16_t> : kDistances<float>)[static_cast<int>(p.distance)];
  const int64_t pixels = static_cast<int64_t>(p.height) * p.width;
  for (int32_t n = 0; n < batch; ++n, map += pixels) {
    for (int32_t k = 0; k < p.levels; ++k) {
      const AnomalyMapLevel& l = p.level[k];
      const int64_t bytes = static_cast<int64_t>(half ? 2 : 4) * l.channels * l.height * l.width;
      fill(l, p.layout, static_cast<const char*>(reference[k]) + n * bytes,
           static_cast<const char*>(restored[k]) + n * bytes, w.sums, w.distances[k]);
      columns(plan.columns[k], w.distances[k], l.width, l.height, w.stretched[k], w.pitch);
    }
    if (w.product != nullptr) {
      rows(p.levels, plan.rows, w.stretched, w.pitch, p.fusion, p.width, w.product, w.pitch);
      columns(plan.blur_columns, w.product, w.pitch, p.height, w.product_across, w.pitch);
      rows(1, &plan.blur_rows, &w.product_across, w.pitch, p.fusion, p.width, map, p.width);
    } else {
      rows(p.levels, plan.rows, w.stretched, w.pitch, p.fusion, p.width, map, p.width);
    }
    if (plan.roi != nullptr)  // chosen, not multiplied: 0 times a NaN is not 0
      for (int64_t i = 0; i < pixels; ++i) map[i] = plan.roi[i] != 0 ? map[i] : 0.0f;
    score[n] = pool(plan, map, w.keys);
  }
}

}  // namespace edgead

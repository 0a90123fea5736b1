// anomaly_map on the CPU, compiled once per instruction set (simd.h).
//
// 1. distances   each feature is read once; positions in the lanes, four channels at a time
// 2. columns     stretched_k = distance_k C_k^T, at feature height: the cheap end of the product
// 3. rows        map = sum_k R_k stretched_k, four map rows at a time, so that a row of stretched_k
//                is loaded once for four results
// 4. pooling     one pass over the map
#include "anomaly_map.h"
#include "layout.h"
#include "simd.h"

namespace edgead {
namespace {

template <Distance kind>
inline void add_channel(float a, float b, float& ab, float& aa, float& bb) {
  if (kind == Distance::cosine) ab += a * b, aa += a * a, bb += b * b;
  if (kind == Distance::l1) ab += a < b ? b - a : a - b;
  if (kind == Distance::l2) ab += (a - b) * (a - b);
}

// Adds four channels, `plane` floats apart, to the sums of n positions.
template <Distance kind>
void add_four(const float* a, const float* b, int64_t plane, int32_t n, float* ab, float* aa,
              float* bb) {
  for (int32_t i = 0; i < n; ++i) {
    float x = 0.0f, y = 0.0f, z = 0.0f;
    add_channel<kind>(a[i], b[i], x, y, z);
    add_channel<kind>(a[i + plane], b[i + plane], x, y, z);
    add_channel<kind>(a[i + 2 * plane], b[i + 2 * plane], x, y, z);
    add_channel<kind>(a[i + 3 * plane], b[i + 3 * plane], x, y, z);
    ab[i] += x;
    if (kind == Distance::cosine) aa[i] += y, bb[i] += z;
  }
}

template <Distance kind>
void add_one(const float* a, const float* b, int32_t n, float* ab, float* aa, float* bb) {
  for (int32_t i = 0; i < n; ++i) {
    float x = 0.0f, y = 0.0f, z = 0.0f;
    add_channel<kind>(a[i], b[i], x, y, z);
    ab[i] += x;
    if (kind == Distance::cosine) aa[i] += y, bb[i] += z;
  }
}

// distance [height, width] from a, b [channels, height, width].
template <Distance kind>
void distances(const AnomalyMapLevel& level, const float* a, const float* b, float* sums,
               float* distance) {
  const int64_t plane = static_cast<int64_t>(level.height) * level.width;
  float *ab = sums, *aa = sums + kPositions, *bb = sums + 2 * kPositions;
  for (int64_t first = 0; first < plane; first += kPositions) {
    const int32_t n = plane - first < kPositions ? plane - first : kPositions;
    std::memset(sums, 0, sizeof(float) * 3 * kPositions);
    int32_t c = 0;
    for (; c + 4 <= level.channels; c += 4)
      add_four<kind>(a + first + c * plane, b + first + c * plane, plane, n, ab, aa, bb);
    for (; c < level.channels; ++c)
      add_one<kind>(a + first + c * plane, b + first + c * plane, n, ab, aa, bb);
    float* to = distance + first;
    if (kind == Distance::cosine)
      for (int32_t i = 0; i < n; ++i) to[i] = cosine_distance(ab[i], aa[i], bb[i]);
    else
      for (int32_t i = 0; i < n; ++i) to[i] = ab[i] / static_cast<float>(level.channels);
  }
}

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

float max_of(const float* map, int64_t n) {
  float largest = map[0], sound = 0.0f;
  int64_t i = 0;
  if (n >= kLanes) {
    F32 top = load<F32>(map), bad = {};
    for (; i + kLanes <= n; i += kLanes) {
      const F32 v = load<F32>(map + i);
      top = v > top ? v : top;
      bad += v - v;  // 0, or NaN for what a comparison hides
    }
    for (int l = 0; l < kLanes; ++l) {
      largest = top[l] > largest ? top[l] : largest;
      sound += bad[l];
    }
  }
  for (; i < n; ++i) {
    largest = map[i] > largest ? map[i] : largest;
    sound += map[i] - map[i];
  }
  return largest + sound;
}

// The sum and the count of the pixels of one batch element, in double.
double sum_of(const float* map, int64_t n) {
  double sum[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int l = 0; l < 8; ++l) sum[l] += static_cast<double>(map[i + l]);
  for (; i < n; ++i) sum[0] += static_cast<double>(map[i]);
  for (int l = 1; l < 8; ++l) sum[0] += sum[l];
  return sum[0];
}

inline float float_of(uint32_t key) {
  float value;
  std::memcpy(&value, &key, sizeof value);
  return value;
}

inline uint32_t digit(uint32_t key, int shift) {
  return shift < 0 ? key & 1023 : key >> shift & 2047;
}

// Mean of the `top` largest of n values >= 0, by radix selection: the bits of such floats have the
// order of the floats. NaN lies above infinity, so it is among the largest, and the sum shows it.
float top_mean(const float* map, int64_t n, int32_t top, uint32_t* keys) {
  std::memcpy(keys, map, sizeof(float) * n);
  double sum = 0.0;
  int64_t wanted = top;
  for (int shift = 21; shift >= -1; shift -= 11) {  // 11 bits, 11 bits, 10 bits
    int32_t histogram[2048] = {};
    for (int64_t i = 0; i < n; ++i) ++histogram[digit(keys[i], shift)];
    int32_t bucket = 2047;
    int64_t above = 0;
    while (above + histogram[bucket] < wanted) above += histogram[bucket--];
    int64_t kept = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int32_t b = digit(keys[i], shift);
      if (b > bucket) sum += static_cast<double>(float_of(keys[i]));
      if (b == bucket) keys[kept++] = keys[i];
    }
    wanted -= above;
    n = kept;
  }
  // What is left are equal values; `wanted` of them count.
  return static_cast<float>((sum + wanted * static_cast<double>(float_of(keys[0]))) / top);
}

float pool(const AnomalyMapParams& p, const float* map, uint32_t* keys) {
  const int64_t n = static_cast<int64_t>(p.height) * p.width;
  if (p.pooling == Pooling::mean) return static_cast<float>(sum_of(map, n) / n);
  if (p.pooling == Pooling::top_k) return top_mean(map, n, p.top_count, keys);
  return max_of(map, n);
}

}  // namespace

void EDGEAD_EXPORT(anomaly_map)(const AnomalyMapPlan& plan, const float* const* reference,
                                const float* const* restored, int32_t batch, float* map,
                                float* score, void* workspace) {
  const AnomalyMapParams& p = plan.params;
  const MapWorkspace w = map_workspace_of(p);
  char* base = static_cast<char*>(workspace);
  auto at = [&](size_t offset) { return reinterpret_cast<float*>(base + offset); };
  const float* stretched[kMaxLevels];
  for (int32_t n = 0; n < batch; ++n, map += static_cast<int64_t>(p.height) * p.width) {
    for (int32_t k = 0; k < p.levels; ++k) {
      const AnomalyMapLevel& l = p.level[k];
      const int64_t skip = static_cast<int64_t>(l.channels) * l.height * l.width * n;
      const float *a = reference[k] + skip, *b = restored[k] + skip;
      float *sums = at(w.sums), *d = at(w.distances[k]);
      if (p.distance == Distance::cosine) distances<Distance::cosine>(l, a, b, sums, d);
      if (p.distance == Distance::l1) distances<Distance::l1>(l, a, b, sums, d);
      if (p.distance == Distance::l2) distances<Distance::l2>(l, a, b, sums, d);
      columns(plan.columns[k], d, l.width, l.height, at(w.stretched[k]), w.pitch);
      stretched[k] = at(w.stretched[k]);
    }
    if (p.fusion == Fusion::product && p.sigma > 0.0) {
      float *product = at(w.product), *across = at(w.product_across);
      rows(p.levels, plan.rows, stretched, w.pitch, p.fusion, p.width, product, w.pitch);
      columns(plan.blur_columns, product, w.pitch, p.height, across, w.pitch);
      rows(1, &plan.blur_rows, &across, w.pitch, p.fusion, p.width, map, p.width);
    } else {
      rows(p.levels, plan.rows, stretched, w.pitch, p.fusion, p.width, map, p.width);
    }
    score[n] = pool(p, map, reinterpret_cast<uint32_t*>(base + w.keys));
  }
}

}  // namespace edgead

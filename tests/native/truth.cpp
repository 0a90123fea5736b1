#include "truth.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <tuple>
#include <utility>

namespace edgead {

double half_value(uint16_t bits) {
  const double sign = bits >> 15 ? -1.0 : 1.0;
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31)
    return fraction ? std::numeric_limits<double>::quiet_NaN()
                    : sign * std::numeric_limits<double>::infinity();
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

uint16_t half_nearest(double value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return sign | 0x7e00;
  const double size = std::fabs(value);
  // 65520 lies midway between the largest number and what would be the next one, which is even.
  if (size >= 65520.0) return sign | 0x7c00;
  uint16_t low = 0, high = 0x7bff;  // the largest binary16 <= size: bits and values rise together
  while (low < high) {
    const uint16_t middle = static_cast<uint16_t>((low + high + 1) / 2);
    half_value(middle) <= size ? low = middle : high = static_cast<uint16_t>(middle - 1);
  }
  if (low == 0x7bff) return sign | low;
  const double below = size - half_value(low), above = half_value(low + 1) - size;
  return sign | (above < below || (above == below && low % 2) ? low + 1 : low);
}

namespace {

double distance(const AnomalyMapParams& p, const AnomalyMapLevel& level, const double* a,
                const double* b) {
  const int64_t plane = static_cast<int64_t>(level.height) * level.width;
  double ab = 0.0, aa = 0.0, bb = 0.0, l1 = 0.0, l2 = 0.0;
  for (int32_t c = 0; c < level.channels; ++c) {
    const double x = a[c * plane], y = b[c * plane];
    ab += x * y, aa += x * x, bb += y * y;
    l1 += std::fabs(x - y), l2 += (x - y) * (x - y);
  }
  if (p.distance == Distance::l1) return l1 / level.channels;
  if (p.distance == Distance::l2) return l2 / level.channels;
  const double d = 1.0 - ab / std::max(std::sqrt(aa * bb), 1e-8);
  return d < 0.0 ? 0.0 : d;
}

// Bilinear: where output i lies among `in` inputs, and how much of the next one it takes.
void position(int32_t i, int32_t in, int32_t out, bool align_corners, int32_t& at, double& part) {
  double x = (i + 0.5) * in / out - 0.5;
  if (align_corners) x = out > 1 ? static_cast<double>(i) * (in - 1) / (out - 1) : 0.0;
  x = std::min(std::max(x, 0.0), in - 1.0);
  at = static_cast<int32_t>(x), part = x - at;
}

// d [height_k, width_k] at map pixel (y, x). A position of weight 0 is not read: it may be NaN.
double upsampled(const AnomalyMapParams& p, const AnomalyMapLevel& level,
                 const std::vector<double>& d, int32_t y, int32_t x) {
  int32_t row, column;
  double down, right;
  position(y, level.height, p.height, p.align_corners, row, down);
  position(x, level.width, p.width, p.align_corners, column, right);
  double value = 0.0;
  for (int32_t i = 0; i < 2; ++i)
    for (int32_t j = 0; j < 2; ++j) {
      const double weight = (i ? down : 1.0 - down) * (j ? right : 1.0 - right);
      if (weight > 0.0)
        value += weight * d[static_cast<size_t>(row + i) * level.width + column + j];
    }
  return value;
}

// The Gaussian along one direction; value(k) is the input at k, 0 <= k < size.
double blurred(double sigma, int32_t i, int32_t size, const std::function<double(int32_t)>& value) {
  const int32_t radius = static_cast<int32_t>(4.0 * sigma + 0.5);
  double sum = 0.0, total = 0.0;
  for (int32_t k = -radius; k <= radius; ++k) {
    const double weight = std::exp(-0.5 * k * k / (sigma * sigma));
    sum += weight * value(std::min(std::max(i + k, 0), size - 1)), total += weight;
  }
  return sum / total;
}

std::vector<double> blur(const AnomalyMapParams& p, const std::vector<double>& map) {
  if (p.sigma == 0.0) return map;
  std::vector<double> down(map.size()), both(map.size());
  for (int32_t y = 0; y < p.height; ++y)
    for (int32_t x = 0; x < p.width; ++x)
      down[y * p.width + x] =
          blurred(p.sigma, y, p.height, [&](int32_t k) { return map[k * p.width + x]; });
  for (int32_t y = 0; y < p.height; ++y)
    for (int32_t x = 0; x < p.width; ++x)
      both[y * p.width + x] =
          blurred(p.sigma, x, p.width, [&](int32_t k) { return down[y * p.width + k]; });
  return both;
}

double pooled(const AnomalyMapParams& p, std::vector<double> kept) {
  for (double value : kept)
    if (!std::isfinite(value)) return std::numeric_limits<double>::quiet_NaN();
  std::sort(kept.begin(), kept.end(), std::greater<double>());
  size_t n = kept.size();
  if (p.pooling == Pooling::max) n = 1;
  if (p.pooling == Pooling::top_k) n = static_cast<size_t>(p.top_count);
  double sum = 0.0;
  for (size_t i = 0; i < n; ++i) sum += kept[i];
  return sum / static_cast<double>(n);
}

}  // namespace

MapTruth anomaly_map_truth(const AnomalyMapParams& p, const std::vector<Feature>& reference,
                           const std::vector<Feature>& restored, const std::vector<uint8_t>& roi,
                           int32_t batch) {
  const size_t pixels = static_cast<size_t>(p.height) * p.width;
  MapTruth truth;
  for (int32_t n = 0; n < batch; ++n) {
    std::vector<double> map(pixels, p.fusion == Fusion::sum ? 0.0 : 1.0);
    for (int32_t k = 0; k < p.levels; ++k) {
      const AnomalyMapLevel& level = p.level[k];
      const size_t plane = static_cast<size_t>(level.height) * level.width;
      std::vector<double> d(plane);
      for (size_t i = 0; i < plane; ++i) {
        const size_t at = n * level.channels * plane + i;
        d[i] = distance(p, level, &reference[k][at], &restored[k][at]);
      }
      for (size_t i = 0; i < pixels; ++i) {
        const int32_t y = static_cast<int32_t>(i) / p.width, x = static_cast<int32_t>(i) % p.width;
        const double term = level.weight * upsampled(p, level, d, y, x);
        map[i] = p.fusion == Fusion::sum ? map[i] + term : map[i] * term;
      }
    }
    map = blur(p, map);
    std::vector<double> kept;
    for (size_t i = 0; i < pixels; ++i) {
      if (roi.empty() || roi[i])
        kept.push_back(map[i]);
      else
        map[i] = 0.0;
    }
    truth.map.insert(truth.map.end(), map.begin(), map.end());
    truth.score.push_back(pooled(p, kept));
  }
  return truth;
}

namespace {

// The weights of output i in Q14, [in]: differences of the rounded running sum of the triangle.
std::vector<int64_t> filter(int32_t i, int32_t in, int32_t out) {
  const double scale = static_cast<double>(in) / out, support = std::max(1.0, scale);
  const double center = (i + 0.5) * scale;
  const int32_t first = std::max(static_cast<int32_t>(center - support + 0.5), 0);
  const int32_t last = std::min(static_cast<int32_t>(center + support + 0.5), in);
  std::vector<double> running;
  double sum = 0.0;
  for (int32_t j = first; j < last; ++j)
    running.push_back(sum += std::max(1.0 - std::fabs((j + 0.5 - center) / support), 0.0));
  std::vector<int64_t> weights(in, 0);
  int64_t done = 0;
  for (int32_t j = first; j < last; ++j) {
    const int64_t reached =
        static_cast<int64_t>(std::floor(running[j - first] / sum * 16384.0 + 0.5));
    weights[j] = reached - done, done = reached;
  }
  return weights;
}

int64_t sample(const PreprocessParams& p, const char* frame, int32_t y, int32_t x, int32_t c) {
  const char* at = frame + y * p.row_stride + x * p.pixel_stride + c * p.channel_stride;
  uint16_t wide;
  if (p.sample_bytes == 1) return static_cast<unsigned char>(*at);
  std::memcpy(&wide, at, sizeof wide);
  return wide;
}

}  // namespace

std::vector<float> preprocess_truth(const PreprocessParams& p, const char* frame) {
  std::vector<std::vector<int64_t>> across;
  for (int32_t x = 0; x < p.out_width; ++x) across.push_back(filter(x, p.width, p.out_width));
  std::vector<float> image(static_cast<size_t>(3) * p.out_height * p.out_width);
  // As if the frame were shifted left to 16 bits, in Q14; sums of samples too large are bounded.
  const int64_t unit = 1 << (16 - p.bit_depth), half = 1 << 13;
  for (int32_t y = 0; y < p.out_height; ++y) {
    const std::vector<int64_t> down = filter(y, p.height, p.out_height);
    for (int32_t c = 0; c < 3; ++c) {
      std::vector<int64_t> mid(p.width, 0);
      for (int32_t j = 0; j < p.height; ++j)
        for (int32_t x = 0; down[j] != 0 && x < p.width; ++x)
          mid[x] += down[j] * sample(p, frame, j, x, p.order[c]);
      for (int64_t& value : mid) value = std::min<int64_t>((unit * value + half) >> 14, 65535);
      for (int32_t x = 0; x < p.out_width; ++x) {
        int64_t acc = 0;
        for (int32_t j = 0; j < p.width; ++j) acc += across[x][j] * mid[j];
        image[(static_cast<size_t>(c) * p.out_height + y) * p.out_width + x] =
            static_cast<float>(acc) * p.scale[c] + p.bias[c];
      }
    }
  }
  return image;
}

namespace {

// A squared distance, and its row.
using Found = std::pair<double, int32_t>;

// The squared distance of a query to the blend of the nearest rows, and how far off float32 may be.
std::pair<double, double> blend_truth(const NearestParams& p, const double* query,
                                      const std::vector<double>& memory,
                                      const std::vector<Found>& nearest) {
  auto e = [&](int32_t i) {
    return i < p.k ? std::exp((nearest[0].first - nearest[i].first) / p.temperature) : 0.0;
  };
  double all = 0.0, shares = 0.0, square = 0.0, largest = 0.0;
  for (int32_t i = 0; i < p.k; ++i) all += e(i);
  auto share = [&](int32_t i) { return (e(i) - e(p.blended)) / all + kLeastShare; };
  for (int32_t i = 0; i < p.blended; ++i) shares += share(i);
  for (int32_t c = 0; c < p.channels; ++c) {
    double difference = query[c];
    for (int32_t i = 0; i < p.blended; ++i) {
      const double value = memory[static_cast<size_t>(nearest[i].second) * p.channels + c];
      difference -= share(i) / shares * value;
      largest = std::max(largest, std::fabs(value));
    }
    square += difference * difference;
  }
  // Of equal rows another one may count: shares are off by the least one, and by the roundings of
  // squared distances over the temperature, at most by all; no two rows lie farther apart than
  // twice the farthest distance. The blend itself is rounded too.
  const double unit = std::ldexp(1.0, -24), farthest = std::sqrt(nearest[p.k - 1].first);
  const double rounding = 4.0 * (p.channels + 8) * unit * farthest * farthest / p.temperature;
  const double moved = std::min(1.0, 2.0 * kLeastShare + rounding) * 2.0 * farthest +
                       (p.k + 2) * unit * largest * std::sqrt(p.channels);
  return {square, 2.0 * std::sqrt(square) * moved + moved * moved};
}

}  // namespace

std::vector<double> nearest_truth(const NearestParams& p, const std::vector<double>& queries,
                                  const std::vector<double>& memory,
                                  const std::vector<uint8_t>& roi, int32_t batch,
                                  std::vector<double>* slack) {
  std::vector<double> found;
  if (slack != nullptr) slack->clear();
  for (int32_t i = 0; i < batch * p.positions; ++i) {
    std::vector<Found> squares;
    double bad = 0.0;  // what is not finite in the query; a NaN stays
    for (int32_t c = 0; c < p.channels; ++c) {
      const double value = queries[static_cast<size_t>(i) * p.channels + c];
      if (!std::isfinite(value)) bad += std::fabs(value);
    }
    for (int32_t row = 0; row < p.rows; ++row) {
      double sum = bad;
      for (int32_t c = 0; bad == 0.0 && c < p.channels; ++c) {
        const double difference = queries[static_cast<size_t>(i) * p.channels + c] -
                                  memory[static_cast<size_t>(row) * p.channels + c];
        sum += difference * difference;
      }
      squares.emplace_back(sum, row);
    }
    if (bad == 0.0) std::sort(squares.begin(), squares.end());
    double distance = bad, off = 0.0;
    for (int32_t j = 0; bad == 0.0 && j < p.k; ++j)
      distance += static_cast<double>(p.weight[j]) * squares[j].first;
    if (bad == 0.0 && p.blended > 0)
      std::tie(distance, off) =
          blend_truth(p, &queries[static_cast<size_t>(i) * p.channels], memory, squares);
    if (slack != nullptr) slack->push_back(off);
    found.push_back(roi.empty() || roi[i % p.positions] ? distance : 0.0);
  }
  return found;
}

WhitenTruth whiten_truth(const WhitenParams& p, const std::vector<double>& features,
                         const float* mean, const float* factor, const std::vector<uint8_t>& roi,
                         int32_t batch) {
  // A sum of n products is off by n roundings of the sum of their sizes.
  const double unit = std::ldexp(1.0, -24);
  const int32_t positions = p.height * p.width, across = (p.width + p.side - 1) / p.side;
  WhitenTruth found;
  for (int32_t i = 0; i < batch * positions; ++i) {
    const int32_t place = i % positions;
    const double* x = &features[static_cast<size_t>(i) * p.channels];
    double middle = 0.0, size = 0.0, variance = 0.0;
    for (int32_t c = 0; c < p.channels; ++c)
      middle += x[c] / p.channels, size += std::fabs(x[c]) / p.channels;
    for (int32_t c = 0; c < p.channels; ++c)
      variance += (x[c] - middle) * (x[c] - middle) / p.channels;
    const double deviation = std::sqrt(variance + p.epsilon);
    const double off_middle = (p.channels + 2) * unit * size / deviation;
    std::vector<double> d(p.channels), off(p.channels);
    for (int32_t c = 0; c < p.channels; ++c) {
      d[c] = p.channel_normal ? (x[c] - middle) / deviation : x[c];
      if (p.channel_normal)
        off[c] = off_middle + std::fabs(d[c]) * ((p.channels + 10) * unit + off_middle);
      d[c] -= mean[static_cast<size_t>(c) * positions + place];
      off[c] += (p.channels + 3) * unit * std::fabs(d[c]);
    }
    const int32_t region = place / p.width / p.side * across + place % p.width / p.side;
    double sum = 0.0, doubt = 0.0;
    for (int32_t o = 0; o < p.outputs; ++o) {
      double z = 0.0, far = 0.0;
      for (int32_t c = p.triangular ? o : 0; c < p.channels; ++c) {
        const double f = factor[(static_cast<size_t>(region) * p.outputs + o) * p.channels + c];
        z += f * d[c], far += std::fabs(f) * off[c];
      }
      sum += z * z;
      doubt += 2 * std::fabs(z) * far + far * far +
               (p.outputs + 3) * unit * (std::fabs(z) + far) * (std::fabs(z) + far);
    }
    const bool kept = roi.empty() || roi[place];
    found.distance.push_back(kept ? sum / p.outputs : 0.0);
    found.doubt.push_back(kept ? doubt / p.outputs : 0.0);
  }
  return found;
}

}  // namespace edgead

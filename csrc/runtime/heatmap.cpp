#include "heatmap.h"

#include <algorithm>
#include <cmath>

namespace edgead {
namespace {

// Where pixel i of `frame` lies between two of `map`, and how far from the first.
struct Between {
  int32_t first, second;
  float share;  // of the second
};

Between between(int32_t i, int32_t frame, int32_t map) {
  const double scale = static_cast<double>(map) / frame;
  float at = static_cast<float>((i + 0.5) * scale - 0.5);
  int32_t first = static_cast<int32_t>(std::floor(at));
  at -= static_cast<float>(first);
  if (first < 0) first = 0, at = 0;
  if (first >= map - 1) first = map - 1, at = 0;
  return {first, std::min(first + 1, map - 1), at};
}

template <class Value>
float blend(const Value& value, const Between& y, const Between& x) {
  const float upper = value(y.first, x.first) * (1 - x.share) + value(y.first, x.second) * x.share;
  const float lower =
      value(y.second, x.first) * (1 - x.share) + value(y.second, x.second) * x.share;
  return upper * (1 - y.share) + lower * y.share;
}

}  // namespace

Heatmap::Heatmap(const MapView& map, Size frame) : map_(map), frame_(frame) {}

void Heatmap::row(int32_t y, float* heat) const {
  const Between vertical = between(y, frame_.first, map_.size.first);
  const auto index = [&](int32_t i, int32_t j) {
    return static_cast<size_t>(i) * map_.size.second + j;
  };
  const int64_t own = (2 * static_cast<int64_t>(y) + 1) * map_.size.first / (2 * frame_.first);
  for (int32_t x = 0; x < frame_.second; ++x) {
    const Between horizontal = between(x, frame_.second, map_.size.second);
    const auto value = [&](int32_t i, int32_t j) { return map_.values[index(i, j)]; };
    heat[x] = blend(value, vertical, horizontal);
    if (map_.roi == nullptr) continue;
    const int64_t column =
        (2 * static_cast<int64_t>(x) + 1) * map_.size.second / (2 * frame_.second);
    const auto kept = [&](int32_t i, int32_t j) { return map_.roi[index(i, j)] ? 1.0f : 0.0f; };
    const bool counts =
        map_.roi[index(static_cast<int32_t>(own), static_cast<int32_t>(column))] != 0;
    heat[x] = counts ? heat[x] / blend(kept, vertical, horizontal) : 0.0f;
  }
}

}  // namespace edgead

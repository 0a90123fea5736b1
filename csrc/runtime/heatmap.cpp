#include "heatmap.h"

#include <algorithm>
#include <cmath>
#include <numeric>

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

namespace {

// Areas while the rows are read, from top to bottom: runs of pixels that touch become one.
class Areas {
 public:
  void add_row(int32_t y, const std::vector<float>& heat, float threshold) {
    const int32_t width = static_cast<int32_t>(heat.size());
    now_.clear();
    size_t above = 0;
    for (int32_t x = 0; x < width; ++x) {
      if (!(heat[x] > threshold)) continue;
      const int32_t start = x;
      float peak = heat[x];
      while (x + 1 < width && heat[x + 1] > threshold) peak = std::max(peak, heat[++x]);
      now_.push_back({start, x, add({start, y, x - start + 1, 1, x - start + 1, peak, 0})});
      // Runs of the row above from start - 1 to x + 1 touch this one, corners included.
      while (above < last_.size() && last_[above].end < start - 1) ++above;
      for (size_t i = above; i < last_.size() && last_[i].start <= x + 1; ++i)
        join(last_[i].area, now_.back().area);
    }
    last_.swap(now_);
  }

  std::vector<edgead_region> found() {
    std::vector<edgead_region> regions;
    for (size_t i = 0; i < parent_.size(); ++i)
      if (parent_[i] == i) regions.push_back(areas_[i]);
    return regions;
  }

 private:
  struct Run {
    int32_t start, end;
    size_t area;
  };

  size_t add(const edgead_region& region) {
    parent_.push_back(parent_.size());
    areas_.push_back(region);
    return parent_.size() - 1;
  }

  size_t root(size_t i) {
    while (parent_[i] != i) i = parent_[i] = parent_[parent_[i]];
    return i;
  }

  void join(size_t a, size_t b) {
    a = root(a), b = root(b);
    if (a == b) return;
    if (b < a) std::swap(a, b);  // the first one seen keeps its place
    parent_[b] = a;
    edgead_region& first = areas_[a];
    const edgead_region& second = areas_[b];
    const int32_t right = std::max(first.x + first.width, second.x + second.width);
    const int32_t bottom = std::max(first.y + first.height, second.y + second.height);
    first.x = std::min(first.x, second.x), first.y = std::min(first.y, second.y);
    first.width = right - first.x, first.height = bottom - first.y;
    first.area += second.area;
    first.peak = std::max(first.peak, second.peak);
  }

  std::vector<size_t> parent_;
  std::vector<edgead_region> areas_;
  std::vector<Run> last_, now_;
};

}  // namespace

std::vector<edgead_region> regions_of(const MapView& map, Size frame, double threshold) {
  const Heatmap heatmap(map, frame);
  std::vector<float> heat(static_cast<size_t>(frame.second));
  Areas areas;
  for (int32_t y = 0; y < frame.first; ++y) {
    heatmap.row(y, heat.data());
    areas.add_row(y, heat, static_cast<float>(threshold));  // as NumPy compares
  }
  std::vector<edgead_region> regions = areas.found();
  const auto [height, width] = map.size;
  const float* end = map.values + static_cast<size_t>(height) * width;
  const float* peak = std::max_element(map.values, end);
  if (regions.empty() && *peak > threshold) {
    const int64_t at = peak - map.values;
    const auto place = [](int64_t i, int32_t n, int32_t m) {
      return static_cast<int32_t>((2 * i + 1) * n / (2 * m));
    };
    regions.push_back({place(at % width, frame.second, width),
                       place(at / width, frame.first, height), 1, 1, 1, *peak, 0});
  }
  std::stable_sort(regions.begin(), regions.end(),
                   [](const auto& a, const auto& b) { return a.peak > b.peak; });
  return regions;
}

}  // namespace edgead

#include "regions.h"

#include <algorithm>

namespace edgead {
namespace {

constexpr size_t kNowhere = SIZE_MAX;

// Higher peaks first; of the same height, those that were seen first.
bool before(const edgead_region& a, const edgead_region& b) {
  if (a.peak != b.peak) return a.peak > b.peak;
  return a.y != b.y ? a.y < b.y : a.reserved < b.reserved;
}

edgead_region peak_of(const MapView& map, const float* peak, Size frame) {
  const auto [height, width] = map.size;
  const int64_t at = peak - map.values;
  const auto place = [](int64_t i, int32_t n, int32_t m) {
    return static_cast<int32_t>((2 * i + 1) * n / (2 * m));
  };
  return {place(at % width, frame.second, width),
          place(at / width, frame.first, height),
          1,
          1,
          1,
          *peak,
          0};
}

}  // namespace

void RegionSearch::prepare(int32_t width) {
  if (heat_.size() == static_cast<size_t>(width)) return;
  const size_t most = static_cast<size_t>(width) / 2 + 1;  // runs of a row
  last_.reserve(most), now_.reserve(most);
  areas_.reserve(2 * most), next_.reserve(2 * most);
  heat_.resize(static_cast<size_t>(width));
}

size_t RegionSearch::run(const MapView& map, Size frame, double threshold, edgead_region* regions,
                         size_t capacity) {
  found_ = regions, capacity_ = capacity, kept_ = count_ = 0;
  last_.clear(), areas_.clear();
  const Heatmap heatmap(map, frame);
  for (int32_t y = 0; y < frame.first; ++y) {
    heatmap.row(y, heat_.data());
    add_row(y, static_cast<float>(threshold));  // as NumPy compares
    end_row();
  }
  now_.clear();
  end_row();  // nothing goes on
  const float* end = map.values + static_cast<size_t>(map.size.first) * map.size.second;
  const float* peak = std::max_element(map.values, end);
  if (count_ == 0 && *peak > threshold) finish(peak_of(map, peak, frame));
  std::sort_heap(regions, regions + kept_, before);
  std::for_each(regions, regions + kept_, [](edgead_region& region) { region.reserved = 0; });
  return count_;
}

void RegionSearch::add_row(int32_t y, float threshold) {
  const int32_t width = static_cast<int32_t>(heat_.size());
  now_.clear();
  size_t above = 0;
  for (int32_t x = 0; x < width; ++x) {
    if (!(heat_[x] > threshold)) continue;
    const int32_t start = x;
    float peak = heat_[x];
    while (x + 1 < width && heat_[x + 1] > threshold) peak = std::max(peak, heat_[++x]);
    const edgead_region region{start, y, x - start + 1, 1, x - start + 1, peak, start};
    areas_.push_back({region, areas_.size(), kNowhere});
    now_.push_back({start, x, areas_.size() - 1});
    // Runs of the row above from start - 1 to x + 1 touch this one, corners included.
    while (above < last_.size() && last_[above].end < start - 1) ++above;
    for (size_t i = above; i < last_.size() && last_[i].start <= x + 1; ++i)
      join(last_[i].area, now_.back().area);
  }
}

// What this row touches goes on; the rest is finished.
void RegionSearch::end_row() {
  next_.clear();
  for (Run& run : now_) {
    Area& area = areas_[root(run.area)];
    if (area.moved == kNowhere) {
      area.moved = next_.size();
      next_.push_back({area.region, area.moved, kNowhere});
    }
    run.area = area.moved;
  }
  for (size_t i = 0; i < areas_.size(); ++i)
    if (areas_[i].parent == i && areas_[i].moved == kNowhere) finish(areas_[i].region);
  areas_.swap(next_);
  last_.swap(now_);
}

void RegionSearch::finish(const edgead_region& region) {
  ++count_;
  if (kept_ < capacity_) {
    found_[kept_++] = region;
  } else if (capacity_ > 0 && before(region, found_[0])) {
    std::pop_heap(found_, found_ + kept_, before);
    found_[kept_ - 1] = region;
  } else {
    return;
  }
  std::push_heap(found_, found_ + kept_, before);
}

size_t RegionSearch::root(size_t i) {
  while (areas_[i].parent != i) i = areas_[i].parent = areas_[areas_[i].parent].parent;
  return i;
}

void RegionSearch::join(size_t a, size_t b) {
  a = root(a), b = root(b);
  if (a == b) return;
  edgead_region &one = areas_[a].region, &other = areas_[b].region;
  const bool earlier = one.y != other.y ? one.y < other.y : one.reserved < other.reserved;
  areas_[b].parent = a;
  if (!earlier) one.reserved = other.reserved;
  const int32_t right = std::max(one.x + one.width, other.x + other.width);
  const int32_t bottom = std::max(one.y + one.height, other.y + other.height);
  one.x = std::min(one.x, other.x), one.y = std::min(one.y, other.y);
  one.width = right - one.x, one.height = bottom - one.y;
  one.area += other.area;
  one.peak = std::max(one.peak, other.peak);
}

}  // namespace edgead

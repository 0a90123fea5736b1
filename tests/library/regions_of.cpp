// regions_of HEIGHT WIDTH THRESHOLD CAPACITY: the heatmap's floats in, how many regions and the
// first ones out. Frames of other widths come before, as of a session that serves several.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "regions.h"

int main(int, char** arguments) {
  const edgead::Size size{std::atoi(arguments[1]), std::atoi(arguments[2])};
  const double threshold = std::atof(arguments[3]);
  const auto capacity = static_cast<size_t>(std::atoi(arguments[4]));
  std::vector<float> values(static_cast<size_t>(size.first) * size.second);
  if (std::fread(values.data(), values.size() * sizeof(float), 1, stdin) != 1) return 1;
  std::vector<edgead_region> regions(capacity);
  edgead::RegionSearch search;
  size_t count = 0;
  for (const int32_t width : {size.second + 9, size.second}) {
    search.prepare(width);
    const edgead::Size frame{size.first, width};
    count = search.run({values.data(), size, nullptr}, frame, threshold, regions.data(), capacity);
  }
  std::printf("%zu\n", count);
  for (size_t i = 0; i < std::min(count, capacity); ++i) {
    const edgead_region& r = regions[i];
    std::printf("%d %d %d %d %lld %.17g %d\n", r.x, r.y, r.width, r.height,
                static_cast<long long>(r.area), static_cast<double>(r.peak), r.reserved);
  }
}

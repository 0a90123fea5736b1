#include "tiling.h"

#include <algorithm>
#include <cmath>

#include "failure.h"
#include "wording.h"

namespace edgead {
namespace {

int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace

TileAxis plan_axis(int64_t frame, int64_t tile, int64_t overlap, int64_t pixels) {
  const double exact = static_cast<double>(frame * pixels) / static_cast<double>(tile);
  const int64_t length = std::max(pixels, static_cast<int64_t>(std::nearbyint(exact)));
  const int64_t step = pixels - divided_up(overlap * pixels, tile);
  int64_t count = 1 + divided_up(length - pixels, step);
  if (count == 1 && frame > tile) count = 2;  // less than a map pixel over: one more covers it
  const int64_t gaps = std::max<int64_t>(count - 1, 1);
  TileAxis axis{static_cast<int32_t>(length), {}, {}, {}};
  std::vector<double> total(static_cast<size_t>(length));
  const auto tent = [&](int64_t i) {
    const double inner = static_cast<double>(i) + 0.5;
    return std::min(inner, static_cast<double>(pixels) - inner);
  };
  for (int64_t i = 0; i < count; ++i) {
    const int64_t offset = i * (length - pixels) / gaps;
    axis.offsets.push_back(static_cast<int32_t>(offset));
    axis.starts.push_back(static_cast<int32_t>(offset * tile / pixels));
    for (int64_t j = 0; j < pixels; ++j) total[static_cast<size_t>(offset + j)] += tent(j);
  }
  axis.starts.back() = static_cast<int32_t>(frame - tile);
  for (const int32_t offset : axis.offsets) {
    std::vector<float> weights;
    for (int64_t j = 0; j < pixels; ++j)
      weights.push_back(static_cast<float>(tent(j) / total[static_cast<size_t>(offset + j)]));
    axis.weights.push_back(std::move(weights));
  }
  return axis;
}

Tile tile_at(const TilePlan& plan, size_t row, size_t column) {
  const TileAxis &rows = plan.rows, &columns = plan.columns;
  const std::vector<float>&down = rows.weights[row], &across = columns.weights[column];
  return {rows.starts[row],
          columns.starts[column],
          rows.offsets[row],
          columns.offsets[column],
          static_cast<int32_t>(down.size()),
          static_cast<int32_t>(across.size()),
          down.data(),
          across.data()};
}

bool keeps(const Tile& tile, const uint8_t* roi, size_t width) {
  if (roi == nullptr) return true;
  const uint8_t* row = roi + tile.y * width + tile.x;
  for (int32_t y = 0; y < tile.height; ++y, row += width)
    if (std::any_of(row, row + tile.width, [](uint8_t k) { return k != 0; })) return true;
  return false;
}

void stitch(const Tile& tile, const float* values, float* stitched, size_t width) {
  float* to = stitched + tile.y * width + tile.x;
  for (int32_t y = 0; y < tile.height; ++y, to += width, values += tile.width)
    for (int32_t x = 0; x < tile.width; ++x) to[x] += values[x] * tile.down[y] * tile.across[x];
}

TilePlan plan_tiles(const Tiling& tiling, Size frame, Size tile_map) {
  if (frame.first < tiling.size.first || frame.second < tiling.size.second)
    throw input_failure(
        format("the frame is %d x %d (height x width) and the bundle sees tiles of %d x %d: "
               "expected a frame at least as large as a tile; train with a smaller --tile for "
               "small frames, or without",
               frame.first, frame.second, tiling.size.first, tiling.size.second));
  return {plan_axis(frame.first, tiling.size.first, tiling.overlap, tile_map.first),
          plan_axis(frame.second, tiling.size.second, tiling.overlap, tile_map.second)};
}

}  // namespace edgead

#include "pipeline.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "failure.h"
#include "ignore_mask.h"
#include "wording.h"

namespace edgead {

Pipeline::Pipeline(const Manifest& manifest, const Served& served)
    : input_(manifest.input),
      map_(manifest.map),
      tiling_(manifest.tiling),
      served_(served),
      stages_(served.engine->stages(served)) {}

MapView Pipeline::map() const {
  if (tiles_) return {tiles_->map.data(), tiles_->plan.map_size(), roi()};
  return {stages_->map(), served_.plan->size(), roi()};
}

const uint8_t* Pipeline::roi() const {
  const std::vector<uint8_t>& roi = tiles_ ? tiles_->roi : served_.plan->roi();
  return roi.empty() ? nullptr : roi.data();
}

const Geometry& Pipeline::prepare(const edgead_frame& frame) {
  const Geometry geometry = geometry_of(frame, input_.bit_depth);
  if (geometry_ == geometry) return *geometry_;
  geometry_.reset();  // should there be no memory
  Geometry seen = geometry;
  if (tiling_) {
    scored_.reset();  // its map goes
    tiles_.reset();
    const Size size{geometry.height, geometry.width};
    auto tiles = std::make_unique<Tiles>();
    tiles->plan = plan_tiles(*tiling_, size, map_.size);
    const Size all = tiles->plan.map_size();
    if (const Ignored* ignored = served_.ignored.get())
      tiles->roi = region_of_interest(ignored->pixels, ignored->frame_size, all);
    tiles->map.resize(static_cast<size_t>(all.first) * all.second);
    if (served_.score_plan) tiles->scored.resize(tiles->map.size());
    tiles->scratch.resize(tiles->map.size());
    tiles_ = std::move(tiles);
    seen.height = tiling_->size.first, seen.width = tiling_->size.second;
  }
  stages_->prepare(seen);
  geometry_ = geometry;
  return *geometry_;
}

double Pipeline::run(const edgead_frame& frame, Times& times) {
  const Geometry& geometry = prepare(frame);
  check_samples(frame, geometry);
  scored_.reset();
  times = {};
  const double score =
      tiling_ ? run_tiles(frame, geometry, times) : stages_->run(frame.data, times);
  if (!std::isfinite(score)) {
    const Engine& engine = *served_.engine;
    throw Failure(EDGEAD_ERROR_DEVICE,
                  engine.device + " (" + engine.version +
                      ") gave features that are not finite (score " + shown(score) +
                      "); the frame was valid, so the engine or its memory is at fault: run "
                      "edgead verify, export the bundle again if that fails");
  }
  scored_ = Size{geometry.height, geometry.width};
  return score;
}

double Pipeline::run_tiles(const edgead_frame& frame, const Geometry& geometry, Times& times) {
  Tiles& tiles = *tiles_;
  const TileAxis &rows = tiles.plan.rows, &columns = tiles.plan.columns;
  std::fill(tiles.map.begin(), tiles.map.end(), 0.0f);
  std::fill(tiles.scored.begin(), tiles.scored.end(), 0.0f);
  for (size_t i = 0; i < rows.starts.size(); ++i)
    for (size_t j = 0; j < columns.starts.size(); ++j) {
      if (!tiles.keeps(i, j)) continue;
      const char* data = static_cast<const char*>(frame.data) + rows.starts[i] * geometry.stride +
                         columns.starts[j] * pixel_bytes(geometry);
      stages_->run(data, times);
      const auto inferred = std::chrono::steady_clock::now();
      tiles.add(i, j, stages_->map(), tiles.map);
      if (!tiles.scored.empty()) tiles.add(i, j, stages_->scored(), tiles.scored);
      const std::chrono::duration<double, std::milli> spent =
          std::chrono::steady_clock::now() - inferred;
      times.anomaly_map_ms += spent.count();
    }
  for (size_t at = 0; at < tiles.roi.size(); ++at)
    if (tiles.roi[at] == 0) tiles.map[at] = 0;
  const std::vector<float>& pooled = tiles.scored.empty() ? tiles.map : tiles.scored;
  return pool(pooled.data(), roi(), pooled.size(), static_cast<Pooling>(map_.pooling), map_.top_k,
              tiles.scratch.data());
}

bool Pipeline::Tiles::keeps(size_t row, size_t column) const {
  if (roi.empty()) return true;
  const size_t width = static_cast<size_t>(plan.columns.length);
  const size_t across = plan.columns.weights[column].size();
  const uint8_t* first = &roi[plan.rows.offsets[row] * width + plan.columns.offsets[column]];
  for (size_t y = 0; y < plan.rows.weights[row].size(); ++y)
    if (std::any_of(first + y * width, first + y * width + across,
                    [](uint8_t k) { return k != 0; }))
      return true;
  return false;
}

void Pipeline::Tiles::add(size_t row, size_t column, const float* values,
                          std::vector<float>& stitched) const {
  const std::vector<float>&down = plan.rows.weights[row], &across = plan.columns.weights[column];
  const size_t width = static_cast<size_t>(plan.columns.length);
  float* to = &stitched[plan.rows.offsets[row] * width + plan.columns.offsets[column]];
  for (size_t y = 0; y < down.size(); ++y)
    for (size_t x = 0; x < across.size(); ++x)
      to[y * width + x] += values[y * across.size() + x] * down[y] * across[x];
}

edgead_frame frame_of(const Image& image) {
  const bool wide = image.sample_bytes == 2;
  edgead_frame frame{};
  frame.struct_size = sizeof frame;
  frame.data = image.samples.data();
  frame.height = image.size.first, frame.width = image.size.second;
  frame.stride = static_cast<int64_t>(image.size.second) * image.channels * image.sample_bytes;
  if (image.channels == 1) {
    frame.format = wide ? EDGEAD_GRAY16 : EDGEAD_GRAY8;
  } else {
    frame.format = wide ? EDGEAD_BGR16 : EDGEAD_BGR;
  }
  return frame;
}

}  // namespace edgead

#include "pipeline.h"

#include <algorithm>

#include "ignore_mask.h"

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

size_t Pipeline::regions(double threshold, edgead_region* regions, size_t capacity) {
  return search_.run(map(), *scored_, threshold, regions, capacity);
}

std::unique_ptr<Pipeline::Tiles> Pipeline::tiles_of(const Geometry& geometry) const {
  auto tiles = std::make_unique<Tiles>();
  tiles->plan = plan_tiles(*tiling_, {geometry.height, geometry.width}, map_.size);
  const Size all = tiles->plan.map_size();
  if (const Ignored* ignored = served_.ignored.get())
    tiles->roi = region_of_interest(ignored->pixels, ignored->frame_size, all);
  tiles->map.resize(static_cast<size_t>(all.first) * all.second);
  if (served_.score_plan) tiles->scored.resize(tiles->map.size());
  tiles->scratch.resize(tiles->map.size());
  return tiles;
}

bool Pipeline::prepare(const edgead_frame& frame) {
  const Geometry geometry = geometry_of(frame, input_.bit_depth);
  if (geometry_ == geometry) return false;
  geometry_.reset();  // should there be no memory
  forget();
  seen_ = is_converted(geometry) ? rgbx_of(geometry) : geometry;
  if (tiling_) {
    tiles_.reset();
    tiles_ = tiles_of(geometry);
  }
  converted_.resize(is_converted(geometry) ? static_cast<size_t>(geometry.height) * geometry.width
                                           : 0);
  search_.prepare(geometry.width);
  Geometry image = seen_;
  if (tiling_) image.height = tiling_->size.first, image.width = tiling_->size.second;
  stages_->prepare(image);
  geometry_ = geometry;
  return true;
}

double Pipeline::run(const edgead_frame& frame, Times& times) {
  forget();
  prepare(frame);
  const Geometry& geometry = *geometry_;
  const auto started = Clock::now();
  check_samples(frame, geometry);
  const void* data = frame.data;
  if (is_converted(geometry)) {
    rgbx_from(frame, geometry, converted_.data());
    data = converted_.data();
  }
  times = {ms_since(started), 0, 0};
  const double score = tiling_ ? run_tiles(data, times) : stages_->run(data, times);
  check_score(score, served_.engine->device, served_.engine->version);
  scored_ = Size{geometry.height, geometry.width};
  return score;
}

double Pipeline::run_tiles(const void* data, Times& times) {
  Tiles& tiles = *tiles_;
  const auto width = static_cast<size_t>(tiles.plan.columns.length);
  std::fill(tiles.map.begin(), tiles.map.end(), 0.0f);
  std::fill(tiles.scored.begin(), tiles.scored.end(), 0.0f);
  for (size_t i = 0; i < tiles.plan.rows.starts.size(); ++i)
    for (size_t j = 0; j < tiles.plan.columns.starts.size(); ++j) {
      const Tile tile = tile_at(tiles.plan, i, j);
      if (!keeps(tile, roi(), width)) continue;
      const char* at =
          static_cast<const char*>(data) + tile.top * seen_.stride + tile.left * pixel_bytes(seen_);
      stages_->run(at, times);
      const auto inferred = Clock::now();
      stitch(tile, stages_->map(), tiles.map.data(), width);
      if (!tiles.scored.empty()) stitch(tile, stages_->scored(), tiles.scored.data(), width);
      times.anomaly_map_ms += ms_since(inferred);
    }
  for (size_t at = 0; at < tiles.roi.size(); ++at)
    if (tiles.roi[at] == 0) tiles.map[at] = 0;
  const std::vector<float>& pooled = tiles.scored.empty() ? tiles.map : tiles.scored;
  return pool(pooled.data(), roi(), pooled.size(), static_cast<Pooling>(map_.pooling), map_.top_k,
              tiles.scratch.data());
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

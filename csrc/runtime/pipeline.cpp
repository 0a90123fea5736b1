#include "pipeline.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "failure.h"
#include "wording.h"

namespace edgead {
namespace {

AnomalyMapParams map_params(const Manifest& manifest, const std::vector<uint8_t>& roi) {
  AnomalyMapParams p{};
  for (const Pair& pair : manifest.pairs)
    p.level[p.levels++] = {static_cast<int32_t>(pair.channels), pair.size.first, pair.size.second,
                           pair.weight};
  p.type = Type::float32;
  p.layout = Layout::nchw;
  p.height = manifest.map.size.first, p.width = manifest.map.size.second;
  p.distance = static_cast<Distance>(manifest.map.distance);
  p.fusion = static_cast<Fusion>(manifest.map.fusion);
  p.pooling = static_cast<Pooling>(manifest.map.pooling);
  p.align_corners = manifest.map.align_corners;
  p.sigma = manifest.map.blur_sigma;
  p.has_roi = !roi.empty();
  const int64_t pixels = static_cast<int64_t>(p.height) * p.width;
  const int64_t kept =
      roi.empty() ? pixels : pixels - std::count(roi.begin(), roi.end(), uint8_t{0});
  const double share = std::floor(manifest.map.top_k * static_cast<double>(kept) + 0.5);
  p.top_count =
      static_cast<int32_t>(std::min(std::max<int64_t>(static_cast<int64_t>(share), 1), kept));
  return p;
}

double ms_between(std::chrono::steady_clock::time_point first,
                  std::chrono::steady_clock::time_point second) {
  return std::chrono::duration<double, std::milli>(second - first).count();
}

}  // namespace

MapPlan::MapPlan(const Manifest& manifest, std::vector<uint8_t> roi)
    : roi_(std::move(roi)),
      params_(map_params(manifest, roi_)),
      memory_(anomaly_map_plan_bytes(params_)),
      plan_(anomaly_map_plan(params_, roi_.empty() ? nullptr : roi_.data(), memory_.data())) {}

Pipeline::Filter::Filter(const PreprocessParams& given)
    : params(given),
      start(given.out_height + given.out_width),
      count(start.size()),
      weight(static_cast<size_t>(given.out_height) *
                 preprocess_taps(given.height, given.out_height) +
             static_cast<size_t>(given.out_width) * preprocess_taps(given.width, given.out_width)),
      vertical(preprocess_axis(given.height, given.out_height, start.data(), count.data(),
                               weight.data())),
      horizontal(
          preprocess_axis(given.width, given.out_width, start.data() + given.out_height,
                          count.data() + given.out_height,
                          weight.data() + static_cast<size_t>(given.out_height) * vertical.taps)),
      workspace(preprocess_workspace_bytes(given)) {}

Pipeline::Pipeline(const Manifest& manifest, std::shared_ptr<Engine> engine,
                   std::shared_ptr<const MapPlan> plan)
    : input_(manifest.input),
      kernels_(*all_kernels().front()),
      engine_(std::move(engine)),
      plan_(std::move(plan)),
      session_(engine_->session()),
      workspace_(anomaly_map_workspace_bytes(plan_->plan().params)),
      map_(static_cast<size_t>(plan_->size().first) * plan_->size().second) {
  if (manifest.ignore) mask_size_ = manifest.ignore->frame_size;
}

const Geometry& Pipeline::prepare(const edgead_frame& frame) {
  const Geometry geometry = geometry_of(frame, input_.bit_depth);
  if (geometry_ == geometry) return *geometry_;
  if (mask_size_ && *mask_size_ != Size{geometry.height, geometry.width})
    throw input_failure(
        format("the frame is %d x %d (height x width) and the ignore mask of the "
               "bundle was drawn on %d x %d: draw one for this frame size with "
               "edgead mask, or use the bundle without a mask",
               geometry.height, geometry.width, mask_size_->first, mask_size_->second));
  geometry_.reset();  // should there be no memory
  filter_ = std::make_unique<Filter>(preprocess_params(geometry, input_));
  geometry_ = geometry;
  return *geometry_;
}

double Pipeline::run(const edgead_frame& frame, Times& times) {
  using Clock = std::chrono::steady_clock;
  const auto started = Clock::now();
  const Geometry& geometry = prepare(frame);
  check_samples(frame, geometry);
  scored_.reset();
  kernels_.preprocess(filter_->params, filter_->vertical, filter_->horizontal, frame.data,
                      session_->image, filter_->workspace.data());
  const auto preprocessed = Clock::now();
  session_->infer();
  const auto inferred = Clock::now();
  float score = 0;
  kernels_.anomaly_map(plan_->plan(), session_->reference.data(), session_->restored.data(), 1,
                       map_.data(), &score, workspace_.data());
  const auto finished = Clock::now();
  times = {ms_between(started, preprocessed), ms_between(preprocessed, inferred),
           ms_between(inferred, finished)};
  if (!std::isfinite(score))
    throw Failure(EDGEAD_ERROR_DEVICE,
                  engine_->device + " (" + engine_->version +
                      ") gave features that are not finite (score " + shown(score) +
                      "); the frame was valid, so the engine or its memory is at fault: run "
                      "edgead verify, export the bundle again if that fails");
  scored_ = Size{geometry.height, geometry.width};
  return score;
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

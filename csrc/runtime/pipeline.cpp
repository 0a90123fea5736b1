#include "pipeline.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "failure.h"
#include "wording.h"

namespace edgead {
namespace {

AnomalyMapParams map_params(const Map& map, const std::vector<AnomalyMapLevel>& levels,
                            const std::vector<uint8_t>& roi) {
  AnomalyMapParams p{};
  for (const AnomalyMapLevel& level : levels) p.level[p.levels++] = level;
  p.type = Type::float32;
  p.layout = Layout::nchw;
  p.height = map.size.first, p.width = map.size.second;
  p.distance = static_cast<Distance>(map.distance);
  p.fusion = static_cast<Fusion>(map.fusion);
  p.pooling = static_cast<Pooling>(map.pooling);
  p.align_corners = map.align_corners;
  p.sigma = map.blur_sigma;
  p.has_roi = !roi.empty();
  const int64_t pixels = static_cast<int64_t>(p.height) * p.width;
  const int64_t kept =
      roi.empty() ? pixels : pixels - std::count(roi.begin(), roi.end(), uint8_t{0});
  const double share = std::floor(map.top_k * static_cast<double>(kept) + 0.5);
  p.top_count =
      static_cast<int32_t>(std::min(std::max<int64_t>(static_cast<int64_t>(share), 1), kept));
  return p;
}

size_t workspace_bytes(const Served& served) {
  const size_t bytes = anomaly_map_workspace_bytes(served.plan->plan().params);
  if (!served.score_plan) return bytes;
  return std::max(bytes, anomaly_map_workspace_bytes(served.score_plan->plan().params));
}

double ms_between(std::chrono::steady_clock::time_point first,
                  std::chrono::steady_clock::time_point second) {
  return std::chrono::duration<double, std::milli>(second - first).count();
}

}  // namespace

std::vector<AnomalyMapLevel> levels_of(const Manifest& manifest) {
  std::vector<AnomalyMapLevel> levels;
  const std::vector<double> weights = manifest.weights();
  const auto add = [&](int64_t channels, Size size) {
    levels.push_back(
        {static_cast<int32_t>(channels), size.first, size.second, weights[levels.size()]});
  };
  for (const Pair& pair : manifest.pairs) add(pair.channels, pair.size);
  for (const Signal& signal : manifest.signals())
    if (signal.shown) add(1, signal.size);
  return levels;
}

MapPlan::MapPlan(const Map& map, const std::vector<AnomalyMapLevel>& levels,
                 std::vector<uint8_t> roi)
    : roi_(std::move(roi)),
      params_(map_params(map, levels, roi_)),
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

Pipeline::Pipeline(const Input& input, const Served& served)
    : input_(input),
      kernels_(*all_kernels().front()),
      served_(served),
      session_(served_.engine->session()),
      signals_(served_.signals),
      reference_(session_->reference),
      restored_(session_->restored),
      workspace_(workspace_bytes(served_)),
      map_(static_cast<size_t>(plan().size().first) * plan().size().second),
      score_map_(served_.score_plan ? map_.size() : 0) {
  for (const void* distance : signals_.shown())
    reference_.push_back(distance), restored_.push_back(signals_.zeros());
}

const Geometry& Pipeline::prepare(const edgead_frame& frame) {
  const Geometry geometry = geometry_of(frame, input_.bit_depth);
  if (geometry_ == geometry) return *geometry_;
  geometry_.reset();  // should there be no memory
  filter_ = std::make_unique<Filter>(preprocess_params(geometry, input_));
  geometry_ = geometry;
  return *geometry_;
}

float Pipeline::map_and_score() {
  float score = 0;
  signals_.run(session_->features);
  kernels_.anomaly_map(plan().plan(), reference_.data(), restored_.data(), 1, map_.data(), &score,
                       workspace_.data());
  if (!served_.score_plan) return score;
  const void *scored = signals_.scored(), *zeros = signals_.zeros();
  kernels_.anomaly_map(served_.score_plan->plan(), &scored, &zeros, 1, score_map_.data(), &score,
                       workspace_.data());
  return score;
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
  const float score = map_and_score();
  const auto finished = Clock::now();
  times = {ms_between(started, preprocessed), ms_between(preprocessed, inferred),
           ms_between(inferred, finished)};
  if (!std::isfinite(score))
    throw Failure(EDGEAD_ERROR_DEVICE,
                  served_.engine->device + " (" + served_.engine->version +
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

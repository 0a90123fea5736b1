#include "stages.h"

#include <algorithm>
#include <cmath>

#include "arguments.h"
#include "failure.h"

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
  p.top_count = static_cast<int32_t>(anomaly_map_top_count(map.top_k, kept));
  refuse(problem_of(p));
  return p;
}

size_t workspace_bytes(const Served& served) {
  const size_t bytes = anomaly_map_workspace_bytes(served.plan->plan().params);
  if (!served.score_plan) return bytes;
  return std::max(bytes, anomaly_map_workspace_bytes(served.score_plan->plan().params));
}

}  // namespace

MapPlan::MapPlan(const Map& map, const std::vector<AnomalyMapLevel>& levels,
                 std::vector<uint8_t> roi)
    : roi_(std::move(roi)),
      params_(map_params(map, levels, roi_)),
      memory_(anomaly_map_plan_bytes(params_)),
      plan_(anomaly_map_plan(params_, roi_.empty() ? nullptr : roi_.data(), memory_.data())) {}

Filter::Filter(const PreprocessParams& given)
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
                          weight.data() + static_cast<size_t>(given.out_height) * vertical.taps)) {}

namespace {

class CpuStages : public Stages {
 public:
  CpuStages(const Input& input, const Served& served, const CpuEngine& engine,
            std::unique_ptr<EngineSession> session)
      : input_(input),
        kernels_(*all_kernels().front()),
        served_(served),
        session_(std::move(session)),
        signals_(engine.signals),
        reference_(session_->reference),
        restored_(session_->restored),
        workspace_(workspace_bytes(served_)),
        map_(static_cast<size_t>(served_.plan->size().first) * served_.plan->size().second),
        score_map_(served_.score_plan ? map_.size() : 0) {
    for (const void* distance : signals_.shown())
      reference_.push_back(distance), restored_.push_back(signals_.zeros());
  }

  void prepare(const Geometry& geometry) override {
    const PreprocessParams params = preprocess_params(geometry, input_);
    refuse(problem_of(params));
    prepared_ = std::make_unique<Prepared>(params);
  }

  float run(const void* data, Times& times) override {
    const auto started = Clock::now();
    const Filter& filter = prepared_->filter;
    kernels_.preprocess(filter.params, filter.vertical, filter.horizontal, data, session_->image,
                        prepared_->workspace.data());
    const auto preprocessed = Clock::now();
    session_->infer();
    const auto inferred = Clock::now();
    const float score = map_and_score();
    times.preprocess_ms += ms_between(started, preprocessed);
    times.engine_ms += ms_between(preprocessed, inferred);
    times.anomaly_map_ms += ms_since(inferred);
    return score;
  }

  const float* map() const override { return map_.data(); }
  const float* scored() const override { return score_map_.empty() ? map() : score_map_.data(); }

 private:
  struct Prepared {
    explicit Prepared(const PreprocessParams& params)
        : filter(params), workspace(preprocess_workspace_bytes(params)) {}
    Filter filter;
    Aligned workspace;
  };

  // From features to the map, and to the score.
  float map_and_score() {
    float score = 0;
    signals_.run(session_->features);
    kernels_.anomaly_map(served_.plan->plan(), reference_.data(), restored_.data(), 1, map_.data(),
                         &score, workspace_.data());
    if (!served_.score_plan) return score;
    const void *scored = signals_.scored(), *zeros = signals_.zeros();
    kernels_.anomaly_map(served_.score_plan->plan(), &scored, &zeros, 1, score_map_.data(), &score,
                         workspace_.data());
    return score;
  }

  Input input_;
  const Kernels& kernels_;
  Served served_;
  std::unique_ptr<EngineSession> session_;
  Signals signals_;
  std::vector<const void*> reference_, restored_;  // of each level of the map
  std::unique_ptr<Prepared> prepared_;
  Aligned workspace_;
  std::vector<float> map_, score_map_;
};

}  // namespace

std::string CpuEngine::kernels() const { return all_kernels().front()->name; }

std::unique_ptr<Stages> CpuEngine::stages(const Served& served) {
  return std::make_unique<CpuStages>(input, served, *this, session());
}

}  // namespace edgead

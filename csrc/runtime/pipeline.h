// preprocess -> engine -> anomaly_map of whole frames, with the buffers of one thread.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "aligned.h"
#include "engine.h"
#include "frame.h"
#include "kernels.h"

namespace edgead {

struct Times {
  double preprocess_ms, engine_ms, anomaly_map_ms;
};

// What all sessions of a bundle share: the matrices of the map, and which pixels count.
class MapPlan {
 public:
  MapPlan(const Manifest& manifest, std::vector<uint8_t> roi);

  const AnomalyMapPlan& plan() const { return plan_; }
  const std::vector<uint8_t>& roi() const { return roi_; }  // empty: all
  Size size() const { return {plan_.params.height, plan_.params.width}; }

 private:
  std::vector<uint8_t> roi_;
  AnomalyMapParams params_;
  Aligned memory_;
  AnomalyMapPlan plan_;
};

class Pipeline {
 public:
  Pipeline(const Manifest& manifest, std::shared_ptr<Engine> engine,
           std::shared_ptr<const MapPlan> plan);

  // Makes ready for frames like this one; takes memory where the last one was of another kind.
  const Geometry& prepare(const edgead_frame& frame);
  // The score of a frame; the map is in map(). Takes no memory but what prepare() takes.
  double run(const edgead_frame& frame, Times& times);

  const float* map() const { return map_.data(); }
  const MapPlan& plan() const { return *plan_; }
  // Of the last frame that was scored: (height, width).
  const std::optional<Size>& scored() const { return scored_; }

 private:
  struct Filter {
    explicit Filter(const PreprocessParams& params);
    PreprocessParams params;
    std::vector<int32_t> start, count;
    std::vector<uint16_t> weight;
    PreprocessAxis vertical, horizontal;
    Aligned workspace;
  };

  Input input_;
  std::optional<Size> mask_size_;
  const Kernels& kernels_;
  std::shared_ptr<Engine> engine_;
  std::shared_ptr<const MapPlan> plan_;
  std::unique_ptr<EngineSession> session_;
  std::optional<Geometry> geometry_;
  std::unique_ptr<Filter> filter_;
  Aligned workspace_;
  std::vector<float> map_;
  std::optional<Size> scored_;
};

// A golden frame as one of the C API.
edgead_frame frame_of(const Image& image);

}  // namespace edgead

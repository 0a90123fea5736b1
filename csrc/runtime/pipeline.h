// preprocess -> engine -> anomaly_map of whole frames, with the buffers of one thread.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "aligned.h"
#include "engine.h"
#include "frame.h"
#include "kernels.h"
#include "signals.h"

namespace edgead {

struct Times {
  double preprocess_ms, engine_ms, anomaly_map_ms;
};

// The matrices of a map of pairs, and which pixels count.
class MapPlan {
 public:
  MapPlan(const Map& map, const std::vector<AnomalyMapLevel>& levels, std::vector<uint8_t> roi);

  const AnomalyMapPlan& plan() const { return plan_; }
  const std::vector<uint8_t>& roi() const { return roi_; }  // empty: all
  Size size() const { return {plan_.params.height, plan_.params.width}; }

 private:
  std::vector<uint8_t> roi_;
  AnomalyMapParams params_;
  Aligned memory_;
  AnomalyMapPlan plan_;
};

// The pairs of a map: those of the graph, then the distances that it shows, as pairs with 0.
std::vector<AnomalyMapLevel> levels_of(const Manifest& manifest);

// What all sessions of a bundle share.
struct Served {
  std::shared_ptr<Engine> engine;
  std::shared_ptr<const OpenedSignals> signals;
  std::shared_ptr<const MapPlan> plan;
  std::shared_ptr<const MapPlan> score_plan;  // of what the score is pooled from; null: the map
};

class Pipeline {
 public:
  Pipeline(const Input& input, const Served& served);

  // Makes ready for frames like this one; takes memory where the last one was of another kind.
  const Geometry& prepare(const edgead_frame& frame);
  // The score of a frame; the map is in map(). Takes no memory but what prepare() takes.
  double run(const edgead_frame& frame, Times& times);

  const float* map() const { return map_.data(); }
  const MapPlan& plan() const { return *served_.plan; }
  // Of the last frame that was scored: (height, width).
  const std::optional<Size>& scored() const { return scored_; }

 private:
  // From features to the map, and to the score.
  float map_and_score();

  struct Filter {
    explicit Filter(const PreprocessParams& params);
    PreprocessParams params;
    std::vector<int32_t> start, count;
    std::vector<uint16_t> weight;
    PreprocessAxis vertical, horizontal;
    Aligned workspace;
  };

  Input input_;
  const Kernels& kernels_;
  Served served_;
  std::unique_ptr<EngineSession> session_;
  Signals signals_;
  std::vector<const void*> reference_, restored_;  // of each level of the map
  std::optional<Geometry> geometry_;
  std::unique_ptr<Filter> filter_;
  Aligned workspace_;
  std::vector<float> map_, score_map_;
  std::optional<Size> scored_;
};

// A golden frame as one of the C API.
edgead_frame frame_of(const Image& image);

}  // namespace edgead

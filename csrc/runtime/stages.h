// preprocess -> engine -> anomaly_map of one image: a whole frame or a tile of it.
#pragma once
#include <memory>
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

// The ignore mask of frames that are seen in tiles.
struct Ignored {
  std::vector<uint8_t> pixels;  // of frame_size
  Size frame_size;
};

// What all sessions of a bundle share.
struct Served {
  std::shared_ptr<Engine> engine;
  std::shared_ptr<const OpenedSignals> signals;
  std::shared_ptr<const MapPlan> plan;
  std::shared_ptr<const MapPlan> score_plan;  // of what the score is pooled from; null: the map
  std::shared_ptr<const Ignored> ignored;     // null without tiles or without a mask
};

// The three stages and the buffers of one session.
class Stages {
 public:
  Stages(const Input& input, const Served& served);

  // Makes ready for images like this one; takes memory.
  void prepare(const Geometry& geometry);
  // The score of an image, whose first sample is at `data`; adds to `times`. Takes no memory.
  float run(const void* data, Times& times);

  const float* map() const { return map_.data(); }
  // What the score is pooled from, of the size of the map.
  const float* scored() const { return score_map_.empty() ? map() : score_map_.data(); }

 private:
  struct Filter {
    explicit Filter(const PreprocessParams& params);
    PreprocessParams params;
    std::vector<int32_t> start, count;
    std::vector<uint16_t> weight;
    PreprocessAxis vertical, horizontal;
    Aligned workspace;
  };

  // From features to the map, and to the score.
  float map_and_score();

  Input input_;
  const Kernels& kernels_;
  Served served_;
  std::unique_ptr<EngineSession> session_;
  Signals signals_;
  std::vector<const void*> reference_, restored_;  // of each level of the map
  std::unique_ptr<Filter> filter_;
  Aligned workspace_;
  std::vector<float> map_, score_map_;
};

}  // namespace edgead

// preprocess -> engine -> anomaly_map of one image: a whole frame or a tile of it.
#pragma once
#include <chrono>
#include <memory>
#include <vector>

#include "aligned.h"
#include "engine.h"
#include "frame.h"
#include "kernels.h"
#include "signals.h"

namespace edgead {

using Clock = std::chrono::steady_clock;

inline double ms_between(Clock::time_point first, Clock::time_point second) {
  return std::chrono::duration<double, std::milli>(second - first).count();
}
inline double ms_since(Clock::time_point started) { return ms_between(started, Clock::now()); }

struct Times {
  double preprocess_ms, engine_ms, anomaly_map_ms;
};

// The matrices of a map of pairs, and which pixels count.
class MapPlan {
 public:
  MapPlan(const Map& map, const std::vector<AnomalyMapLevel>& levels, std::vector<uint8_t> roi);

  const AnomalyMapPlan& plan() const { return plan_; }
  const char* memory() const { return memory_.data(); }     // anomaly_map_plan_bytes(), of the plan
  const std::vector<uint8_t>& roi() const { return roi_; }  // empty: all
  Size size() const { return {plan_.params.height, plan_.params.width}; }

 private:
  std::vector<uint8_t> roi_;
  AnomalyMapParams params_;
  Aligned memory_;
  AnomalyMapPlan plan_;
};

// The ignore mask of frames that are seen in tiles.
struct Ignored {
  std::vector<uint8_t> pixels;  // of frame_size
  Size frame_size;
};

// What all sessions of a bundle share.
struct Served {
  std::shared_ptr<Engine> engine;
  std::shared_ptr<const MapPlan> plan;
  std::shared_ptr<const MapPlan> score_plan;  // of what the score is pooled from; null: the map
  std::shared_ptr<const Ignored> ignored;     // null without tiles or without a mask
};

// The three stages and the buffers of one session.
class Stages {
 public:
  virtual ~Stages() = default;
  // Makes ready for images like this one; takes memory.
  virtual void prepare(const Geometry& geometry) = 0;
  // The score of an image, whose first sample is at `data`; adds to `times`. Takes no memory.
  virtual float run(const void* data, Times& times) = 0;

  virtual const float* map() const = 0;
  // What the score is pooled from, of the size of the map.
  virtual const float* scored() const = 0;
};

// The filter of preprocess for images of one kind.
struct Filter {
  explicit Filter(const PreprocessParams& params);
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  PreprocessParams params;
  std::vector<int32_t> start, count;
  std::vector<uint16_t> weight;
  PreprocessAxis vertical, horizontal;
};

// An engine that runs the graph on the CPU, where the kernels are too.
class CpuEngine : public Engine {
 public:
  std::unique_ptr<Stages> stages(const Served& served) override;
  std::string kernels() const override;
  virtual std::unique_ptr<EngineSession> session() = 0;

  Input input;
  std::shared_ptr<const OpenedSignals> signals;
};

}  // namespace edgead

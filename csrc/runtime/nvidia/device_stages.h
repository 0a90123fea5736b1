// The three stages on the GPU: a frame goes up, everything runs on one stream as one CUDA graph,
// the map and the score come back; edgead/nvidia/stages.py and pipeline.py.
#pragma once
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "held_signals.h"
#include "loaded_plan.h"
#include "stages.h"

namespace edgead {

// What all sessions of a detector share on the device.
struct OnGpu {
  std::shared_ptr<const Device> device;
  std::shared_ptr<const LoadedPlan> plan;
  std::shared_ptr<const HeldSignals> held;
  Input input;
  std::vector<std::string> reference, restored;  // names of each pair
  std::vector<std::string> features;             // of each signal
  bool tiled;                                    // the host pools the map that the score is of
};

// Whether frames run as CUDA graphs: settled once, by the session that qualifies the engine. What
// cannot be captured (a DLA) runs step by step.
class Capture {
 public:
  // Empty while nothing is against it.
  std::string refusal() const;
  bool is_settled() const;
  void settle(const std::string& refusal);

 private:
  mutable std::mutex mutex_;
  bool settled_ = false;
  std::string refusal_;
};

std::unique_ptr<Stages> device_stages(std::shared_ptr<const OnGpu> gpu, const Served& served,
                                      std::shared_ptr<Capture> capture);

}  // namespace edgead

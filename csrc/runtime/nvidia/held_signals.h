// What features are compared with, on the device, once for all sessions; edgead/nvidia/memories.py,
// whitenings.py and distances.py.
#pragma once
#include <memory>
#include <vector>

#include "device.h"
#include "raise.h"
#include "signals.h"

namespace edgead {

// A memory or a whitening on the device.
class HeldSignal {
 public:
  virtual ~HeldSignal() = default;
  // Enqueues the distances of a frame's features to `distance` (null: they are not shown) and,
  // where they count in the score, to `sum`; `add`: to what that holds.
  virtual void enqueue(const void* features, float* distance, float* sum, bool add, void* workspace,
                       const Stream& stream) const = 0;

  size_t workspace_bytes = 0;  // of the workspace, which no other stream uses meanwhile
  size_t positions = 0;
  bool shown = false, scored = false;
};

struct HeldSignals {
  std::vector<std::unique_ptr<const HeldSignal>> each;  // in manifest's order
  OwnLevels own_levels;                                 // as in OpenedSignals
};

// Inside of Device::run. Failure (device): more than is free; says how many features fit.
std::shared_ptr<const HeldSignals> hold_signals(const BundleFiles& bundle, const Device& device);

// The distances of one session's frames, as pairs of the map: (distance, 0).
class DeviceDistances {
 public:
  explicit DeviceDistances(std::shared_ptr<const HeldSignals> held);

  // features: on the device, of each signal.
  void enqueue(const std::vector<const void*>& features, const Stream& stream) const;

  std::vector<const void*> shown() const;
  const void* zeros() const { return zeros_ ? zeros_->data() : nullptr; }
  const void* sum() const { return sum_ ? sum_->data() : nullptr; }  // null: the map is pooled

 private:
  std::shared_ptr<const HeldSignals> held_;
  std::vector<std::unique_ptr<Buffer>> distances_;  // null: not shown
  std::unique_ptr<Buffer> sum_, zeros_, workspace_;
  Raise raise_{};
};

}  // namespace edgead

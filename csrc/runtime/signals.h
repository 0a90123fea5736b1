// What features of a frame are compared with: memories and whitenings, opened once for all
// sessions; edgead/engine/signals.py.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "nearest.h"
#include "storage.h"
#include "whiten.h"

namespace edgead {

// A memory of the manifest, read and checked, for any engine; edgead/engine/memories.py.
struct ReadMemory {
  Array rows;                         // float32 or float16
  std::vector<float> values;          // of the rows
  NearestParams params;               // of the search
  std::vector<float> counts;          // [positions], what a distance counts in the map
  std::vector<float> scored, shares;  // the same in the score; of the features; empty: nothing
};

// A whitening of the manifest, the same; edgead/engine/whitening.py.
struct ReadWhitening {
  WhitenParams params;
  size_t offset;  // values before the first channel that counts
  std::vector<float> mean, factors;
  std::vector<float> centre;          // [channels], what they are taken less; empty: nothing
  std::vector<float> counts, scored;  // [positions], as of a memory; empty: nothing
};

// Failure for a file that is not the array which the manifest describes.
ReadMemory read_memory(const Bundle& bundle, const Memory& entry);
ReadWhitening read_whitening(const Bundle& bundle, const Whitening& entry);

// The distances of one session's frames to one signal.
class SignalSession {
 public:
  virtual ~SignalSession() = default;
  // features [channels, height, width] -> distance [height, width]. Takes no memory.
  virtual void run(const float* features, float* distance) = 0;
};

class OpenedSignal {
 public:
  virtual ~OpenedSignal() = default;
  virtual std::unique_ptr<SignalSession> session() const = 0;

  size_t positions = 0;
  std::vector<float> shown;   // [positions], what a distance counts in the map; empty: nothing
  std::vector<float> scored;  // the same in the score
};

// On the CPU.
std::unique_ptr<OpenedSignal> open_memory(ReadMemory memory);
std::unique_ptr<OpenedSignal> open_whitening(ReadWhitening whitening);

using OpenedSignals = std::vector<std::unique_ptr<const OpenedSignal>>;  // in manifest's order
std::shared_ptr<const OpenedSignals> open_signals(const Bundle& bundle);

// The distances of one session's frames to all of them.
class Signals {
 public:
  explicit Signals(std::shared_ptr<const OpenedSignals> opened);

  // features: of each signal. Fills what the pointers below point at.
  void run(const std::vector<const void*>& features);

  const std::vector<const void*>& shown() const { return shown_; }  // as the map counts them
  const void* scored() const { return scored_.data(); }  // the sum that the score is pooled from
  const void* zeros() const { return zeros_.data(); }    // as many as the most positions

 private:
  struct Part {
    std::unique_ptr<SignalSession> session;
    std::vector<float> distance, counted;
  };

  std::shared_ptr<const OpenedSignals> opened_;
  std::vector<Part> parts_;
  std::vector<const void*> shown_;
  std::vector<float> scored_, zeros_;
};

}  // namespace edgead

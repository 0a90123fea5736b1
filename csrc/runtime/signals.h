// What features of a frame are compared with: memories and whitenings, opened once for all
// sessions. Python's edgead/engine/signals.py opens the same.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "files.h"
#include "manifest.h"
#include "nearest.h"
#include "whiten.h"

namespace edgead {

// A memory of the manifest, read and checked, for any engine.
struct ReadMemory {
  Array rows;                         // float32 or float16
  std::vector<float> values;          // of the rows
  NearestParams params;               // of the search
  Size size;                          // of features and distances
  std::vector<float> counts;          // [positions], what a distance counts in the map
  std::vector<float> scored, shares;  // the same in the score; of the features; empty: nothing
};

// A whitening of the manifest, the same.
struct ReadWhitening {
  WhitenParams params;
  Size size;         // of features and distances
  int64_t channels;  // of the features
  size_t offset;     // values before the first of them that counts
  std::vector<float> mean, factors;
  std::vector<float> centre;          // [channels], what they are taken less; empty: nothing
  std::vector<float> counts, scored;  // [positions], as of a memory; empty: nothing
};

// Failure (device) for a memory of `rows` that take `each` bytes, more than the `free` ones at
// `where`, for people; says how many fit, and what may be used `instead`, where there is something.
void check_room(const std::string& where, int64_t free, int64_t rows, int64_t each,
                const std::string& instead);

// Failure for a file that is not the array which the manifest describes.
ReadMemory read_memory(const BundleFiles& bundle, const Memory& entry);
ReadWhitening read_whitening(const BundleFiles& bundle, const Whitening& entry);

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

  size_t positions() const { return static_cast<size_t>(size.first) * size.second; }

  int64_t channels = 0;       // of the features
  Size size{};                // of them, and of the distance
  std::vector<float> shown;   // [positions], what a distance counts in the map; empty: nothing
  std::vector<float> scored;  // the same in the score
};

// On the CPU.
std::unique_ptr<OpenedSignal> open_memory(ReadMemory memory);
std::unique_ptr<OpenedSignal> open_whitening(ReadWhitening whitening);

struct OpenedSignals {
  std::vector<std::unique_ptr<const OpenedSignal>> each;  // in manifest's order
  OwnLevels own_levels;  // between which frames are raised, see raise.h; none: they stay
};
// check: is shown each memory before its index is made, and throws where that takes too much.
std::shared_ptr<const OpenedSignals> open_signals(
    const BundleFiles& bundle, const std::function<void(const ReadMemory&)>& check = {});

// The distances of one session's frames to all of them.
class Signals {
 public:
  explicit Signals(std::shared_ptr<const OpenedSignals> opened);

  // features: of each signal. Fills what the pointers below point at.
  void run(const std::vector<const void*>& features);

  const std::vector<std::unique_ptr<const OpenedSignal>>& opened() const { return opened_->each; }
  const std::vector<const void*>& shown() const { return shown_; }  // as the map counts them
  // The sum that the score is pooled from; null: it is pooled from the map.
  const void* scored() const { return scored_.empty() ? nullptr : scored_.data(); }
  const void* zeros() const { return zeros_.data(); }  // as many as the most positions

 private:
  struct Part {
    std::unique_ptr<SignalSession> session;
    std::vector<float> distance, counted;
  };

  void raise();  // see raise.h

  std::shared_ptr<const OpenedSignals> opened_;
  std::vector<Part> parts_;
  std::vector<const void*> shown_;
  std::vector<float> scored_, zeros_;
};

}  // namespace edgead

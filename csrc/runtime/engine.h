// What the runtime asks of an engine, which runs a bundle's graph on a device.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "storage.h"

namespace edgead {

// One thread's buffers.
class EngineSession {
 public:
  virtual ~EngineSession() = default;
  // Runs the graph on `image`; fills the features. Failure when the device fails.
  virtual void infer() = 0;

  float* image = nullptr;                        // [3, height, width]
  std::vector<const void*> reference, restored;  // of each pair, [channels, height, width]
  std::vector<const void*> features;             // of each signal, the same
};

// A graph compiled for a device. Sessions may run in different threads, and keep it alive.
class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::unique_ptr<EngineSession> session() = 0;

  std::string device;     // "CPU: AMD EPYC"
  std::string precision;  // what the graph computes in
  std::string version;    // name and version of the library that runs the graph
};

// What may be asked of an engine.
struct Asked {
  int32_t threads = 0;    // of one inference; 0: the engine's choice
  std::string precision;  // empty: the engine's own
};

std::unique_ptr<Engine> open_openvino(const Bundle& bundle, const Asked& asked);

}  // namespace edgead

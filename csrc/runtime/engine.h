// What the runtime asks of an engine, which runs a bundle's graph on a device.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "storage.h"

namespace edgead {

class Stages;
struct Served;

// A graph compiled for a device. Stages may run in different threads, and keep it alive.
class Engine {
 public:
  virtual ~Engine() = default;
  // What one thread needs from an image to its map and score; of `served` this engine is a part.
  virtual std::unique_ptr<Stages> stages(const Served& served) = 0;

  std::string device;     // "CPU: AMD EPYC"
  std::string precision;  // what the graph computes in
  std::string version;    // name and version of the library that runs the graph
  std::string kernels;    // "avx512", .., "cuda"
};

// One thread's buffers of a graph on the CPU.
class EngineSession {
 public:
  virtual ~EngineSession() = default;
  // Runs the graph on `image`; fills the features. Failure when the device fails.
  virtual void infer() = 0;

  float* image = nullptr;                        // [3, height, width]
  std::vector<const void*> reference, restored;  // of each pair, [channels, height, width]
  std::vector<const void*> features;             // of each signal, the same
};

// threads: of one inference; 0: the engine's choice.
std::unique_ptr<Engine> open_openvino(const Bundle& bundle, int32_t threads);

}  // namespace edgead

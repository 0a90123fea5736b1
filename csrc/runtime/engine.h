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
  // "avx512", .., "cuda", and what is against their full speed; settled once stages were used.
  virtual std::string kernels() const = 0;

  std::string device;     // "CPU: AMD EPYC"
  std::string precision;  // what the graph computes in
  std::string version;    // name and version of the library that runs the graph
  std::string chosen;     // why this device, where it was not named; else empty
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

// What may be asked of an engine.
struct Asked {
  int32_t threads = 0;    // of one inference; 0: the engine's choice
  std::string precision;  // empty: the engine's own
  std::string device;     // "cpu", "gpu" or "auto"
};

// The engines that this library was built with, "openvino"; null after the last one.
const char* engine_name(size_t index);
// Failure for one that cannot be loaded here (device), and for none (input).
void check_engine(size_t index);

// Words may be null, for the defaults. Failure (input) for a number or a word that is not known.
Asked asked_of(int32_t threads, const char* precision, const char* device);

// The engine of the device that was asked for, with what was learnt. Failure (device) where this
// library or machine cannot.
std::unique_ptr<Engine> open_engine(const Bundle& bundle, const Asked& asked);

#ifdef EDGEAD_OPENVINO
std::unique_ptr<Engine> open_openvino(const Bundle& bundle, const Asked& asked);
void check_openvino();  // that its library is here
#endif
#ifdef EDGEAD_TENSORRT
std::unique_ptr<Engine> open_tensorrt(const Bundle& bundle, const Asked& asked);
// What keeps "auto" from the GPU, in a sentence; empty where nothing does.
std::string obstacle_of_gpu(const Bundle& bundle, const Asked& asked);
#endif

}  // namespace edgead

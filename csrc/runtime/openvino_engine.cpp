// OpenVINO on the CPU, seen from libedgead, which is not linked with it.
#include <future>
#include <map>

#include "engine.h"
#include "failure.h"
#include "openvino_library.h"
#include "processor.h"
#include "stages.h"
#include "wording.h"

namespace edgead {
namespace {

class OpenVINOSession : public EngineSession {
 public:
  OpenVINOSession(const OpenVINOLibrary& library, OpenVINOGraph* graph, const Manifest& manifest)
      : library_(library) {
    const std::vector<TensorShape> tensors = manifest.tensors();
    std::vector<float*> memory(tensors.size());
    Outcome outcome;
    request_ = library.request(graph, memory.data(), &outcome);
    check_outcome(outcome);
    std::map<std::string, const float*> outputs;
    for (size_t at = 1; at < tensors.size(); ++at) outputs[tensors[at].name] = memory[at];
    image = memory[0];
    for (const Pair& pair : manifest.pairs) {
      reference.push_back(outputs.at(pair.reference));
      restored.push_back(outputs.at(pair.restored));
    }
    for (const Signal& signal : manifest.signals()) features.push_back(outputs.at(signal.features));
  }
  ~OpenVINOSession() override { library_.end(request_); }

  void infer() override {
    Outcome outcome;
    library_.infer(request_, &outcome);
    check_outcome(outcome);
  }

 private:
  const OpenVINOLibrary& library_;
  OpenVINORequest* request_;
};

class OpenVINOEngine : public CpuEngine {
 public:
  OpenVINOEngine(const Bundle& bundle, const Asked& asked)
      : library_(openvino_library()), manifest_(bundle.manifest()) {
    precision = asked.precision.empty() ? "float32" : asked.precision;
    const std::string& file = manifest_.model_of(precision);
    const std::string onnx = bundle.read(file), where = "bundle " + bundle.path() + ": ";
    const std::vector<TensorShape> tensors = manifest_.tensors();
    std::vector<Port> ports;
    for (const TensorShape& tensor : tensors) {
      ports.push_back({tensor.name.c_str(), {}});
      std::copy(tensor.shape.begin(), tensor.shape.end(), ports.back().shape);
    }
    const int32_t threads = asked.threads > 0 ? asked.threads : quota_of_cores();
    const GraphAsked graph{where.c_str(),     file.c_str(), onnx.data(),  onnx.size(),
                           precision.c_str(), threads,      ports.data(), ports.size()};
    Outcome outcome;
    graph_ = library_.open(&graph, &outcome);
    check_outcome(outcome);
    device = library_.device(graph_);
    version = library_.version(graph_);
  }
  ~OpenVINOEngine() override { library_.close(graph_); }

  std::unique_ptr<EngineSession> session() override {
    return std::make_unique<OpenVINOSession>(library_, graph_, manifest_);
  }

 private:
  const OpenVINOLibrary& library_;
  Manifest manifest_;
  OpenVINOGraph* graph_;
};

}  // namespace

const OpenVINOLibrary& checked_library(const OpenVINOLibrary& found, const char* where) {
  if (found.interface != kOpenVINOInterface || std::string(found.edgead_version) != EDGEAD_VERSION)
    throw device_failure(
        format("%s is of edgead %.40s (interface %u), and this libedgead is of %s "
               "(interface %u): install both from one package",
               where, found.edgead_version, found.interface, EDGEAD_VERSION, kOpenVINOInterface));
  Outcome outcome;
  found.check(&outcome);
  check_outcome(outcome);
  return found;
}

void check_outcome(const Outcome& outcome) {
  if (outcome.status == EDGEAD_ERROR_MEMORY) throw std::bad_alloc();
  if (outcome.status != EDGEAD_OK) throw Failure(outcome.status, outcome.sentence);
}

void check_openvino() { openvino_library(); }

std::unique_ptr<Engine> open_openvino(const Bundle& bundle, const Asked& asked) {
  openvino_library();  // before a thread takes addresses, which it counts
  // Neither needs the other, and they take about as long: half of the time until a frame is scored.
  auto signals = std::async([&] { return open_signals(bundle); });
  auto engine = std::make_unique<OpenVINOEngine>(bundle, asked);
  engine->input = bundle.manifest().input;
  engine->signals = signals.get();
  return engine;
}

}  // namespace edgead

// OpenVINO on the CPU, with the settings of edgead/cpu/engine.py: the same bits from both.
#include <algorithm>
#include <future>
#include <openvino/frontend/manager.hpp>
#include <openvino/openvino.hpp>
#include <set>
#include <sstream>

#include "engine.h"
#include "failure.h"
#include "openvino_precision.h"
#include "processor.h"
#include "stages.h"
#include "wording.h"

namespace edgead {
namespace {

// One core for the life of the process, never destroyed: OpenVINO's CPU plugin gives the thread
// that loads it another signal stack and takes it away with the last core.
ov::Core& only_core() {
  static ov::Core* const core = new ov::Core;
  return *core;
}

// Runs `work`; an exception of OpenVINO becomes a Failure: `what`, and its first line that names
// no C++ source file. `what` is text of either kind, of which none is made while all is well.
template <class What, class Work>
auto with_sentence(edgead_status status, const What& what, const Work& work) {
  try {
    return work();
  } catch (const Failure&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    std::istringstream lines(error.what());
    std::string line, first;
    while (std::getline(lines, line)) {
      line.erase(0, line.find_first_not_of(" \t\r"));
      if (line.empty() || line.rfind("Exception from", 0) == 0 || line.rfind("Check ", 0) == 0)
        continue;
      first = line;
      break;
    }
    throw Failure(status, std::string(what) + ": " + (first.empty() ? error.what() : first));
  }
}

using Ports = std::vector<ov::Output<ov::Node>>;

std::set<std::string> names_of(const Ports& ports) {
  std::set<std::string> names;
  for (const auto& port : ports) names.insert(port.get_names().begin(), port.get_names().end());
  return names;
}

struct Tensor {
  std::string name;
  ov::Shape shape;
};

// The graph's outputs that the manifest names.
std::vector<Tensor> outputs_of(const Manifest& manifest) {
  std::vector<Tensor> found;
  const auto add = [&](const std::string& name, int64_t channels, Size size) {
    found.push_back({name,
                     {1, static_cast<size_t>(channels), static_cast<size_t>(size.first),
                      static_cast<size_t>(size.second)}});
  };
  for (const Pair& pair : manifest.pairs) {
    add(pair.reference, pair.channels, pair.size);
    add(pair.restored, pair.channels, pair.size);
  }
  std::set<std::string> seen;  // signals may share an output
  for (const Signal& signal : manifest.signals())
    if (seen.insert(signal.features).second) add(signal.features, signal.channels, signal.size);
  return found;
}

// As Python shows a shape.
std::string in_brackets(const ov::Shape& shape) {
  return listed(std::vector<int64_t>(shape.begin(), shape.end()), "()");
}

void check_port(const std::string& where, const char* kind, const ov::Output<ov::Node>& port,
                const Tensor& expected) {
  const ov::PartialShape found = port.get_partial_shape();
  const std::string type = port.get_element_type().get_type_name();
  if (found.is_static() && found.to_shape() == expected.shape && type == "f32") return;
  throw bundle_failure(where + ": " + kind + " " + in_quotes(expected.name) + " is " +
                       (found.is_static() ? in_brackets(found.to_shape()) : found.to_string()) +
                       " " + type + "; the manifest says " + in_brackets(expected.shape) +
                       " f32: export the bundle again");
}

// Each port has a name that is expected, each that is expected has a port, of its shape.
void check_ports(const std::string& where, const char* kind, const Ports& ports,
                 const std::vector<Tensor>& expected) {
  std::set<std::string> names;
  for (const Tensor& tensor : expected) names.insert(tensor.name);
  const std::set<std::string> found = names_of(ports);
  bool fits = std::includes(found.begin(), found.end(), names.begin(), names.end());
  for (const auto& port : ports) {
    const auto known = [&](const std::string& name) { return names.count(name) == 1; };
    fits = fits && std::any_of(port.get_names().begin(), port.get_names().end(), known);
  }
  if (!fits)
    throw bundle_failure(where + " has " + kind + "s " + in_order({found.begin(), found.end()}) +
                         "; the manifest names " + in_order({names.begin(), names.end()}) +
                         ": export the bundle again");
  for (const Tensor& tensor : expected)
    for (const auto& port : ports)
      if (port.get_names().count(tensor.name) == 1) check_port(where, kind, port, tensor);
}

// Sets the batch to one and holds the graph's input and outputs against the manifest.
void fix_shapes(ov::Model& model, const Manifest& manifest, const std::string& where) {
  const auto inputs = model.inputs();
  const Input& input = manifest.input;
  const std::set<std::string> names = names_of(inputs);
  if (inputs.size() != 1 || names.count(input.name) == 0)
    throw bundle_failure(where + " has inputs " + in_order({names.begin(), names.end()}) +
                         "; expected only " + in_quotes(input.name));
  const Tensor image{
      input.name,
      {1, 3, static_cast<size_t>(input.size.first), static_cast<size_t>(input.size.second)}};
  with_sentence(EDGEAD_ERROR_BUNDLE,
                where + " does not take images of shape " + in_brackets(image.shape),
                [&] { model.reshape({{inputs[0], ov::PartialShape(image.shape)}}); });
  check_ports(where, "input", model.inputs(), {image});
  check_ports(where, "output", model.outputs(), outputs_of(manifest));
}

class OpenVINOSession : public EngineSession {
 public:
  OpenVINOSession(ov::CompiledModel& compiled, const Manifest& manifest)
      : request_(compiled.create_infer_request()) {
    const auto input = compiled.inputs().at(0);
    tensors_.emplace_back(ov::element::f32, input.get_shape());
    request_.set_tensor(input, tensors_.back());
    image = tensors_.back().data<float>();
    std::map<std::string, const float*> outputs;
    for (const auto& port : compiled.outputs()) {
      tensors_.emplace_back(ov::element::f32, port.get_shape());
      request_.set_tensor(port, tensors_.back());
      for (const std::string& name : port.get_names())
        outputs[name] = tensors_.back().data<float>();
    }
    for (const Pair& pair : manifest.pairs) {
      reference.push_back(outputs.at(pair.reference));
      restored.push_back(outputs.at(pair.restored));
    }
    for (const Signal& signal : manifest.signals()) features.push_back(outputs.at(signal.features));
  }

  void infer() override {
    with_sentence(EDGEAD_ERROR_DEVICE, "OpenVINO failed on a frame", [&] { request_.infer(); });
  }

 private:
  ov::InferRequest request_;
  std::vector<ov::Tensor> tensors_;
};

std::string openvino_version() {
  const std::string build = ov::get_openvino_version().buildNumber;
  return "OpenVINO " + build.substr(0, build.find('-'));
}

// Failure for an OpenVINO without a file that it loads when it is asked: its own words say neither
// that nor the cure. To look takes long, so only after something has failed.
void check_whole(ov::Core& core) {
  const auto lacks = [](const std::vector<std::string>& names, const char* name) {
    return std::find(names.begin(), names.end(), name) == names.end();
  };
  const char* missing = nullptr;
  if (lacks(core.get_available_devices(), "CPU"))
    missing = "CPU plugin";
  else if (lacks(ov::frontend::FrontEndManager().get_available_front_ends(), "onnx"))
    missing = "ONNX frontend";
  if (missing != nullptr)
    throw device_failure(openvino_version() + " has no " + missing +
                         " here: the one of this version belongs beside libopenvino.so; install "
                         "OpenVINO's files again");
}

// with_sentence of a step that needs a file beside libopenvino.so.
template <class Work>
auto with_files(ov::Core& core, edgead_status status, const std::string& what, const Work& work) {
  try {
    return with_sentence(status, what, work);
  } catch (const Failure&) {
    with_sentence(EDGEAD_ERROR_DEVICE, what, [&] { check_whole(core); });
    throw;
  }
}

class OpenVINOEngine : public CpuEngine {
 public:
  OpenVINOEngine(const Bundle& bundle, const Asked& asked) : manifest_(bundle.manifest()) {
    precision = asked.precision.empty() ? "float32" : asked.precision;
    const std::string& file = manifest_.model_of(precision);
    ov::Core& core =
        *with_sentence(EDGEAD_ERROR_DEVICE, "OpenVINO does not start", [] { return &only_core(); });
    device = with_files(core, EDGEAD_ERROR_DEVICE, "OpenVINO does not know the CPU", [&] {
      std::istringstream words(core.get_property("CPU", ov::device::full_name));
      std::string word, name = "CPU:";
      while (words >> word) name += " " + word;
      return name;
    });
    check_offered(core.get_property("CPU", ov::device::capabilities), precision, device);
    const std::string where = "bundle " + bundle.path() + ": ";
    const std::string graph = bundle.read(file);
    const auto model = with_files(core, EDGEAD_ERROR_BUNDLE, where + "OpenVINO cannot read " + file,
                                  [&] { return core.read_model(graph, ov::Tensor()); });
    fix_shapes(*model, manifest_, where + file);
    // float32 is what every CPU has, and nothing stands in for it.
    const bool counted = precision != "float32";
    const Layers layers = counted ? layers_of(*model) : Layers();
    ov::AnyMap config{{"INFERENCE_PRECISION_HINT", hint_of(precision)},
                      {"EXECUTION_MODE_HINT", "ACCURACY"},
                      {"PERFORMANCE_HINT", "LATENCY"},
                      {"ENABLE_CPU_PINNING", false}};
    const int32_t threads = asked.threads > 0 ? asked.threads : quota_of_cores();
    if (threads > 0) config["INFERENCE_NUM_THREADS"] = threads;
    compiled_ = with_sentence(EDGEAD_ERROR_DEVICE, "OpenVINO cannot compile the graph",
                              [&] { return core.compile_model(model, "CPU", config); });
    if (counted) check_computed(layers, computed_in(compiled_), precision);
    version = openvino_version();
  }

  std::unique_ptr<EngineSession> session() override {
    return with_sentence(EDGEAD_ERROR_DEVICE, "OpenVINO cannot make a request", [&] {
      return std::unique_ptr<EngineSession>(new OpenVINOSession(compiled_, manifest_));
    });
  }

 private:
  Manifest manifest_;
  ov::CompiledModel compiled_;
};

}  // namespace

std::unique_ptr<Engine> open_openvino(const Bundle& bundle, const Asked& asked) {
  // Neither needs the other, and they take about as long: half of the time until a frame is scored.
  auto signals = std::async([&] { return open_signals(bundle); });
  auto engine = std::make_unique<OpenVINOEngine>(bundle, asked);
  engine->input = bundle.manifest().input;
  engine->signals = signals.get();
  return engine;
}

}  // namespace edgead

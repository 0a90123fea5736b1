// The library for OpenVINO: a graph on the CPU, with the settings of edgead/cpu/engine.py, so that
// the bits are the same.
#include <algorithm>
#include <cctype>
#include <cstring>
#include <memory>
#include <openvino/core/version.hpp>
#include <openvino/frontend/manager.hpp>
#include <openvino/openvino.hpp>
#include <set>
#include <sstream>
#include <thread>

#include "failure.h"
#include "openvino_library.h"
#include "openvino_precision.h"
#include "restrictions.h"
#include "wording.h"

namespace edgead {

struct OpenVINOGraph {
  ov::CompiledModel compiled;
  std::vector<std::string> ports;  // the image, then the outputs
  std::string device, version;
};

struct OpenVINORequest {
  ov::InferRequest request;
  std::vector<ov::Tensor> tensors;
};

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
    const std::string said = first.empty() ? error.what() : first;
    throw Failure(status, std::string(what) + ": " +
                              (status == EDGEAD_ERROR_DEVICE ? restricted(said) : said));
  }
}

using Outputs = std::vector<ov::Output<ov::Node>>;

std::set<std::string> names_of(const Outputs& ports) {
  std::set<std::string> names;
  for (const auto& port : ports) names.insert(port.get_names().begin(), port.get_names().end());
  return names;
}

// As Python shows a shape.
std::string in_brackets(const ov::Shape& shape) {
  return listed(std::vector<int64_t>(shape.begin(), shape.end()), "()");
}

ov::Shape shape_of(const Port& port) {
  return ov::Shape(std::begin(port.shape), std::end(port.shape));
}

void check_port(const std::string& where, const char* kind, const ov::Output<ov::Node>& found,
                const Port& expected) {
  const ov::PartialShape shape = found.get_partial_shape();
  const std::string type = found.get_element_type().get_type_name();
  if (shape.is_static() && shape.to_shape() == shape_of(expected) && type == "f32") return;
  throw bundle_failure(where + ": " + kind + " " + in_quotes(expected.name) + " is " +
                       (shape.is_static() ? in_brackets(shape.to_shape()) : shape.to_string()) +
                       " " + type + "; the manifest says " + in_brackets(shape_of(expected)) +
                       " f32: export the bundle again");
}

// Each port has a name that is expected, each that is expected has a port, of its shape.
void check_ports(const std::string& where, const char* kind, const Outputs& ports,
                 const Port* first, const Port* last) {
  std::set<std::string> names;
  for (const Port* port = first; port != last; ++port) names.insert(port->name);
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
  for (const Port* expected = first; expected != last; ++expected)
    for (const auto& port : ports)
      if (port.get_names().count(expected->name) == 1) check_port(where, kind, port, *expected);
}

// Sets the batch to one and holds the graph's input and outputs against the manifest.
void fix_shapes(ov::Model& model, const GraphAsked& asked) {
  const auto inputs = model.inputs();
  const Port& image = asked.ports[0];
  const std::string where = std::string(asked.bundle) + asked.file;
  const std::set<std::string> names = names_of(inputs);
  if (inputs.size() != 1 || names.count(image.name) == 0)
    throw bundle_failure(where + " has inputs " + in_order({names.begin(), names.end()}) +
                         "; expected only " + in_quotes(image.name));
  with_sentence(EDGEAD_ERROR_BUNDLE,
                where + " does not take images of shape " + in_brackets(shape_of(image)),
                [&] { model.reshape({{inputs[0], ov::PartialShape(shape_of(image))}}); });
  check_ports(where, "input", model.inputs(), &image, &image + 1);
  check_ports(where, "output", model.outputs(), &image + 1, asked.ports + asked.count);
}

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
  std::thread([] {}).join();  // where none may start, that is why
  const char* missing = nullptr;
  if (lacks(core.get_available_devices(), "CPU"))
    missing = "CPU plugin";
  else if (lacks(ov::frontend::FrontEndManager().get_available_front_ends(), "onnx"))
    missing = "ONNX frontend";
  if (missing != nullptr)
    throw device_failure(restricted(openvino_version() + " has no " + missing +
                                    " here: the one of this version belongs beside "
                                    "libopenvino.so; install OpenVINO's files again"));
}

// with_sentence of a step that needs a file beside libopenvino.so.
template <class Work>
auto with_files(ov::Core& core, edgead_status status, const std::string& what, const Work& work) {
  try {
    return with_sentence(status, what, work);
  } catch (const Failure& failure) {
    if (!scarcity(failure.what()).empty()) throw device_failure(failure.what());
    with_sentence(EDGEAD_ERROR_DEVICE, what, [&] { check_whole(core); });
    throw;
  }
}

std::string processor_of(ov::Core& core) {
  return with_files(core, EDGEAD_ERROR_DEVICE, "OpenVINO does not know the CPU", [&] {
    std::istringstream words(core.get_property("CPU", ov::device::full_name));
    std::string word, name = "CPU:";
    while (words >> word) name += " " + word;
    return name;
  });
}

std::unique_ptr<OpenVINOGraph> opened(const GraphAsked& asked) {
  auto graph = std::make_unique<OpenVINOGraph>();
  const std::string precision = asked.precision;
  ov::Core& core =
      *with_sentence(EDGEAD_ERROR_DEVICE, "OpenVINO does not start", [] { return &only_core(); });
  graph->device = processor_of(core);
  check_offered(core.get_property("CPU", ov::device::capabilities), precision, graph->device);
  const std::string what = std::string(asked.bundle) + "OpenVINO cannot read " + asked.file;
  const auto model = with_files(core, EDGEAD_ERROR_BUNDLE, what, [&] {
    return core.read_model(std::string(asked.onnx, asked.bytes), ov::Tensor());
  });
  fix_shapes(*model, asked);
  // float32 is what every CPU has, and nothing stands in for it.
  const bool counted = precision != "float32";
  const Layers layers = counted ? layers_of(*model) : Layers();
  ov::AnyMap config{{"INFERENCE_PRECISION_HINT", hint_of(precision)},
                    {"EXECUTION_MODE_HINT", "ACCURACY"},
                    {"PERFORMANCE_HINT", "LATENCY"},
                    {"ENABLE_CPU_PINNING", false}};
  if (asked.threads > 0) config["INFERENCE_NUM_THREADS"] = asked.threads;
  graph->compiled = with_sentence(EDGEAD_ERROR_DEVICE, "OpenVINO cannot compile the graph",
                                  [&] { return core.compile_model(model, "CPU", config); });
  if (counted) check_computed(layers, computed_in(graph->compiled), precision);
  graph->version = openvino_version();
  for (size_t at = 0; at < asked.count; ++at) graph->ports.push_back(asked.ports[at].name);
  return graph;
}

// With memory of its own for each port.
std::unique_ptr<OpenVINORequest> requested(OpenVINOGraph& graph, float** memory) {
  auto made = std::make_unique<OpenVINORequest>();
  made->request = graph.compiled.create_infer_request();
  auto ports = graph.compiled.outputs();
  ports.push_back(graph.compiled.inputs().at(0));
  for (const auto& port : ports) {
    made->tensors.emplace_back(ov::element::f32, port.get_shape());
    made->request.set_tensor(port, made->tensors.back());
    for (size_t at = 0; at < graph.ports.size(); ++at)
      if (port.get_names().count(graph.ports[at]) == 1)
        memory[at] = made->tensors.back().data<float>();
  }
  return made;
}

// Runs `work`, which gives nothing or a pointer; no exception leaves it.
template <class Work>
auto told(Outcome* outcome, const Work& work) noexcept -> decltype(work()) {
  const auto say = [&](edgead_status status, const char* sentence) {
    outcome->status = status;
    outcome->sentence[0] = 0;
    std::strncat(outcome->sentence, sentence, sizeof outcome->sentence - 1);
  };
  outcome->status = EDGEAD_OK;
  try {
    return work();
  } catch (const Failure& failure) {
    say(failure.status, failure.what());
  } catch (const std::bad_alloc&) {
    say(EDGEAD_ERROR_MEMORY, "");
  } catch (const std::exception& error) {
    say(EDGEAD_ERROR_INTERNAL, error.what());
  } catch (...) {
    say(EDGEAD_ERROR_INTERNAL, "an unknown exception of OpenVINO");
  }
  return decltype(work())();
}

// Another OpenVINO has files of other names. They may have been renamed, or the program is linked
// with another one, which then is found first. A build of one's own has no number at its beginning.
void check_version() {
  const std::string found = openvino_version();
  const std::string built = format("OpenVINO %d.%d.%d", OPENVINO_VERSION_MAJOR,
                                   OPENVINO_VERSION_MINOR, OPENVINO_VERSION_PATCH);
  const bool numbered = std::isdigit(static_cast<unsigned char>(found[sizeof "OpenVINO"])) != 0;
  if (numbered && found != built)
    throw device_failure("this process has " + found + ", and this libedgead was built with " +
                         built + ": install that one, and link the program with no other");
}

const OpenVINOLibrary kLibrary{kOpenVINOInterface,
                               EDGEAD_VERSION,
                               [](Outcome* outcome) { told(outcome, check_version); },
                               [](const GraphAsked* asked, Outcome* outcome) {
                                 return told(outcome, [&] { return opened(*asked).release(); });
                               },
                               [](OpenVINOGraph* graph) { delete graph; },
                               [](const OpenVINOGraph* graph) { return graph->device.c_str(); },
                               [](const OpenVINOGraph* graph) { return graph->version.c_str(); },
                               [](OpenVINOGraph* graph, float** memory, Outcome* outcome) {
                                 return told(outcome, [&] {
                                   return with_sentence(
                                       EDGEAD_ERROR_DEVICE, "OpenVINO cannot make a request",
                                       [&] { return requested(*graph, memory).release(); });
                                 });
                               },
                               [](OpenVINORequest* request, Outcome* outcome) {
                                 told(outcome, [&] {
                                   with_sentence(EDGEAD_ERROR_DEVICE, "OpenVINO failed on a frame",
                                                 [&] { request->request.infer(); });
                                 });
                               },
                               [](OpenVINORequest* request) { delete request; }};

}  // namespace
}  // namespace edgead

const edgead::OpenVINOLibrary* edgead_openvino_library() { return &edgead::kLibrary; }

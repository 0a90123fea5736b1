// The SIMULATED TensorRT behind NvInfer.h and NvOnnxParser.h: OpenVINO runs the graph, on the CPU
// and when the simulated stream gets there. A simulated plan is the header of a real one and the
// ONNX file.
#include <algorithm>
#include <cstring>
#include <memory>
#include <openvino/op/ops.hpp>
#include <openvino/openvino.hpp>
#include <sstream>

#include "NvOnnxParser.h"
#include "simulated.h"

using namespace nvinfer1;
using simulated::the;

namespace {

ov::Core& core() {
  static auto* const one = new ov::Core;
  return *one;
}

ILogger* logger_of_process = nullptr;

// Whether the call gives nothing, and says so in the log.
bool refused(const char* name) {
  std::string text;
  {
    const simulated::Lock lock(the().mutex);
    ++the().calls[name];
    const auto found = the().refusals.find(name);
    if (found == the().refusals.end() && the().sticky == 0) return false;
    text = found == the().refusals.end() ? "CUDA error" : found->second;
  }
  if (logger_of_process != nullptr) logger_of_process->log(ILogger::Severity::kERROR, text.c_str());
  return true;
}

// Something that the caller has to delete.
struct Counted {
  Counted() { ++the().objects; }
  ~Counted() { --the().objects; }
  Counted(const Counted&) = delete;
};

Dims dims_of(const ov::PartialShape& shape) {
  Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i)
    dims.d[i] = shape[i].is_static() ? shape[i].get_length() : -1;
  return dims;
}

DataType type_of(ov::element::Type type) {
  if (type == ov::element::f32) return DataType::kFLOAT;
  if (type == ov::element::f16) return DataType::kHALF;
  if (type == ov::element::i8) return DataType::kINT8;
  return type == ov::element::i64 ? DataType::kINT64 : DataType::kINT32;
}

struct Tensor : ITensor {
  Tensor(std::string name, const ov::PartialShape& shape, ov::element::Type type)
      : name(std::move(name)), dims(dims_of(shape)), type(type_of(type)) {}
  const char* getName() const noexcept override { return name.c_str(); }
  Dims getDimensions() const noexcept override { return dims; }
  DataType getType() const noexcept override { return type; }
  std::string name;
  Dims dims;
  DataType type;
};
using Tensors = std::vector<std::unique_ptr<Tensor>>;

struct Layer : ILayer {
  explicit Layer(const ov::Node& node) : name(node.get_friendly_name()) {
    for (size_t i = 0; i < node.get_input_size(); ++i)
      inputs.push_back(std::make_unique<Tensor>(node.get_input_node_ptr(i)->get_friendly_name(),
                                                node.get_input_partial_shape(i),
                                                node.get_input_element_type(i)));
    for (size_t i = 0; i < node.get_output_size(); ++i)
      outputs.push_back(std::make_unique<Tensor>(name, node.get_output_partial_shape(i),
                                                 node.get_output_element_type(i)));
    const std::string kind = node.get_type_name();
    if (kind == "Convolution") {
      type = LayerType::kCONVOLUTION;
      const ov::Shape weights = node.get_input_shape(1);
      maps = static_cast<int64_t>(weights[0]);
      kernel = dims_of(ov::PartialShape(ov::Shape(weights.begin() + 2, weights.end())));
    }
    if (kind == "MatMul") type = LayerType::kMATRIX_MULTIPLY;
  }
  LayerType getType() const noexcept override { return type; }
  const char* getName() const noexcept override { return name.c_str(); }
  int32_t getNbInputs() const noexcept override { return static_cast<int32_t>(inputs.size()); }
  ITensor* getInput(int32_t i) const noexcept override { return inputs[i].get(); }
  int32_t getNbOutputs() const noexcept override { return static_cast<int32_t>(outputs.size()); }
  ITensor* getOutput(int32_t i) const noexcept override { return outputs[i].get(); }
  int64_t getNbOutputMaps() const noexcept override { return maps; }
  int64_t getNbGroups() const noexcept override { return 1; }
  Dims getKernelSizeNd() const noexcept override { return kernel; }

  std::string name;
  LayerType type = LayerType::kOTHER;
  Tensors inputs, outputs;
  int64_t maps = 0;
  Dims kernel{};
};

struct Network : INetworkDefinition, Counted {
  explicit Network(uint32_t flags) {
    if (flags != 1u << 1) simulated::fault("a network that is not strongly typed");
  }
  int32_t getNbLayers() const noexcept override { return static_cast<int32_t>(layers.size()); }
  ILayer* getLayer(int32_t i) const noexcept override { return layers[i].get(); }
  int32_t getNbInputs() const noexcept override { return static_cast<int32_t>(inputs.size()); }
  ITensor* getInput(int32_t i) const noexcept override { return inputs[i].get(); }
  int32_t getNbOutputs() const noexcept override { return static_cast<int32_t>(outputs.size()); }
  ITensor* getOutput(int32_t i) const noexcept override { return outputs[i].get(); }

  std::string onnx;
  std::vector<std::unique_ptr<Layer>> layers;
  Tensors inputs, outputs;
};

std::shared_ptr<ov::Model> read(const std::string& onnx) {
  return core().read_model(onnx, ov::Tensor());
}

std::vector<int> numbers_of(const std::string& version) {
  std::istringstream text(version);
  std::vector<int> numbers;
  for (std::string part; std::getline(text, part, '.');) numbers.push_back(std::stoi(part));
  return numbers;
}

std::string header_of(const std::string& version) {
  std::string header(32, '\0');
  std::memcpy(header.data(), "ftrt", 4);
  for (size_t i = 0; i < 3; ++i) header[24 + i] = static_cast<char>(numbers_of(version)[i]);
  return header;
}

struct Profile : IOptimizationProfile {
  bool setDimensions(const char*, OptProfileSelector, const Dims& dims) noexcept override {
    return !refused("setDimensions") && dims.nbDims == 4 && dims.d[0] == 1;
  }
};

struct Config : IBuilderConfig, Counted {
  void clearFlag(BuilderFlag flag) noexcept override { tf32 = tf32 && flag != BuilderFlag::kTF32; }
  void setProfilingVerbosity(ProfilingVerbosity) noexcept override {}
  int32_t addOptimizationProfile(const IOptimizationProfile*) noexcept override {
    return refused("addOptimizationProfile") ? -1 : 0;
  }
  bool tf32 = true;
};

struct Memory : IHostMemory, Counted {
  void* data() const noexcept override { return const_cast<char*>(bytes.data()); }
  size_t size() const noexcept override { return bytes.size(); }
  std::string bytes;
};

struct Builder : IBuilder, Counted {
  INetworkDefinition* createNetworkV2(uint32_t flags) noexcept override {
    return refused("createNetworkV2") ? nullptr : new Network(flags);
  }
  IBuilderConfig* createBuilderConfig() noexcept override {
    return refused("createBuilderConfig") ? nullptr : new Config;
  }
  IOptimizationProfile* createOptimizationProfile() noexcept override { return &profile; }
  IHostMemory* buildSerializedNetwork(INetworkDefinition& network,
                                      IBuilderConfig& config) noexcept override {
    if (static_cast<Config&>(config).tf32) simulated::fault("a build that may use TF32");
    if (refused("buildSerializedNetwork")) return nullptr;
    auto* memory = new Memory;
    memory->bytes = header_of(the().version) + static_cast<Network&>(network).onnx;
    return memory;
  }
  Profile profile;
};

struct Context : IExecutionContext, Counted {
  explicit Context(const std::shared_ptr<ov::Model>& model, ov::CompiledModel compiled)
      : model(model), request(compiled.create_infer_request()) {}
  bool setNvtxVerbosity(ProfilingVerbosity) noexcept override { return true; }
  int32_t getOptimizationProfile() const noexcept override { return 0; }
  bool setOptimizationProfileAsync(int32_t, cudaStream_t) noexcept override { return true; }
  bool setInputShape(const char*, const Dims& dims) noexcept override {
    shaped = !refused("setInputShape") && dims.d[0] == 1;
    return shaped;
  }
  Dims getTensorShape(const char* name) const noexcept override {
    Dims dims = dims_of(port(name).get_partial_shape());
    if (shaped) dims.d[0] = 1;
    return dims;
  }
  bool setTensorAddress(const char* name, void* data) noexcept override {
    const char* memory = simulated::allocation_of(data);
    if (memory == nullptr || reinterpret_cast<size_t>(data) % 256 != 0)
      simulated::fault("a tensor's address that is not 256-byte aligned device memory");
    addresses[name] = data;
    return !refused("setTensorAddress");
  }
  bool enqueueV3(cudaStream_t stream) noexcept override {
    if (refused("enqueueV3")) return false;
    std::set<const void*> touches;
    for (const auto& [name, data] : addresses) touches.insert(simulated::allocation_of(data));
    return simulated::enqueue(stream, {"engine", [this] { run(); }, touches}) == cudaSuccess;
  }
  void run() {
    for (const auto& [name, data] : addresses) {
      const Dims dims = getTensorShape(name.c_str());
      const ov::Shape shape(dims.d, dims.d + dims.nbDims);
      request.set_tensor(port(name.c_str()), ov::Tensor(ov::element::f32, shape, data));
    }
    request.infer();
  }
  ov::Output<ov::Node> port(const char* name) const {
    for (const auto& ports : {model->inputs(), model->outputs()})
      for (const auto& one : ports)
        if (one.get_names().count(name) == 1) return one;
    simulated::fault(std::string("no tensor is called ") + name);
    return model->input();
  }
  std::shared_ptr<ov::Model> model;
  ov::InferRequest request;
  std::map<std::string, void*> addresses;
  bool shaped = false;
};

struct Engine : ICudaEngine, Counted {
  explicit Engine(const std::string& onnx) : model(read(onnx)) {
    compiled = core().compile_model(model, "CPU",
                                    {{"INFERENCE_PRECISION_HINT", "f32"},
                                     {"EXECUTION_MODE_HINT", "ACCURACY"},
                                     {"INFERENCE_NUM_THREADS", 1}});
    for (const auto& port : model->inputs()) names.push_back(*port.get_names().begin());
    for (const auto& port : model->outputs()) names.push_back(*port.get_names().begin());
  }
  IExecutionContext* createExecutionContext() noexcept override {
    return refused("createExecutionContext") ? nullptr : new Context(model, compiled);
  }
  int32_t getNbIOTensors() const noexcept override { return static_cast<int32_t>(names.size()); }
  const char* getIOTensorName(int32_t i) const noexcept override { return names[i].c_str(); }
  TensorIOMode getTensorIOMode(const char* name) const noexcept override {
    return model->input().get_names().count(name) == 1 ? TensorIOMode::kINPUT
                                                       : TensorIOMode::kOUTPUT;
  }
  Dims getTensorShape(const char* name) const noexcept override {
    return dims_of(
        (getTensorIOMode(name) == TensorIOMode::kINPUT ? model->input() : model->output(name))
            .get_partial_shape());
  }
  DataType getTensorDataType(const char*) const noexcept override { return DataType::kFLOAT; }
  std::shared_ptr<ov::Model> model;
  ov::CompiledModel compiled;
  std::vector<std::string> names;
};

struct Runtime : IRuntime, Counted {
  ICudaEngine* deserializeCudaEngine(const void* plan, size_t bytes) noexcept override {
    const std::string data(static_cast<const char*>(plan), bytes);
    if (refused("deserializeCudaEngine")) return nullptr;
    if (data.compare(0, 32, header_of(the().version)) != 0) {
      logger_of_process->log(ILogger::Severity::kERROR, "the plan is of\nanother \x1b[31mversion");
      return nullptr;
    }
    return new Engine(data.substr(32));
  }
};

struct ParserError : nvonnxparser::IParserError {
  const char* desc() const override { return text.c_str(); }
  int node() const override { return 3; }
  const char* nodeName() const override { return "node_conv"; }
  const char* nodeOperator() const override { return "Conv"; }
  std::string text;
};

struct Parser : nvonnxparser::IParser, Counted {
  explicit Parser(Network& network) : network(network) {}
  bool parse(const void* onnx, size_t bytes) noexcept override {
    network.onnx.assign(static_cast<const char*>(onnx), bytes);
    if (refused("parse")) {
      error.text = the().refusals["parse"];
      return false;
    }
    const auto model = read(network.onnx);
    for (const auto& node : model->get_ordered_ops())
      if (std::string(node->get_type_name()) != "Result")
        network.layers.push_back(std::make_unique<Layer>(*node));
    const auto add = [](Tensors& to, const auto& ports) {
      for (const auto& port : ports)
        to.push_back(std::make_unique<Tensor>(*port.get_names().begin(), port.get_partial_shape(),
                                              port.get_element_type()));
    };
    add(network.inputs, model->inputs());
    add(network.outputs, model->outputs());
    return true;
  }
  int getNbErrors() const noexcept override { return error.text.empty() ? 0 : 1; }
  const nvonnxparser::IParserError* getError(int) const noexcept override { return &error; }
  Network& network;
  ParserError error;
};

template <class Made>
Made* made(const char* name, ILogger& logger) {
  if (logger_of_process == nullptr) logger_of_process = &logger;
  return refused(name) ? nullptr : new Made;
}

}  // namespace

IRuntime* nvinfer1::createInferRuntime(ILogger& logger) noexcept {
  return made<Runtime>("createInferRuntime", logger);
}
IBuilder* nvinfer1::createInferBuilder(ILogger& logger) noexcept {
  return made<Builder>("createInferBuilder", logger);
}
nvonnxparser::IParser* nvonnxparser::createParser(INetworkDefinition& network, ILogger&) noexcept {
  return refused("createParser") ? nullptr : new Parser(static_cast<Network&>(network));
}
int32_t getInferLibVersion() noexcept {
  const auto numbers = numbers_of(the().version);
  return 10000 * numbers[0] + 100 * numbers[1] + numbers[2];
}

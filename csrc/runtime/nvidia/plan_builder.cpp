#include "plan_builder.h"

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "failure.h"
#include "network_census.h"
#include "tensorrt_log.h"
#include "wording.h"

namespace edgead {
namespace {

using nvinfer1::BuilderFlag;
using nvinfer1::NetworkDefinitionCreationFlag;

// What TensorRT says of a step that gave nothing, and the cure.
Failure refused(const char* what, const Listening& log) {
  const auto errors = log.errors();
  for (const std::string& line : errors)
    if (line.find("out of memory") != std::string::npos ||
        line.find("OutOfMemory") != std::string::npos)
      return device_failure(tensorrt_text() + " " + what +
                            ": out of device memory; stop what else uses the GPU");
  return device_failure(tensorrt_text() + " " + what + ": " + log.first());
}

uint32_t network_flags() {
#if NV_TENSORRT_MAJOR >= 11
  return 0;
#elif NV_TENSORRT_MAJOR >= 10
  return 1u << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#else  // TensorRT 8 must be told that the batch is an axis
  return 1u << static_cast<uint32_t>(NetworkDefinitionCreationFlag::kEXPLICIT_BATCH);
#endif
}

// What the parser objects to, each with the node and its operator where it names them.
std::string reasons_of(const nvonnxparser::IParser& parser) {
  std::string text;
  for (int32_t i = 0; i < parser.getNbErrors() && i < 5; ++i) {
    const nvonnxparser::IParserError& error = *parser.getError(i);
    std::string node = error.node() >= 0 ? "node " + std::to_string(error.node()) : "the graph";
#if NV_TENSORRT_MAJOR >= 10
    if (error.nodeName() != nullptr && *error.nodeName() != 0)
      node = "node " + in_quotes(clean_line(error.nodeName())) + " (" +
             clean_line(error.nodeOperator()) + ")";
#endif
    text += (text.empty() ? "" : "; ") + node + ": " + clean_line(error.desc());
  }
  return text.empty() ? "it does not say why" : text;
}

// Whether a shape with its batch can be that of `tensor`; -1 is an axis that only the run knows.
bool fits(const nvinfer1::ITensor& found, const TensorShape& tensor) {
  const nvinfer1::Dims dims = found.getDimensions();
  if (found.getType() != nvinfer1::DataType::kFLOAT ||
      dims.nbDims != static_cast<int32_t>(tensor.shape.size()))
    return false;
  for (int32_t i = 0; i < dims.nbDims; ++i)
    if (dims.d[i] != -1 && dims.d[i] != tensor.shape[static_cast<size_t>(i)]) return false;
  return dims.d[0] == -1;
}

void check_interface(const nvinfer1::INetworkDefinition& network,
                     const std::vector<TensorShape>& tensors) {
  const auto knows = [&](const nvinfer1::ITensor& tensor, size_t first, size_t last) {
    for (size_t i = first; i < last; ++i)
      if (tensors[i].name == tensor.getName()) return fits(tensor, tensors[i]);
    return false;
  };
  bool right = network.getNbInputs() == 1 && knows(*network.getInput(0), 0, 1) &&
               static_cast<size_t>(network.getNbOutputs()) + 1 == tensors.size();
  for (int32_t i = 0; right && i < network.getNbOutputs(); ++i)
    right = knows(*network.getOutput(i), 1, tensors.size());
  if (right) return;
  std::string found, expected;
  for (int32_t i = 0; i < network.getNbOutputs(); ++i)
    found += (i == 0 ? "" : ", ") + in_quotes(network.getOutput(i)->getName());
  for (const TensorShape& tensor : tensors)
    expected +=
        (expected.empty() ? "" : ", ") + in_quotes(tensor.name) + " " + listed(tensor.shape, "()");
  throw device_failure(tensorrt_text() + " reads a graph with the outputs " +
                       (found.empty() ? "none" : found) + "; the manifest says " + expected +
                       ", float32, with a free batch axis: export the bundle again");
}

#if NV_TENSORRT_MAJOR < 10
// Each layer computes in the dtype that the graph gives its outputs, but not one of dequantised
// values, which is to become an int8 one.
void type_layers(nvinfer1::INetworkDefinition& network) {
  using nvinfer1::DataType;
  using nvinfer1::LayerType;
  std::set<std::string> dequantised;
  for (int32_t i = 0; i < network.getNbLayers(); ++i)
    if (network.getLayer(i)->getType() == LayerType::kDEQUANTIZE)
      dequantised.insert(network.getLayer(i)->getOutput(0)->getName());
  for (int32_t i = 0; i < network.getNbLayers(); ++i) {
    nvinfer1::ILayer& layer = *network.getLayer(i);
    const LayerType type = layer.getType();
    bool typed = layer.getNbOutputs() > 0 && type != LayerType::kCONSTANT &&
                 type != LayerType::kSHAPE && type != LayerType::kQUANTIZE &&
                 type != LayerType::kDEQUANTIZE;
    for (int32_t j = 0; j < layer.getNbInputs(); ++j)  // some are optional
      typed = typed && (layer.getInput(j) == nullptr ||
                        dequantised.count(layer.getInput(j)->getName()) == 0);
    for (int32_t j = 0; j < layer.getNbOutputs(); ++j)
      typed = typed && (layer.getOutput(j)->getType() == DataType::kFLOAT ||
                        layer.getOutput(j)->getType() == DataType::kHALF);
    if (!typed) continue;
    layer.setPrecision(layer.getOutput(0)->getType());
    for (int32_t j = 0; j < layer.getNbOutputs(); ++j)
      layer.setOutputType(j, layer.getOutput(j)->getType());
  }
}
#endif

void set_precision([[maybe_unused]] nvinfer1::IBuilderConfig& config,
                   [[maybe_unused]] const std::string& precision) {
#if NV_TENSORRT_MAJOR < 10
  config.setFlag(BuilderFlag::kOBEY_PRECISION_CONSTRAINTS);
  if (precision != "float32") config.setFlag(BuilderFlag::kFP16);  // int8: between convolutions
  if (precision == "int8") config.setFlag(BuilderFlag::kINT8);
#endif
}

nvinfer1::Dims dims_of(const std::vector<int64_t>& shape) {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  for (size_t i = 0; i < shape.size(); ++i)
    dims.d[i] = static_cast<std::remove_reference_t<decltype(dims.d[i])>>(shape[i]);
  return dims;
}

void configure(nvinfer1::IBuilder& builder, nvinfer1::IBuilderConfig& config,
               const TensorShape& image, const std::string& precision, const Listening& log) {
  // Float32 is asked for where float16 is too coarse, and TF32 has float16's mantissa.
  config.clearFlag(BuilderFlag::kTF32);
  set_precision(config, precision);
  // The layers can be inspected after the build, as of Python's plans.
  config.setProfilingVerbosity(nvinfer1::ProfilingVerbosity::kDETAILED);
  nvinfer1::IOptimizationProfile* profile = builder.createOptimizationProfile();
  bool ok = profile != nullptr;
  using nvinfer1::OptProfileSelector;
  for (const auto which :
       {OptProfileSelector::kMIN, OptProfileSelector::kOPT, OptProfileSelector::kMAX})
    ok = ok && profile->setDimensions(image.name.c_str(), which, dims_of(image.shape));
  if (!ok || config.addOptimizationProfile(profile) < 0)
    throw refused("refuses a batch of one", log);
}

}  // namespace

BuiltPlan build_plan(const std::string& onnx, const std::vector<TensorShape>& tensors,
                     const std::string& precision) {
  const auto started = std::chrono::steady_clock::now();
  const Listening log;
  // In this order: each is needed as long as the next one lives.
  const Owned<nvinfer1::IBuilder> builder(nvinfer1::createInferBuilder(tensorrt_logger()));
  if (!builder) throw refused("cannot start a build", log);
  const Owned<nvinfer1::INetworkDefinition> network(builder->createNetworkV2(network_flags()));
  if (!network) throw refused("cannot make a network", log);
  const Owned<nvonnxparser::IParser> parser(
      nvonnxparser::createParser(*network, tensorrt_logger()));
  if (!parser) throw refused("cannot make a parser", log);
  if (!parser->parse(onnx.data(), onnx.size()))
    throw device_failure(tensorrt_text() + " cannot read the graph: " + reasons_of(*parser));
  check_interface(*network, tensors);
#if NV_TENSORRT_MAJOR < 10
  type_layers(*network);
#endif
  BuiltPlan built{};
  built.census = take_census(*network);
  check_precision(built.census, precision);
  const Owned<nvinfer1::IBuilderConfig> config(builder->createBuilderConfig());
  if (!config) throw refused("cannot make a configuration", log);
  configure(*builder, *config, tensors.front(), precision, log);
  const Owned<nvinfer1::IHostMemory> plan(builder->buildSerializedNetwork(*network, *config));
  if (!plan || plan->size() == 0) throw refused("cannot build the plan", log);
  built.plan.assign(static_cast<const char*>(plan->data()), plan->size());
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - started;
  built.seconds = spent.count();
  return built;
}

}  // namespace edgead

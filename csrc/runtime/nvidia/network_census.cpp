#include "network_census.h"

#include <set>

#include "failure.h"
#include "wording.h"

namespace edgead {
namespace {

using nvinfer1::LayerType;

// Least shares of the weights that compute in what was asked for; the exporter's own.
constexpr double kHalfShare = 0.9, kInt8Share = 0.5;

template <class Layer>
int64_t convolution_weights(const nvinfer1::ILayer& layer) {
  const auto& convolution = static_cast<const Layer&>(layer);
  const nvinfer1::Dims kernel = convolution.getKernelSizeNd();
  int64_t count = convolution.getNbOutputMaps() * layer.getInput(0)->getDimensions().d[1] /
                  convolution.getNbGroups();
  for (int32_t i = 0; i < kernel.nbDims; ++i) count *= kernel.d[i];
  return count;
}

// What is stored has no free axis; what comes from the image has the batch's. A matrix for each
// place of a map is a statistic of good images and no weight of the network.
int64_t matrix_weights(const nvinfer1::ILayer& layer) {
  int64_t total = 0;
  for (int32_t i = 0; i < layer.getNbInputs(); ++i) {
    const nvinfer1::Dims dims = layer.getInput(i)->getDimensions();
    int64_t count = dims.nbDims > 0 ? 1 : 0, sides = 0;
    for (int32_t j = 0; j < dims.nbDims; ++j) {
      count = dims.d[j] > 0 ? count * dims.d[j] : 0;
      sides += dims.d[j] > 1;
    }
    if (sides <= 2) total += count;
  }
  return total;
}

bool is_product(LayerType type) {
  return type == LayerType::kCONVOLUTION || type == LayerType::kDECONVOLUTION ||
         type == LayerType::kMATRIX_MULTIPLY;
}

int64_t weights_of(const nvinfer1::ILayer& layer) {
  const LayerType type = layer.getType();
  if (type == LayerType::kCONVOLUTION)
    return convolution_weights<nvinfer1::IConvolutionLayer>(layer);
  if (type == LayerType::kDECONVOLUTION)
    return convolution_weights<nvinfer1::IDeconvolutionLayer>(layer);
  return matrix_weights(layer);
}

std::string counts_of(const std::map<std::string, int64_t>& counted) {
  std::string text;
  for (const auto& [dtype, number] : counted)
    text += (text.empty() ? "" : ", ") + std::to_string(number) + " " + dtype;
  return text.empty() ? "none" : text;
}

}  // namespace

std::string dtype_of(nvinfer1::DataType type) {
  switch (static_cast<int32_t>(type)) {
    case 0:
      return "float32";
    case 1:
      return "float16";
    case 2:
      return "int8";
    case 3:
      return "int32";
    case 4:
      return "bool";
    case 5:
      return "uint8";
    case 7:
      return "bfloat16";
    case 8:
      return "int64";
    default:
      return "type " + std::to_string(static_cast<int32_t>(type));
  }
}

NetworkCensus take_census(const nvinfer1::INetworkDefinition& network) {
  NetworkCensus census;
  std::set<std::string> dequantised;
  for (int32_t i = 0; i < network.getNbLayers(); ++i) {
    const nvinfer1::ILayer& layer = *network.getLayer(i);
    for (int32_t j = 0; j < layer.getNbOutputs(); ++j) {
      ++census.tensors[dtype_of(layer.getOutput(j)->getType())];
      if (layer.getType() == LayerType::kDEQUANTIZE)
        dequantised.insert(layer.getOutput(j)->getName());
    }
    if (!is_product(layer.getType())) continue;
    std::string dtype = dtype_of(layer.getOutput(0)->getType());
    if (dequantised.count(layer.getInput(0)->getName()) == 1) dtype = "int8";
    ++census.products[dtype];
    census.weights[dtype] += weights_of(layer);
    if (dtype == "float32") census.float32_products.push_back(layer.getName());
  }
  return census;
}

void check_precision(const NetworkCensus& census, const std::string& asked) {
  const auto refuse = [](const std::string& what) {
    return device_failure(what + ": export the bundle again");
  };
  if (asked == "float32") {
    std::map<std::string, int64_t> narrow;
    for (const char* dtype : {"float16", "bfloat16", "int8"})
      if (census.tensors.count(dtype) == 1) narrow[dtype] = census.tensors.at(dtype);
    if (!narrow.empty())
      throw refuse("float32 was asked for, and the network holds " + counts_of(narrow) +
                   " tensors; the graph is not the one that the manifest calls float32");
    return;
  }
  int64_t total = 0, own = 0;
  for (const auto& [dtype, count] : census.weights) {
    total += count;
    if (dtype == asked) own = count;
  }
  const double share = total > 0 ? static_cast<double>(own) / static_cast<double>(total) : 0;
  const double least = asked == "float16" ? kHalfShare : kInt8Share;
  if (share >= least) return;
  std::string named;
  for (size_t i = 0; i < census.float32_products.size() && i < 5; ++i)
    named += (i == 0 ? ". In float32: " : ", ") + census.float32_products[i];
  throw refuse(
      asked +
      format(" was asked for, and %.1f%% of the weights compute in it (products: ", 100 * share) +
      counts_of(census.products) + format("); expected %.0f%%", 100 * least) + named +
      "; the graph is not what the manifest calls it");
}

}  // namespace edgead

#include "openvino_precision.h"

#include <algorithm>
#include <set>

#include "failure.h"

namespace edgead {
namespace {

struct Known {
  const char *precision, *hint, *capability;
};
// An int8 graph says itself which layers are int8; the hint keeps the rest from becoming bfloat16.
constexpr Known kKnown[] = {{"float32", "f32", "FP32"},
                            {"float16", "f16", "FP16"},
                            {"bfloat16", "bf16", "BF16"},
                            {"int8", "f32", "INT8"}};
constexpr double kMost = 0.9;  // least share of the layers asked for

const Known& known(const std::string& precision) {
  return *std::find_if(std::begin(kKnown), std::end(kKnown),
                       [&](const Known& each) { return each.precision == precision; });
}

std::string name_of(const std::string& type) {
  if (type == "i8" || type == "u8") return "int8";  // u8: after a shift of the zero
  for (const Known& each : kKnown)
    if (type == each.hint) return each.precision;
  return type;
}

bool is_convolution(const std::string& kind) {
  static const std::set<std::string> kinds{"Convolution", "GroupConvolution",
                                           "ConvolutionBackpropData", "Deconvolution"};
  return kinds.count(kind) == 1;
}

bool is_product(const std::string& kind) {  // or one that the compiler has fused something to
  return kind.rfind("MatMul", 0) == 0 || kind.rfind("FullyConnected", 0) == 0;
}

// What an input comes from, where it is a constant: looks through what decodes stored integers.
const ov::Node* constant_behind(const ov::Node& node, size_t index) {
  static const std::set<std::string> decoding{"Convert", "Subtract", "Multiply", "Reshape",
                                              "Transpose"};
  const ov::Node* source = node.get_input_node_ptr(index);
  while (decoding.count(source->get_type_name()) == 1) source = source->get_input_node_ptr(0);
  return std::string(source->get_type_name()) == "Constant" ? source : nullptr;
}

}  // namespace

const char* hint_of(const std::string& precision) { return known(precision).hint; }

void check_offered(const std::vector<std::string>& capabilities, const std::string& precision,
                   const std::string& processor) {
  const std::set<std::string> offered(capabilities.begin(), capabilities.end());
  if (offered.count(known(precision).capability) == 1) return;
  std::string there;
  for (const Known& each : kKnown)
    if (offered.count(each.capability) == 1)
      there += (there.empty() ? "" : ", ") + std::string(each.precision);
  throw device_failure("precision " + precision + ": OpenVINO does not offer it on " + processor +
                       "; choose one of: " + there);
}

Layers layers_of(const ov::Model& model) {
  Layers found;
  for (const auto& node : model.get_ordered_ops()) {
    const std::string kind = node->get_type_name();
    if (!is_convolution(kind) && kind != "MatMul") continue;
    for (const size_t index : {1, 0})  // the weights; a product may have them first
      if (const ov::Node* constant = constant_behind(*node, index)) {
        ++found[name_of(constant->get_element_type().get_type_name())];
        break;
      }
  }
  return found;
}

Layers computed_in(const ov::CompiledModel& compiled) {
  Layers found;
  for (const auto& node : compiled.get_runtime_model()->get_ops()) {
    const auto& about = node->get_rt_info();
    const auto kind = about.at("layerType").as<std::string>();
    if (is_convolution(kind) || is_product(kind))
      ++found[name_of(about.at("runtimePrecision").as<std::string>())];
  }
  return found;
}

void check_computed(const Layers& layers, const Layers& computed, const std::string& precision) {
  const auto number = [&](const Layers& of) {
    const auto at = of.find(precision);
    return at == of.end() ? 0 : at->second;
  };
  if (precision == "int8" && number(layers) == 0)
    throw bundle_failure("the graph in int8 has no layer stored in int8: export it again");
  int64_t all = 0;
  std::string listed;
  for (const auto& [name, count] : computed) {
    all += count;
    listed += (listed.empty() ? "" : ", ") + std::to_string(count) + " in " + name;
  }
  const int64_t expected = precision == "int8" ? number(layers) : all;
  const int64_t follow = number(computed);
  if (follow > 0 && static_cast<double>(follow) >= kMost * static_cast<double>(expected)) return;
  throw device_failure("precision " + precision + " was asked for " + std::to_string(expected) +
                       " layers, and OpenVINO computes " + (listed.empty() ? "none" : listed) +
                       ": it would not be what serves, so ask for another precision");
}

}  // namespace edgead

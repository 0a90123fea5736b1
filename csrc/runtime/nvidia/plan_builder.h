// ONNX bytes to a plan for the GPU of this machine; edgead/nvidia/plans/builder.py, of which this
// is the same recipe: the precision is in the graph, and the parsed network is counted before
// anything is built. Batch of one.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "manifest.h"

namespace edgead {

// Counts by dtype; a product is a convolution or a matrix product.
struct NetworkCensus {
  std::map<std::string, int64_t> tensors;   // values that the layers give
  std::map<std::string, int64_t> products;  // "int8" where the input was quantised
  std::map<std::string, int64_t> weights;   // elements of the products' weights
  std::vector<std::string> float32_products;
};

struct BuiltPlan {
  std::string plan;
  NetworkCensus census;
  double seconds;
};

// tensors: of Manifest::tensors(). Inside of Device::run. Failure (device): the graph, TensorRT or
// the GPU refused.
BuiltPlan build_plan(const std::string& onnx, const std::vector<TensorShape>& tensors,
                     const std::string& precision);

}  // namespace edgead

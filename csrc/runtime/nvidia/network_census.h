// What a parsed network computes in, counted: a build may be asked for float16, warn, and give
// float32; edgead/nvidia/plans/census.py.
#pragma once
#include <NvInfer.h>

#include "plan_builder.h"

namespace edgead {

NetworkCensus take_census(const nvinfer1::INetworkDefinition& network);

// Failure (device) where a census does not show the precision that was asked for.
void check_precision(const NetworkCensus& census, const std::string& asked);

std::string dtype_of(nvinfer1::DataType type);

}  // namespace edgead

// What OpenVINO is asked to compute in, and what it really computes in;
// edgead/cpu/precision.py says why both are looked at.
#pragma once
#include <map>
#include <openvino/openvino.hpp>
#include <string>
#include <vector>

namespace edgead {

using Layers = std::map<std::string, int64_t>;  // how many, by precision

// INFERENCE_PRECISION_HINT of a precision.
const char* hint_of(const std::string& precision);

// Failure for a precision that is not among a processor's OPTIMIZATION_CAPABILITIES.
void check_offered(const std::vector<std::string>& capabilities, const std::string& precision,
                   const std::string& processor);

// Layers with stored weights in a graph that was read, by the type of the weights.
Layers layers_of(const ov::Model& model);

// Convolutions and matrix products of a compiled graph, by what they compute in.
Layers computed_in(const ov::CompiledModel& compiled);

// Failure where another precision than the one asked for would serve.
void check_computed(const Layers& layers, const Layers& computed, const std::string& precision);

}  // namespace edgead

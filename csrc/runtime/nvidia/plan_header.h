// The first bytes of a plan, for messages only: TensorRT says itself whether it loads one;
// edgead/nvidia/plans/header.py.
#pragma once
#include <string>

namespace edgead {

// " (its header says TensorRT 8.6.1)" where it says another version than the library's, " (it is
// not a plan of TensorRT)", or nothing.
std::string said_by_header(const std::string& plan);

}  // namespace edgead

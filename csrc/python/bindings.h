// What edgead._cpu and edgead.nvidia._cuda share: the arguments of edgead/anomaly_map.py as a plan.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <vector>

#include "anomaly_map.h"

namespace edgead {

// given: shapes, weights, size, distance, fusion, pooling, top_count, align_corners, sigma, type,
// layout (the enumerations as numbers), roi (uint8 [height, width], C-contiguous, or None).
inline AnomalyMapParams params_of(const pybind11::kwargs& given) {
  auto number = [&](const char* name) { return given[name].cast<int32_t>(); };
  const auto shapes = given["shapes"].cast<std::vector<std::array<int32_t, 3>>>();
  const auto weights = given["weights"].cast<std::vector<double>>();
  const auto size = given["size"].cast<std::array<int32_t, 2>>();
  AnomalyMapParams p{};
  p.levels = static_cast<int32_t>(shapes.size());
  for (int32_t k = 0; k < p.levels; ++k)
    p.level[k] = {shapes[k][0], shapes[k][1], shapes[k][2], weights.at(k)};
  p.height = size[0], p.width = size[1];
  p.type = static_cast<Type>(number("type"));
  p.layout = static_cast<Layout>(number("layout"));
  p.distance = static_cast<Distance>(number("distance"));
  p.fusion = static_cast<Fusion>(number("fusion"));
  p.pooling = static_cast<Pooling>(number("pooling"));
  p.top_count = number("top_count");
  p.align_corners = given["align_corners"].cast<bool>();
  p.sigma = given["sigma"].cast<double>();
  p.has_roi = !given["roi"].is_none();
  return p;
}

// `memory` on the host, of anomaly_map_plan_bytes(p).
inline AnomalyMapPlan plan_of(const AnomalyMapParams& p, const pybind11::kwargs& given,
                              void* memory) {
  if (!p.has_roi) return anomaly_map_plan(p, nullptr, memory);
  const auto roi = given["roi"].cast<pybind11::array_t<uint8_t, pybind11::array::c_style>>();
  return anomaly_map_plan(p, roi.data(), memory);
}

}  // namespace edgead

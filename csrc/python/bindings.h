// What edgead._cpu and edgead.nvidia._cuda share: errors, and the arguments of edgead/preprocess.py
// and edgead/anomaly_map.py as the structs of the kernels.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "arguments.h"
#include "failure.h"

namespace edgead {

// bindings_NAME.cpp
void bind_arguments(pybind11::module_& m);
void bind_bundle(pybind11::module_& m);
void bind_device(pybind11::module_& m);
void bind_nv12(pybind11::module_& m);
void bind_runtime(pybind11::module_& m);
void bind_signature(pybind11::module_& m);
void bind_signals(pybind11::module_& m);

// A text that may hold a name which is not UTF-8, as os.fsdecode gives it.
inline pybind11::str text_of(const std::string& text) {
  return pybind11::reinterpret_steal<pybind11::str>(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "surrogateescape"));
}

inline const char* error_of(edgead_status status) {
  switch (status) {
    case EDGEAD_ERROR_CALIBRATION:
      return "CalibrationError";
    case EDGEAD_ERROR_INPUT:
      return "InputError";
    case EDGEAD_ERROR_DEVICE:
      return "DeviceError";
    case EDGEAD_ERROR_QUALIFICATION:
      return "QualificationError";
    case EDGEAD_ERROR_SIGNATURE:
      return "SignatureError";
    default:
      return "BundleError";
  }
}

// A Failure as the error of edgead/errors.py that has its status.
inline void raise_failure(std::exception_ptr pointer) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Failure& failure) {
    const auto kind = pybind11::module_::import("edgead.errors").attr(error_of(failure.status));
    PyErr_SetObject(kind.ptr(), text_of(failure.what()).ptr());
  }
}

// Params of a kernel, or a Failure that says what is wrong with them.
template <class Params>
Params checked(const Params& params) {
  refuse(problem_of(params));
  return params;
}

// One axis of preprocess, and its tables in host memory.
struct HostAxis {
  HostAxis(int32_t in, int32_t out)
      : start(out), count(out), weight(static_cast<size_t>(out) * preprocess_taps(in, out)) {
    axis = preprocess_axis(in, out, start.data(), count.data(), weight.data());
  }
  std::vector<int32_t> start, count;
  std::vector<uint16_t> weight;
  PreprocessAxis axis;
};

// given: shape, strides, sample_bytes, bit_depth, size, order, scale, bias, type, layout (both as
// numbers).
inline PreprocessParams preprocess_params_of(const pybind11::kwargs& given) {
  const auto shape = given["shape"].cast<std::array<int32_t, 3>>();
  const auto strides = given["strides"].cast<std::array<int64_t, 3>>();
  const auto size = given["size"].cast<std::array<int32_t, 2>>();
  const auto order = given["order"].cast<std::array<int32_t, 3>>();
  const auto scale = given["scale"].cast<std::array<float, 3>>();
  const auto bias = given["bias"].cast<std::array<float, 3>>();
  PreprocessParams p{};
  p.height = shape[0], p.width = shape[1], p.channels = shape[2];
  p.sample_bytes = given["sample_bytes"].cast<int32_t>();
  p.bit_depth = given["bit_depth"].cast<int32_t>();
  p.row_stride = strides[0], p.pixel_stride = strides[1], p.channel_stride = strides[2];
  p.out_height = size[0], p.out_width = size[1];
  for (int c = 0; c < 3; ++c) p.order[c] = order[c], p.scale[c] = scale[c], p.bias[c] = bias[c];
  p.type = static_cast<Type>(given["type"].cast<int32_t>());
  p.layout = static_cast<Layout>(given["layout"].cast<int32_t>());
  return p;
}

// given: shapes, weights, size, distance, fusion, pooling, top_count, align_corners, sigma, type,
// layout (the enumerations as numbers), roi (uint8 [height, width], C-contiguous, or None).
inline AnomalyMapParams params_of(const pybind11::kwargs& given) {
  auto number = [&](const char* name) { return given[name].cast<int32_t>(); };
  const auto shapes = given["shapes"].cast<std::vector<std::array<int32_t, 3>>>();
  const auto weights = given["weights"].cast<std::vector<double>>();
  const auto size = given["size"].cast<std::array<int32_t, 2>>();
  AnomalyMapParams p{};
  if (shapes.size() != weights.size())
    throw input_failure(std::to_string(shapes.size()) + " pairs and " +
                        std::to_string(weights.size()) + " weights, expected as many");
  p.levels = static_cast<int32_t>(shapes.size());
  for (int32_t k = 0; k < std::min(p.levels, kMaxLevels); ++k)  // more are refused
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
  return checked(p);
}

// `memory` on the host, of anomaly_map_plan_bytes().
inline AnomalyMapPlan plan_of(const pybind11::kwargs& given, void* memory) {
  const AnomalyMapParams p = params_of(given);
  if (!p.has_roi) return anomaly_map_plan(p, nullptr, memory);
  const auto roi = given["roi"].cast<pybind11::array_t<uint8_t, pybind11::array::c_style>>();
  return anomaly_map_plan(p, roi.data(), memory);
}

// given: positions, width, weights, blended, temperature, root, type, layout (as numbers). What
// belongs to the memory is not set.
inline NearestParams nearest_params_of(const pybind11::kwargs& given) {
  auto number = [&](const char* name) { return given[name].cast<int32_t>(); };
  const auto weights = given["weights"].cast<std::vector<float>>();
  NearestParams p{};
  p.positions = number("positions"), p.width = number("width");
  p.k = static_cast<int32_t>(weights.size());
  for (int32_t i = 0; i < std::min(p.k, kMaxNearest); ++i) p.weight[i] = weights.at(i);
  p.blended = number("blended"), p.temperature = given["temperature"].cast<float>();
  p.root = given["root"].cast<bool>();
  p.query_type = static_cast<Type>(number("type"));
  p.layout = static_cast<Layout>(number("layout"));
  return p;
}

// given: size, channels, outputs, side, triangular, channel_normal, epsilon, type, layout (as
// numbers).
inline WhitenParams whiten_params_of(const pybind11::kwargs& given) {
  auto number = [&](const char* name) { return given[name].cast<int32_t>(); };
  const auto size = given["size"].cast<std::array<int32_t, 2>>();
  WhitenParams p{};
  p.height = size[0], p.width = size[1];
  p.channels = number("channels"), p.outputs = number("outputs"), p.side = number("side");
  p.triangular = given["triangular"].cast<bool>();
  p.channel_normal = given["channel_normal"].cast<bool>();
  p.epsilon = given["epsilon"].cast<float>();
  p.type = static_cast<Type>(number("type"));
  p.layout = static_cast<Layout>(number("layout"));
  return p;
}

}  // namespace edgead

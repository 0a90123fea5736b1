// The rules of kernels/arguments.h for Python's entry points, which say what they were given.
#include <pybind11/stl.h>

#include "arguments.h"
#include "bindings.h"

namespace py = pybind11;

namespace edgead {
namespace {

using Wholes = std::vector<int64_t>;
using Numbers = std::vector<double>;

py::tuple tuple_of(const Words& words) { return py::tuple(py::cast(words)); }

// (scale, bias) of R, G, B.
std::pair<std::array<float, 3>, std::array<float, 3>> normalisation(
    const std::array<double, 3>& mean, const std::array<double, 3>& std, int32_t bit_depth) {
  PreprocessParams p{};
  p.bit_depth = bit_depth;
  preprocess_normalise(p, mean.data(), std.data());
  return {{p.scale[0], p.scale[1], p.scale[2]}, {p.bias[0], p.bias[1], p.bias[2]}};
}

// factors [regions, outputs, channels].
bool triangular(const py::array_t<float, py::array::c_style>& factors) {
  return whiten_triangular(factors.data(), static_cast<size_t>(factors.shape(0)),
                           static_cast<int32_t>(factors.shape(1)),
                           static_cast<int32_t>(factors.shape(2)));
}

}  // namespace

void bind_arguments(py::module_& m) {
  m.def("expected_size", &expected_size, py::arg("sides"));
  m.def("expected_mean", &expected_mean, py::arg("mean"));
  m.def("expected_std", &expected_std, py::arg("std"));
  m.def("expected_bit_depth", &expected_bit_depth, py::arg("bits"));
  m.def("expected_weights", &expected_weights, py::arg("weights"), py::arg("most"));
  m.def("expected_blur_sigma", &expected_blur_sigma, py::arg("sigma"));
  m.def("expected_top_k", &expected_top_k, py::arg("share"));
  m.def("expected_shape", &expected_shape, py::arg("shape"));
  m.def("expected_memory", &expected_memory, py::arg("rows"), py::arg("channels"));
  m.def("expected_scale", &expected_scale, py::arg("scale"), py::arg("channels"));
  m.def("expected_neighbours", &expected_neighbours, py::arg("neighbours"));
  m.def("expected_temperature", &expected_temperature, py::arg("temperature"));
  m.def("expected_side", &expected_side, py::arg("side"));
  m.def("expected_epsilon", &expected_epsilon, py::arg("epsilon"));
  m.def("expected_factors", &expected_factors, py::arg("factors"), py::arg("channels"),
        py::arg("height"), py::arg("width"), py::arg("side"));
  m.def("expected_overlap", &expected_overlap, py::arg("overlap"), py::arg("height"),
        py::arg("width"));
  m.def("problem_of_frame", &problem_of_frame, py::arg("height"), py::arg("width"));
  m.def("problem_of_value", &problem_of_value, py::arg("highest"), py::arg("bits"));
  m.def("normalisation", &normalisation, py::arg("mean"), py::arg("std"), py::arg("bit_depth"));
  m.def("top_count", &anomaly_map_top_count, py::arg("share"), py::arg("kept"));
  m.def("triangular", &triangular, py::arg("factors"));
  m.attr("TYPES") = tuple_of(kTypes);
  m.attr("LAYOUTS") = tuple_of(kLayouts);
  m.attr("DISTANCES") = tuple_of(kDistances);
  m.attr("FUSIONS") = tuple_of(kFusions);
  m.attr("POOLINGS") = tuple_of(kPoolings);
  m.attr("SEARCHES") = tuple_of(kSearches);
  m.attr("BIT_DEPTHS") = py::make_tuple(kBitDepths[0], kBitDepths[1]);
  m.attr("MAX_SIDE") = kMaxSide;
  m.attr("MAX_LEVELS") = kMaxLevels;
  m.attr("MAX_NEAREST") = kMaxNearest;
  m.attr("PARTS") = kParts;
  m.attr("WHITEN_EPSILON") = kWhitenEpsilon;
}

}  // namespace edgead

// What of runtime/ Python needs too: calibration, golden frames, the geometry of tiles, pooling,
// restrictions.
#include "bindings.h"
#include "calibration.h"
#include "golden_check.h"
#include "pooling.h"
#include "principal_components.h"
#include "restrictions.h"
#include "tiling.h"

namespace py = pybind11;

namespace edgead {
namespace {

using Floats = py::array_t<float, py::array::c_style>;

// values, roi (or None): C-contiguous, of one size.
double pool_of(const py::array_t<float, py::array::c_style>& values, const py::object& roi,
               int32_t pooling, double share) {
  py::array_t<uint8_t, py::array::c_style> kept;
  if (!roi.is_none()) kept = roi.cast<py::array_t<uint8_t, py::array::c_style>>();
  const size_t count = static_cast<size_t>(values.size());
  const float* from = values.data();
  const uint8_t* counts = roi.is_none() ? nullptr : kept.data();
  const py::gil_scoped_release release;
  std::vector<float> scratch(count);
  return pool(from, counts, count, static_cast<Pooling>(pooling), share, scratch.data());
}

// (mean [channels], basis [components, channels]) of values [rows, channels].
py::tuple components_of(const Floats& values) {
  const auto rows = static_cast<size_t>(values.shape(0));
  const auto channels = static_cast<size_t>(values.shape(1));
  const float* from = values.data();
  PrincipalComponents found;
  {
    const py::gil_scoped_release release;
    found = principal_components(from, rows, channels);
  }
  const auto wide = static_cast<py::ssize_t>(channels);
  const auto tall = static_cast<py::ssize_t>(found.basis.size()) / wide;
  return py::make_tuple(Floats(wide, found.mean.data()), Floats({tall, wide}, found.basis.data()));
}

// found, expected: maps [height, width] of one size.
GoldenCheck compared(const Manifest& manifest, size_t index,
                     const std::pair<double, double>& tolerance, double score, const Floats& found,
                     const Floats& expected) {
  if (found.size() != expected.size()) throw py::value_error("maps of two sizes");
  const std::vector<float> values(expected.data(), expected.data() + expected.size());
  return compare_golden(manifest, manifest.golden.at(index), {tolerance.first, tolerance.second},
                        score, found.data(), values);
}

void bind_golden(py::module_& m) {
  py::class_<Tolerance>(m, "Tolerance")
      .def_readonly("score", &Tolerance::score)
      .def_readonly("map", &Tolerance::map);
  py::class_<GoldenCheck>(m, "GoldenCheck")
      .def_property_readonly("image", [](const GoldenCheck& self) { return text_of(self.image); })
      .def_readonly("score", &GoldenCheck::score)
      .def_readonly("expected_score", &GoldenCheck::expected_score)
      .def_readonly("score_difference", &GoldenCheck::score_difference)
      .def_readonly("map_difference", &GoldenCheck::map_difference)
      .def_readonly("tolerance", &GoldenCheck::tolerance)
      .def_property_readonly("passed", &GoldenCheck::passed);
  m.def("growth", py::vectorize(growth), py::arg("value"), py::arg("usual"));
  m.def("compare_golden", &compared, py::arg("manifest"), py::arg("index"), py::arg("tolerance"),
        py::arg("score"), py::arg("map"), py::arg("expected"));
  m.def("causes_of_difference", &causes_of_difference, py::arg("precision"));
  m.def(
      "problem_of_golden",
      [](const std::vector<GoldenCheck>& checks, const std::string& engine,
         const std::string& precision, const std::string& path) {
        return text_of(problem_of_golden(checks, engine, precision, path));
      },
      py::arg("checks"), py::arg("engine"), py::arg("precision"), py::arg("path"));
}

// (length, starts, offsets, weights [tiles, map pixels of a tile]).
py::tuple tuple_of(const TileAxis& axis) {
  const size_t tiles = axis.weights.size(), pixels = axis.weights.front().size();
  Floats weights({tiles, pixels});
  for (size_t i = 0; i < tiles; ++i)
    std::copy_n(axis.weights[i].data(), pixels, weights.mutable_data(static_cast<py::ssize_t>(i)));
  return py::make_tuple(axis.length, py::tuple(py::cast(axis.starts)),
                        py::tuple(py::cast(axis.offsets)), weights);
}

py::tuple planned_axis(int64_t frame, int64_t tile, int64_t overlap, int64_t pixels) {
  return tuple_of(plan_axis(frame, tile, overlap, pixels));
}

py::tuple planned_tiles(Size size, int64_t overlap, Size frame, Size tile_map) {
  const TilePlan plan = plan_tiles({size, overlap}, frame, tile_map);
  return py::make_tuple(tuple_of(plan.rows), tuple_of(plan.columns));
}

// values [down, across], to [height, width].
void stitched(const Floats& values, int32_t y, int32_t x, const Floats& down, const Floats& across,
              Floats& to) {
  const py::ssize_t tall = down.size(), wide = across.size(), width = to.shape(1);
  if (values.size() != tall * wide || y < 0 || x < 0 || y + tall > to.shape(0) || x + wide > width)
    throw py::value_error("a tile outside its map");
  const Tile tile{0,
                  0,
                  y,
                  x,
                  static_cast<int32_t>(tall),
                  static_cast<int32_t>(wide),
                  down.data(),
                  across.data()};
  stitch(tile, values.data(), to.mutable_data(), static_cast<size_t>(width));
}

}  // namespace

void bind_runtime(py::module_& m) {
  py::class_<Ranked>(m, "Ranked")
      .def(py::init<const std::vector<double>&, double, const std::vector<int64_t>&>(),
           py::arg("scores"), py::arg("tolerance"), py::arg("parts"))
      .def("p_value", &Ranked::p_value, py::arg("score"))
      .def("threshold", &Ranked::threshold, py::arg("rate"))
      .def_property_readonly("size", &Ranked::size)
      .def_property_readonly("counted", &Ranked::counted);
  m.def("check_false_reject_rate", &check_false_reject_rate, py::arg("rate"), py::arg("n"),
        py::arg("counted"));
  m.def("best_false_reject_rate", &best_false_reject_rate, py::arg("n"));
  m.def("default_false_reject_rate", &default_false_reject_rate, py::arg("n"));
  m.def("typed_rate", &typed_rate, py::arg("best"));
  m.def("images_needed", &images_needed, py::arg("rate"));
  m.def("plan_axis", &planned_axis, py::arg("frame"), py::arg("tile"), py::arg("overlap"),
        py::arg("pixels"));
  m.def("plan_tiles", &planned_tiles, py::arg("size"), py::arg("overlap"), py::arg("frame"),
        py::arg("tile_map"));
  m.def("stitch", &stitched, py::arg("values"), py::arg("y"), py::arg("x"), py::arg("down"),
        py::arg("across"), py::arg("to").noconvert());
  m.def("check_score", &check_score, py::arg("score"), py::arg("device"), py::arg("version"));
  m.def("principal_components", &components_of, py::arg("values"));
  bind_golden(m);
  m.def("pool", &pool_of, "See csrc/runtime/pooling.h.", py::arg("values"),
        py::arg("roi").none(true), py::arg("pooling"), py::arg("share"));
  m.def("code_refused", &code_refused, "See csrc/runtime/restrictions.h.", py::arg("library"));
  m.def("cure_of_code", &cure_of_code, py::arg("root"));
  m.def("restricted", &restricted, py::arg("said"));
  m.def("scarcity", &scarcity, py::arg("said"));
  m.def("problem_of_addresses", &problem_of_addresses, py::arg("threads"));
}

}  // namespace edgead

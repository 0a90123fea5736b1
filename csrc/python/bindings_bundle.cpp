// What of bundle/ Python needs too: manifest.json and the ignore mask.
#include "bindings.h"
#include "ignore_mask.h"
#include "manifest_parts.h"

namespace py = pybind11;

namespace edgead {
namespace {

using Ties = std::pair<double, double>;  // of the score, of the map

Ties ties_of(const Tolerance& tolerance) { return {tolerance.score, tolerance.map}; }

// (scores, peaks, ties).
py::tuple calibration_of(const Manifest& manifest, const std::string& precision) {
  const OwnCalibration found = manifest.calibration_of(precision);
  return py::make_tuple(py::tuple(py::cast(found.scores)), py::tuple(py::cast(found.peaks)),
                        ties_of(found.ties));
}

double peak_ties(const Manifest& manifest, const std::string& precision) {
  return manifest.peak_ties(manifest.calibration_of(precision));
}

// Name to shape, the input first.
py::dict tensors_of(const Manifest& manifest) {
  py::dict found;
  for (const TensorShape& tensor : manifest.tensors())
    found[text_of(tensor.name)] = py::tuple(py::cast(tensor.shape));
  return found;
}

// (channels, height, width) of each level of the map.
py::tuple shapes_of(const Manifest& manifest) {
  py::list found;
  for (const AnomalyMapLevel& level : manifest.levels())
    found.append(py::make_tuple(level.channels, level.height, level.width));
  return found;
}

// A byte for each pixel, 0 or 1, as bool or as uint8.
template <class T>
py::array_t<T> pixels_of(const std::vector<uint8_t>& values, Size size) {
  py::array_t<T> found({size.first, size.second});
  std::copy(values.begin(), values.end(), found.mutable_data());
  return found;
}

void checked_mask(Size frame_size, const std::vector<Polygon>& polygons, bool has_image) {
  check_ignore_mask({frame_size, polygons, has_image ? std::optional("") : std::nullopt});
}

void checked_frame(Size frame_size, Size frame) {
  check_frame_size({frame_size, {}, std::nullopt}, frame);
}

// image: None, or [height, width, bytes of a pixel].
py::array_t<bool> ignored(Size frame_size, const std::vector<Polygon>& polygons,
                          const py::object& image) {
  const IgnoreMask mask{frame_size, polygons, std::nullopt};
  if (image.is_none()) return pixels_of<bool>(ignored_pixels(mask, nullptr), frame_size);
  const auto bytes = image.cast<py::array_t<uint8_t, py::array::c_style>>();
  const auto side = [&](int axis) { return static_cast<int32_t>(bytes.shape(axis)); };
  const MaskImage given{bytes.data(), {side(0), side(1)}, side(2)};
  return pixels_of<bool>(ignored_pixels(mask, &given), frame_size);
}

py::array_t<uint8_t> roi(const py::array_t<bool, py::array::c_style>& ignored, Size map) {
  const std::vector<uint8_t> pixels(ignored.data(), ignored.data() + ignored.size());
  const Size frame{static_cast<int32_t>(ignored.shape(0)), static_cast<int32_t>(ignored.shape(1))};
  return pixels_of<uint8_t>(region_of_interest(pixels, frame, map), map);
}

}  // namespace

void bind_bundle(py::module_& m) {
  py::class_<Manifest>(m, "Manifest")
      .def(py::init(&read_manifest), py::arg("text"))
      .def("check_names", &check_names)
      .def(
          "model_of",
          [](const Manifest& self, const std::string& precision) {
            return text_of(self.model_of(precision));
          },
          py::arg("precision"))
      .def(
          "tolerance_of",
          [](const Manifest& self, const std::string& precision) {
            return ties_of(self.tolerance_of(precision));
          },
          py::arg("precision"))
      .def("calibration_of", &calibration_of, py::arg("precision"))
      .def("peak_ties", &peak_ties, py::arg("precision"))
      .def("scored_size", &Manifest::scored_size)
      .def("weights", [](const Manifest& self) { return py::tuple(py::cast(self.weights())); })
      .def("shapes", &shapes_of)
      .def("tensors", &tensors_of);
  m.def("problem_of_digest", &problem_of_digest, py::arg("bytes"), py::arg("found"),
        py::arg("expected"));
  m.attr("SCHEMA_VERSION") = kSchemaVersion;
  m.attr("MODEL_PRECISIONS") = py::tuple(py::cast(kModelPrecisions));
  m.def("check_ignore_mask", &checked_mask, py::arg("frame_size"), py::arg("polygons"),
        py::arg("has_image"));
  m.def("check_frame_size", &checked_frame, py::arg("frame_size"), py::arg("frame"));
  m.def("ignored_pixels", &ignored, py::arg("frame_size"), py::arg("polygons"),
        py::arg("image").none(true));
  m.def("region_of_interest", &roi, py::arg("ignored"), py::arg("map"));
}

}  // namespace edgead

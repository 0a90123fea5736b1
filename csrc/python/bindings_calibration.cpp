// The calibration of runtime/ for edgead/calibration.py; its failures as Python's errors.
#include <pybind11/stl.h>

#include "bindings.h"
#include "calibration.h"
#include "failure.h"

namespace py = pybind11;

namespace edgead {
namespace {

// By edgead_status.
const char* error_of(edgead_status status) {
  switch (status) {
    case EDGEAD_ERROR_CALIBRATION:
      return "CalibrationError";
    case EDGEAD_ERROR_BUNDLE:
      return "BundleError";
    default:
      return "InputError";
  }
}

void raise(std::exception_ptr pointer) {
  try {
    std::rethrow_exception(pointer);
  } catch (const Failure& failure) {
    const py::object kind = py::module_::import("edgead.errors").attr(error_of(failure.status));
    PyErr_SetString(kind.ptr(), failure.what());
  }
}

}  // namespace

void bind_calibration(py::module_& m) {
  py::register_exception_translator(&raise);
  py::class_<Ranked>(m, "Ranked")
      .def(py::init<const std::vector<double>&, double>(), py::arg("scores"), py::arg("tolerance"))
      .def("p_value", &Ranked::p_value, py::arg("score"))
      .def("threshold", &Ranked::threshold, py::arg("rate"));
  m.def("check_false_reject_rate", &check_false_reject_rate, py::arg("rate"), py::arg("n"));
  m.def("typed_rate", &typed_rate, py::arg("best"));
  m.def("images_needed", &images_needed, py::arg("rate"));
}

}  // namespace edgead

// The calibration of runtime/ for edgead/calibration.py.
#include <pybind11/stl.h>

#include "bindings.h"
#include "calibration.h"

namespace py = pybind11;

namespace edgead {

void bind_calibration(py::module_& m) {
  py::class_<Ranked>(m, "Ranked")
      .def(py::init<const std::vector<double>&, double>(), py::arg("scores"), py::arg("tolerance"))
      .def("p_value", &Ranked::p_value, py::arg("score"))
      .def("threshold", &Ranked::threshold, py::arg("rate"));
  m.def("check_false_reject_rate", &check_false_reject_rate, py::arg("rate"), py::arg("n"));
  m.def("typed_rate", &typed_rate, py::arg("best"));
  m.def("images_needed", &images_needed, py::arg("rate"));
}

}  // namespace edgead

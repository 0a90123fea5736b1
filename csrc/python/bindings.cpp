// edgead._cpu: the kernels for Python. Checks nothing that edgead/*.py has checked already.
#include "bindings.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "fingerprint.h"
#include "kernels.h"

namespace py = pybind11;

namespace edgead {
namespace {

const Kernels& kernels_or_throw(const std::string& simd) {
  const Kernels* set = kernels(simd.empty() ? nullptr : simd.c_str());
  if (set == nullptr) throw std::invalid_argument("this machine has no " + simd);
  return *set;
}

// Uninitialised memory, 64-byte aligned.
struct Memory {
  explicit Memory(size_t bytes)
      : data(static_cast<char*>(::operator new(bytes, std::align_val_t(64)))) {}
  ~Memory() { ::operator delete(data, std::align_val_t(64)); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  char* data;
};

// preprocess for one geometry of frames; not for two threads at once.
class Preprocess {
 public:
  // given: as preprocess_params_of needs it, and simd.
  explicit Preprocess(const py::kwargs& given)
      : set_(kernels_or_throw(given["simd"].cast<std::string>())),
        p_(preprocess_params_of(given)),
        vertical_(p_.height, p_.out_height),
        horizontal_(p_.width, p_.out_width),
        workspace_(preprocess_workspace_bytes(p_)) {}

  void run(const py::array& frame, py::array& image) {
    const void* from = frame.data();
    void* to = image.mutable_data();
    py::gil_scoped_release release;
    set_.preprocess(p_, vertical_.axis, horizontal_.axis, from, to, workspace_.data);
  }

 private:
  const Kernels& set_;
  PreprocessParams p_;
  HostAxis vertical_, horizontal_;
  Memory workspace_;
};

// anomaly_map for one set of shapes; not for two threads at once.
class AnomalyMap {
 public:
  // given: as params_of needs it, and simd.
  explicit AnomalyMap(const py::kwargs& given)
      : set_(kernels_or_throw(given["simd"].cast<std::string>())),
        memory_(anomaly_map_plan_bytes(params_of(given))),
        plan_(plan_of(given, memory_.data)),
        workspace_(anomaly_map_workspace_bytes(plan_.params)) {}

  // pairs: `levels` tuples (reference, restored); map [batch, height, width]; score [batch].
  void run(const py::sequence& pairs, py::array_t<float>& map, py::array_t<float>& score) {
    const void* pointers[2][kMaxLevels];
    for (int32_t k = 0; k < plan_.params.levels; ++k) {
      py::sequence pair = pairs[k];
      for (int32_t i = 0; i < 2; ++i) pointers[i][k] = py::array(pair[i]).data();
    }
    const int32_t batch = static_cast<int32_t>(map.shape(0));
    float *to = map.mutable_data(), *scores = score.mutable_data();
    py::gil_scoped_release release;
    set_.anomaly_map(plan_, pointers[0], pointers[1], batch, to, scores, workspace_.data);
  }

 private:
  const Kernels& set_;
  Memory memory_;
  AnomalyMapPlan plan_;
  Memory workspace_;
};

// Of an array of any strides, without a copy.
uint64_t fingerprint_of(const py::array& array) {
  if (array.ndim() > 8) throw std::invalid_argument("more than 8 axes");
  FingerprintAxis axes[8];
  for (py::ssize_t i = 0; i < array.ndim(); ++i) axes[i] = {array.shape(i), array.strides(i)};
  const void* data = array.data();
  const auto count = static_cast<int32_t>(array.ndim());
  const int64_t sample_bytes = array.itemsize();
  py::gil_scoped_release release;
  return fingerprint(data, axes, count, sample_bytes);
}

std::vector<std::string> simd_paths() {
  std::vector<std::string> names;
  for (const char* name : {"avx512", "avx2", "neon", "baseline"})
    if (kernels(name) != nullptr) names.emplace_back(name);
  return names;
}

}  // namespace
}  // namespace edgead

PYBIND11_MODULE(_cpu, m) {
  using namespace edgead;
  m.doc() = "CPU kernels of edgead; use edgead.preprocess and edgead.anomaly_map instead.";
  m.def("simd_paths", &simd_paths, "Instruction sets built and usable here, best first.");
  m.def("fingerprint", &fingerprint_of, "64 bits of what an array holds.", py::arg("array"));
  m.def(
      "keep_for_ever", [](const py::object& object) { object.inc_ref(); },
      "Never destroy an object, not even when the process ends.", py::arg("object"));
  py::class_<Preprocess>(m, "Preprocess")
      .def(py::init<const py::kwargs&>())
      .def("run", &Preprocess::run, py::arg("frame"), py::arg("image"));
  py::class_<AnomalyMap>(m, "AnomalyMap")
      .def(py::init<const py::kwargs&>())
      .def("run", &AnomalyMap::run, py::arg("pairs"), py::arg("map").noconvert(),
           py::arg("score").noconvert());
  m.attr("MAX_LEVELS") = kMaxLevels;
}

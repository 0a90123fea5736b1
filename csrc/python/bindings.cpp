// edgead._cpu: the kernels for Python. Checks nothing that edgead/*.py has checked already.
#include "bindings.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

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
struct Workspace {
  explicit Workspace(size_t bytes)
      : data(static_cast<char*>(::operator new(bytes, std::align_val_t(64)))) {}
  ~Workspace() { ::operator delete(data, std::align_val_t(64)); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  char* data;
};

struct Axis {
  Axis(int32_t in, int32_t out)
      : start(out), count(out), weight(static_cast<size_t>(out) * preprocess_taps(in, out)) {
    axis = preprocess_axis(in, out, start.data(), count.data(), weight.data());
  }
  std::vector<int32_t> start, count;
  std::vector<uint16_t> weight;
  PreprocessAxis axis;
};

// preprocess for one geometry of frames; not for two threads at once.
class Preprocess {
 public:
  Preprocess(std::array<int32_t, 3> shape, std::array<int64_t, 3> strides, int32_t sample_bytes,
             std::array<int32_t, 2> size, std::array<int32_t, 3> order, std::array<float, 3> scale,
             std::array<float, 3> bias, int32_t type, int32_t layout, const std::string& simd)
      : set_(kernels_or_throw(simd)), vertical_(shape[0], size[0]), horizontal_(shape[1], size[1]) {
    p_.height = shape[0], p_.width = shape[1], p_.channels = shape[2];
    p_.sample_bytes = sample_bytes;
    p_.row_stride = strides[0], p_.pixel_stride = strides[1], p_.channel_stride = strides[2];
    p_.out_height = size[0], p_.out_width = size[1];
    for (int c = 0; c < 3; ++c)
      p_.order[c] = order[c], p_.scale[c] = scale[c], p_.bias[c] = bias[c];
    p_.type = static_cast<Type>(type), p_.layout = static_cast<Layout>(layout);
    workspace_ = std::make_unique<Workspace>(preprocess_workspace_bytes(p_));
  }

  void run(const py::array& frame, py::array& image) {
    const void* from = frame.data();
    void* to = image.mutable_data();
    py::gil_scoped_release release;
    set_.preprocess(p_, vertical_.axis, horizontal_.axis, from, to, workspace_->data);
  }

 private:
  const Kernels& set_;
  Axis vertical_, horizontal_;
  PreprocessParams p_{};
  std::unique_ptr<Workspace> workspace_;
};

// anomaly_map for one set of shapes; not for two threads at once.
class AnomalyMap {
 public:
  // given: as params_of wants it, and simd.
  explicit AnomalyMap(const py::kwargs& given)
      : set_(kernels_or_throw(given["simd"].cast<std::string>())) {
    const AnomalyMapParams p = params_of(given);
    memory_ = std::make_unique<Workspace>(anomaly_map_plan_bytes(p));
    plan_ = plan_of(p, given, memory_->data);
    workspace_ = std::make_unique<Workspace>(anomaly_map_workspace_bytes(p));
  }

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
    set_.anomaly_map(plan_, pointers[0], pointers[1], batch, to, scores, workspace_->data);
  }

 private:
  const Kernels& set_;
  AnomalyMapPlan plan_;
  std::unique_ptr<Workspace> memory_, workspace_;
};

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
  py::class_<Preprocess>(m, "Preprocess")
      .def(py::init<std::array<int32_t, 3>, std::array<int64_t, 3>, int32_t, std::array<int32_t, 2>,
                    std::array<int32_t, 3>, std::array<float, 3>, std::array<float, 3>, int32_t,
                    int32_t, const std::string&>(),
           py::kw_only(), py::arg("shape"), py::arg("strides"), py::arg("sample_bytes"),
           py::arg("size"), py::arg("order"), py::arg("scale"), py::arg("bias"), py::arg("type"),
           py::arg("layout"), py::arg("simd"))
      .def("run", &Preprocess::run, py::arg("frame"), py::arg("image"));
  py::class_<AnomalyMap>(m, "AnomalyMap")
      .def(py::init<const py::kwargs&>())
      .def("run", &AnomalyMap::run, py::arg("pairs"), py::arg("map").noconvert(),
           py::arg("score").noconvert());
  m.attr("MAX_LEVELS") = kMaxLevels;
}

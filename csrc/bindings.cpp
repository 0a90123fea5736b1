// edgead._cpu: the kernels for Python. Checks nothing that edgead/*.py has checked already.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

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
  Preprocess(std::vector<int64_t> shape, std::vector<int64_t> strides, int32_t sample_bytes,
             std::vector<int32_t> size, std::vector<int32_t> order, std::vector<float> scale,
             std::vector<float> bias, const std::string& simd)
      : set_(kernels_or_throw(simd)),
        vertical_(static_cast<int32_t>(shape.at(0)), size.at(0)),
        horizontal_(static_cast<int32_t>(shape.at(1)), size.at(1)) {
    p_.height = static_cast<int32_t>(shape[0]);
    p_.width = static_cast<int32_t>(shape[1]);
    p_.channels = static_cast<int32_t>(shape.at(2));
    p_.sample_bytes = sample_bytes;
    p_.row_stride = strides.at(0), p_.pixel_stride = strides.at(1);
    p_.channel_stride = strides.at(2);
    p_.out_height = size[0], p_.out_width = size[1];
    for (int c = 0; c < 3; ++c)
      p_.order[c] = order.at(c), p_.scale[c] = scale.at(c), p_.bias[c] = bias.at(c);
    workspace_ = std::make_unique<Workspace>(preprocess_workspace_bytes(p_));
  }

  void run(const py::array& frame, py::array_t<float>& image) {
    const void* from = frame.data();
    float* to = image.mutable_data();
    py::gil_scoped_release release;
    set_.preprocess(p_, vertical_.axis, horizontal_.axis, from, to, workspace_->data);
  }

 private:
  const Kernels& set_;
  Axis vertical_, horizontal_;
  PreprocessParams p_{};
  std::unique_ptr<Workspace> workspace_;
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
      .def(py::init<std::vector<int64_t>, std::vector<int64_t>, int32_t, std::vector<int32_t>,
                    std::vector<int32_t>, std::vector<float>, std::vector<float>,
                    const std::string&>(),
           py::arg("shape"), py::arg("strides"), py::arg("sample_bytes"), py::arg("size"),
           py::arg("order"), py::arg("scale"), py::arg("bias"), py::arg("simd") = "")
      .def("run", &Preprocess::run, py::arg("frame"), py::arg("image").noconvert());
}

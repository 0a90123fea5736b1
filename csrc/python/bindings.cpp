// edgead._cpu: the kernels for Python. edgead/*.py has looked at the arrays.
#include "bindings.h"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "aligned.h"
#include "fingerprint.h"
#include "kernels.h"

namespace py = pybind11;

namespace edgead {
namespace {

// The set called `simd`, the best one when that is empty.
template <class Set>
const Set& named(const std::vector<const Set*>& sets, const std::string& simd) {
  for (const Set* set : sets)
    if (simd.empty() || simd == set->name) return *set;
  throw std::invalid_argument("this machine has no " + simd);
}

template <class Set>
std::vector<std::string> names_of(const std::vector<const Set*>& sets) {
  std::vector<std::string> names;
  for (const Set* set : sets) names.emplace_back(set->name);
  return names;
}

// preprocess for one geometry of frames; not for two threads at once.
class Preprocess {
 public:
  // given: as preprocess_params_of needs it, and simd.
  explicit Preprocess(const py::kwargs& given)
      : set_(named(all_kernels(), given["simd"].cast<std::string>())),
        p_(checked(preprocess_params_of(given))),
        vertical_(p_.height, p_.out_height),
        horizontal_(p_.width, p_.out_width),
        workspace_(preprocess_workspace_bytes(p_)) {}

  void run(const py::array& frame, py::array& image) {
    const void* from = frame.data();
    void* to = image.mutable_data();
    py::gil_scoped_release release;
    set_.preprocess(p_, vertical_.axis, horizontal_.axis, from, to, workspace_.data());
  }

 private:
  const Kernels& set_;
  PreprocessParams p_;
  HostAxis vertical_, horizontal_;
  Aligned workspace_;
};

// anomaly_map for one set of shapes; not for two threads at once.
class AnomalyMap {
 public:
  // given: as params_of needs it, and simd.
  explicit AnomalyMap(const py::kwargs& given)
      : set_(named(all_kernels(), given["simd"].cast<std::string>())),
        memory_(anomaly_map_plan_bytes(params_of(given))),
        plan_(plan_of(given, memory_.data())),
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
    set_.anomaly_map(plan_, pointers[0], pointers[1], batch, to, scores, workspace_.data());
  }

 private:
  const Kernels& set_;
  Aligned memory_;
  AnomalyMapPlan plan_;
  Aligned workspace_;
};

// A memory of nearest, ready to be searched; holds on to its arrays.
class NearestMemory {
 public:
  // memory [rows, channels] of `type`, scale float32 [channels], mean float32 [channels], basis
  // float32 [parts, channels], all C-contiguous.
  NearestMemory(py::array memory, int32_t type, int32_t search, py::array_t<float> scale,
                py::array_t<float> mean, py::array_t<float> basis)
      : type_(static_cast<Type>(type)),
        search_(static_cast<Search>(search)),
        values_(std::move(memory)),
        scale_(std::move(scale)),
        memory_(nearest_index_bytes(size_of(0), size_of(1), search_)) {
    const void* values = values_.data();
    const float *scales = scale_.data(), *origin = mean.data(), *directions = basis.data();
    py::gil_scoped_release release;
    index_ = nearest_index(size_of(0), size_of(1), type_, search_, values, scales, origin,
                           directions, memory_.data());
  }

 private:
  friend class Nearest;
  int32_t size_of(int axis) const { return static_cast<int32_t>(values_.shape(axis)); }

  Type type_;
  Search search_;
  py::array values_;
  py::array_t<float> scale_;
  Aligned memory_;
  NearestIndex index_{};
};

// nearest for one number of positions; not for two threads at once.
class Nearest {
 public:
  // given: positions, width, weights, blended, temperature, root, type, layout, roi, simd.
  Nearest(std::shared_ptr<NearestMemory> memory, const py::kwargs& given)
      : set_(named(all_nearest_kernels(), given["simd"].cast<std::string>())),
        memory_(std::move(memory)),
        p_(checked(with_memory(nearest_params_of(given)))),
        guess_(static_cast<size_t>(p_.positions) * p_.k, -1),
        workspace_(nearest_workspace_bytes(p_)) {
    if (given["roi"].is_none()) return;
    const auto roi = given["roi"].cast<py::array_t<uint8_t, py::array::c_style>>();
    roi_.assign(roi.data(), roi.data() + p_.positions);
  }

  // query [batch, ..] as the params say; distance [batch, positions].
  void run(const py::array& query, py::array_t<float>& distance) {
    const int32_t batch = static_cast<int32_t>(distance.shape(0));
    const void* from = query.data();
    float* to = distance.mutable_data();
    py::gil_scoped_release release;
    set_.run(p_, memory_->index_, from, batch, roi_.empty() ? nullptr : roi_.data(), to,
             guess_.data(), workspace_.data());
  }

  // The nearest rows of the last frame [positions, k], -1 where there are none.
  py::array_t<int32_t> rows() const {
    py::array_t<int32_t> rows({p_.positions, p_.k});
    std::copy(guess_.begin(), guess_.end(), rows.mutable_data());
    return rows;
  }

 private:
  NearestParams with_memory(NearestParams p) const {
    p.rows = memory_->index_.rows, p.channels = memory_->index_.channels;
    p.memory_type = memory_->type_, p.search = memory_->search_;
    return p;
  }

  const NearestKernel& set_;
  std::shared_ptr<NearestMemory> memory_;
  NearestParams p_;
  std::vector<uint8_t> roi_;
  std::vector<int32_t> guess_;
  Aligned workspace_;
};

// whiten for one size of features; not for two threads at once.
class Whiten {
 public:
  // given: as whiten_params_of needs it, and mean, factor (float32, C-contiguous), roi (uint8 or
  // None), simd.
  explicit Whiten(const py::kwargs& given)
      : set_(named(all_kernels(), given["simd"].cast<std::string>())),
        p_(checked(whiten_params_of(given))),
        memory_(whiten_index_bytes(p_)),
        workspace_(whiten_workspace_bytes(p_)) {
    const auto mean = given["mean"].cast<py::array_t<float, py::array::c_style>>();
    const auto factor = given["factor"].cast<py::array_t<float, py::array::c_style>>();
    py::array_t<uint8_t, py::array::c_style> roi;
    const bool masked = !given["roi"].is_none();
    if (masked) roi = given["roi"].cast<py::array_t<uint8_t, py::array::c_style>>();
    index_ =
        whiten_index(p_, mean.data(), factor.data(), masked ? roi.data() : nullptr, memory_.data());
  }

  // feature [batch, ..] as the params say; distance [batch, height, width].
  void run(const py::array& feature, py::array_t<float>& distance) {
    const int32_t batch = static_cast<int32_t>(distance.shape(0));
    const void* from = feature.data();
    float* to = distance.mutable_data();
    py::gil_scoped_release release;
    set_.whiten(p_, index_, from, batch, to, workspace_.data());
  }

 private:
  const Kernels& set_;
  WhitenParams p_;
  Aligned memory_, workspace_;
  WhitenIndex index_{};
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

}  // namespace
}  // namespace edgead

PYBIND11_MODULE(_cpu, m) {
  using namespace edgead;
  m.doc() = "CPU kernels of edgead; use edgead.preprocess, anomaly_map, nearest and engine.whiten.";
  m.def(
      "simd_paths", [] { return names_of(all_kernels()); },
      "Instruction sets built and usable here, best first.");
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
  m.def(
      "nearest_paths", [] { return names_of(all_nearest_kernels()); },
      "Instruction sets of nearest, best first.");
  py::class_<NearestMemory, std::shared_ptr<NearestMemory>>(m, "NearestMemory")
      .def(py::init<py::array, int32_t, int32_t, py::array_t<float>, py::array_t<float>,
                    py::array_t<float>>(),
           py::kw_only(), py::arg("memory"), py::arg("type"), py::arg("search"), py::arg("scale"),
           py::arg("mean"), py::arg("basis"));
  py::class_<Nearest>(m, "Nearest")
      .def(py::init<std::shared_ptr<NearestMemory>, const py::kwargs&>())
      .def("run", &Nearest::run, py::arg("query"), py::arg("distance").noconvert())
      .def("rows", &Nearest::rows);
  py::class_<Whiten>(m, "Whiten")
      .def(py::init<const py::kwargs&>())
      .def("run", &Whiten::run, py::arg("feature"), py::arg("distance").noconvert());
  py::register_local_exception_translator(&raise_failure);
  bind_arguments(m);
  bind_bundle(m);
  bind_signature(m);
  bind_nv12(m);
  bind_runtime(m);
  bind_signals(m);
}

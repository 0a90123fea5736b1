// edgead.nvidia._cuda: the CUDA kernels for Python, on addresses in device memory. Imports without
// a driver; status() says whether there is a device.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <string>
#include <utility>
#include <vector>

#include "anomaly_map.h"
#include "bindings.h"
#include "graph_cuda.h"
#include "nearest_codes.h"
#include "nv12.h"
#include "raise.h"

namespace py = pybind11;

namespace edgead {
namespace {

// (0, the device's name), or (the error's number, its text).
std::pair<int, std::string> status() {
  int devices = 0;
  cudaError_t error = cudaGetDeviceCount(&devices);
  cudaDeviceProp properties{};
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, 0);
  if (error != cudaSuccess) {
    cudaGetLastError();  // it would otherwise stay for the next caller
    return {error, cudaGetErrorString(error)};
  }
  return {0, properties.name};
}

struct Axis {
  explicit Axis(const HostAxis& host)
      : start(host.start), count(host.count), weight(host.weight), axis(host.axis) {
    axis.start = static_cast<const int32_t*>(start.data());
    axis.count = static_cast<const int32_t*>(count.data());
    axis.weight = static_cast<const uint16_t*>(weight.data());
  }
  Buffer start, count, weight;
  PreprocessAxis axis;
};

class Preprocess {
 public:
  explicit Preprocess(const py::kwargs& given)
      : p_(checked(preprocess_params_of(given))),
        vertical_(HostAxis(p_.height, p_.out_height)),
        horizontal_(HostAxis(p_.width, p_.out_width)) {}

  void run(uintptr_t frame, uintptr_t image, uintptr_t stream) const {
    check(preprocess_cuda(p_, vertical_.axis, horizontal_.axis,
                          reinterpret_cast<const void*>(frame), reinterpret_cast<void*>(image),
                          reinterpret_cast<void*>(stream)));
  }

 private:
  PreprocessParams p_;
  Axis vertical_, horizontal_;
};

class AnomalyMap {
 public:
  // given: as params_of needs it, and batch.
  explicit AnomalyMap(const py::kwargs& given)
      : batch_(given["batch"].cast<int32_t>()),
        memory_(anomaly_map_plan_bytes(params_of(given))),
        workspace_(anomaly_map_cuda_workspace_bytes(params_of(given), batch_)) {
    std::vector<char> host(anomaly_map_plan_bytes(params_of(given)));
    plan_ = plan_of(given, host.data());
    memory_.fill(host.data(), host.size());
    plan_ = anomaly_map_plan_moved(plan_, memory_.data());
  }

  void run(const std::vector<std::pair<uintptr_t, uintptr_t>>& pairs, uintptr_t map,
           uintptr_t score, uintptr_t stream) const {
    const void *reference[kMaxLevels], *restored[kMaxLevels];
    for (int32_t k = 0; k < plan_.params.levels; ++k) {
      reference[k] = reinterpret_cast<const void*>(pairs.at(k).first);
      restored[k] = reinterpret_cast<const void*>(pairs.at(k).second);
    }
    check(anomaly_map_cuda(plan_, reference, restored, batch_, reinterpret_cast<float*>(map),
                           reinterpret_cast<float*>(score), workspace_.data(),
                           reinterpret_cast<void*>(stream)));
  }

 private:
  int32_t batch_;
  Buffer memory_, workspace_;
  AnomalyMapPlan plan_{};
};

// Addresses; 0 where DistanceOut has null.
DistanceOut out_of(uintptr_t counts, uintptr_t distance, uintptr_t scored, uintptr_t sum,
                   bool add) {
  return {reinterpret_cast<const float*>(counts), reinterpret_cast<float*>(distance),
          reinterpret_cast<const float*>(scored), reinterpret_cast<float*>(sum), add};
}

// Addresses of the planes, and of colors [height, width, 4].
void nv12(int32_t height, int32_t width, int64_t stride, int64_t chroma_stride, int32_t color_space,
          bool blue_first, uintptr_t light, uintptr_t chroma, uintptr_t colors, uintptr_t stream) {
  check(nv12_cuda({height, width, stride, chroma_stride, color_space, blue_first},
                  reinterpret_cast<const void*>(light), reinterpret_cast<const void*>(chroma),
                  reinterpret_cast<void*>(colors), reinterpret_cast<void*>(stream)));
}

// Addresses of distances [positions] of each signal of a frame, and of the sum [summed], or 0.
void raise(const std::vector<uintptr_t>& distances, int32_t positions, uintptr_t sum,
           int32_t summed, float lowest, float highest, uintptr_t stream) {
  if (distances.size() > kMaxLevels) throw py::value_error("more distances than a map has levels");
  Raise raise{};
  raise.positions = positions, raise.summed = summed, raise.lowest = lowest,
  raise.highest = highest;
  raise.sum = reinterpret_cast<float*>(sum);
  for (const uintptr_t one : distances)
    raise.distance[raise.shown++] = reinterpret_cast<float*>(one);
  check(raise_cuda(raise, reinterpret_cast<void*>(stream)));
}

class Nearest {
 public:
  // memory [rows, channels] and scale [channels] (or None) on the host; given: positions, width,
  // weights, blended, temperature, root, type, layout, and channels, rows, memory_type of the
  // memory.
  Nearest(const py::array& memory, const py::object& scale, const py::kwargs& given)
      : p_(params_of(given)), codes_memory_(codes_bytes(p_.rows, p_.channels)) {
    const auto rows = py::array::ensure(memory, py::array::c_style);
    const auto scales = py::array_t<float, py::array::c_style>::ensure(scale);
    std::vector<char> host(codes_bytes(p_.rows, p_.channels));
    codes_ = row_codes(p_.rows, p_.channels, p_.memory_type, rows.data(),
                       scale.is_none() ? nullptr : scales.data(), host.data());
    codes_memory_.fill(host.data(), host.size());
    codes_ = row_codes_moved(codes_, codes_memory_.data());
  }

  // Bytes of device memory that it takes beside the rows.
  static size_t codes_bytes(int32_t rows, int32_t channels) {
    return row_codes_bytes(rows, channels);
  }

  size_t workspace_bytes(int32_t batch) const { return nearest_cuda_workspace_bytes(p_, batch); }

  // Addresses; scale, shares and roi may be 0.
  void run(uintptr_t memory, uintptr_t scale, uintptr_t query, int32_t batch, uintptr_t shares,
           uintptr_t roi, uintptr_t counts, uintptr_t distance, uintptr_t scored, uintptr_t sum,
           bool add, uintptr_t workspace, uintptr_t stream) const {
    check(nearest_cuda(
        p_, codes_, reinterpret_cast<const void*>(memory), reinterpret_cast<const float*>(scale),
        reinterpret_cast<const void*>(query), batch, reinterpret_cast<const float*>(shares),
        reinterpret_cast<const uint8_t*>(roi), out_of(counts, distance, scored, sum, add),
        reinterpret_cast<void*>(workspace), reinterpret_cast<void*>(stream)));
  }

 private:
  static NearestParams params_of(const py::kwargs& given) {
    NearestParams p = nearest_params_of(given);
    p.channels = given["channels"].cast<int32_t>(), p.rows = given["rows"].cast<int32_t>();
    p.memory_type = static_cast<Type>(given["memory_type"].cast<int32_t>());
    return checked(p);
  }

  NearestParams p_;
  Buffer codes_memory_;
  RowCodes codes_{};
};

class Whiten {
 public:
  // given: as whiten_params_of needs it.
  explicit Whiten(const py::kwargs& given) : p_(checked(whiten_params_of(given))) {}

  // Addresses; centre and roi may be 0.
  void run(uintptr_t mean, uintptr_t factor, uintptr_t feature, int32_t batch, uintptr_t centre,
           uintptr_t roi, uintptr_t counts, uintptr_t distance, uintptr_t scored, uintptr_t sum,
           bool add, uintptr_t stream) const {
    check(whiten_cuda(p_, reinterpret_cast<const float*>(mean),
                      reinterpret_cast<const float*>(factor),
                      reinterpret_cast<const void*>(feature), batch,
                      reinterpret_cast<const float*>(centre), reinterpret_cast<const uint8_t*>(roi),
                      out_of(counts, distance, scored, sum, add), reinterpret_cast<void*>(stream)));
  }

 private:
  WhitenParams p_;
};

}  // namespace
}  // namespace edgead

PYBIND11_MODULE(_cuda, m) {
  using namespace edgead;
  m.doc() = "CUDA kernels of edgead, on addresses in device memory.";
  m.attr("ARCHITECTURES") = EDGEAD_CUDA_ARCHITECTURES;
  py::register_local_exception_translator(&raise_failure);
  m.def("status", &status, "(0, the device's name), or (CUDA's error, its text).");
  m.def("available", [] { return status().first == 0; }, "Whether there is a device to run on.");
  bind_device(m);
  m.def("nv12", &nv12, py::arg("height"), py::arg("width"), py::arg("stride"),
        py::arg("chroma_stride"), py::arg("color_space"), py::arg("blue_first"), py::arg("light"),
        py::arg("chroma"), py::arg("colors"), py::arg("stream"));
  m.def("raise_distances", &raise, py::arg("distances"), py::arg("positions"), py::arg("sum"),
        py::arg("summed"), py::arg("lowest"), py::arg("highest"), py::arg("stream"));
  py::class_<Preprocess>(m, "Preprocess")
      .def(py::init<const py::kwargs&>())
      .def("run", &Preprocess::run, py::arg("frame"), py::arg("image"), py::arg("stream"));
  py::class_<AnomalyMap>(m, "AnomalyMap")
      .def(py::init<const py::kwargs&>())
      .def("run", &AnomalyMap::run, py::arg("pairs"), py::arg("map"), py::arg("score"),
           py::arg("stream"));
  py::class_<Nearest>(m, "Nearest")
      .def(py::init<const py::array&, const py::object&, const py::kwargs&>(), py::arg("memory"),
           py::arg("scale"))
      .def_static("codes_bytes", &Nearest::codes_bytes, py::arg("rows"), py::arg("channels"))
      .def("workspace_bytes", &Nearest::workspace_bytes, py::arg("batch"))
      .def("run", &Nearest::run, py::arg("memory"), py::arg("scale"), py::arg("query"),
           py::arg("batch"), py::arg("shares"), py::arg("roi"), py::arg("counts"),
           py::arg("distance"), py::arg("scored"), py::arg("sum"), py::arg("add"),
           py::arg("workspace"), py::arg("stream"));
  py::class_<Whiten>(m, "Whiten")
      .def(py::init<const py::kwargs&>())
      .def("run", &Whiten::run, py::arg("mean"), py::arg("factor"), py::arg("feature"),
           py::arg("batch"), py::arg("centre"), py::arg("roi"), py::arg("counts"),
           py::arg("distance"), py::arg("scored"), py::arg("sum"), py::arg("add"),
           py::arg("stream"));
  const py::call_guard<py::gil_scoped_release> unlocked;
  py::class_<Events>(m, "Events")
      .def(py::init<int32_t>(), py::arg("count"))
      .def("record", &Events::record, py::arg("index"), py::arg("stream"))
      .def("wait", &Events::wait, py::arg("index"), py::arg("stream"))
      .def("intervals_ms", &Events::intervals_ms);
  py::class_<Graph>(m, "Graph")
      .def(py::init<>())
      .def("begin", &Graph::begin, py::arg("stream"))
      .def("end", &Graph::end, py::arg("stream"), unlocked)
      .def("abandon", &Graph::abandon, py::arg("stream"))
      .def("launch", &Graph::launch, py::arg("stream"), unlocked);
}

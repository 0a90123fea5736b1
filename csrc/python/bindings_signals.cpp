// What was learnt, for Python: read from the files of its bundle, and compared with on the CPU.
#include <memory>

#include "bindings.h"
#include "signals.h"

namespace py = pybind11;

namespace edgead {
namespace {

// The files of a Bundle of edgead/bundle/storage.py. read: name -> bytes.
class PythonFiles : public BundleFiles {
 public:
  PythonFiles(std::string path, Manifest manifest, py::function read)
      : path_(std::move(path)), manifest_(std::move(manifest)), read_(std::move(read)) {}

  const std::string& path() const override { return path_; }
  const Manifest& manifest() const override { return manifest_; }
  std::string read(const std::string& name) const override {
    const py::gil_scoped_acquire acquire;
    return read_(text_of(name)).cast<std::string>();
  }

 private:
  std::string path_;
  Manifest manifest_;
  py::function read_;
};

using Shape = std::vector<py::ssize_t>;

// Memory of `owner`, which is not written to.
py::array view(const py::dtype& type, const Shape& shape, const void* data, py::handle owner) {
  py::array found(type, shape, data, owner);
  found.attr("flags").attr("writeable") = false;
  return found;
}

// None where there are no values.
py::object floats_of(const std::vector<float>& values, const Shape& shape, py::handle owner) {
  if (values.empty()) return py::none();
  return view(py::dtype::of<float>(), shape, values.data(), owner);
}

// The arrays of a memory and a whitening, and what the kernels of a GPU are told beside them.
template <class Read>
py::object counts_of(py::handle self, std::vector<float> Read::* values) {
  const Read& read = self.cast<const Read&>();
  return floats_of(read.*values, {read.size.first, read.size.second}, self);
}

py::object rows_of(py::handle self) {
  const Array& rows = self.cast<const ReadMemory&>().rows;
  return view(py::dtype(rows.type), {rows.shape.begin(), rows.shape.end()}, rows.values.data(),
              self);
}

py::dict nearest_arguments(const ReadMemory& read) {
  const NearestParams& p = read.params;
  py::dict given;
  given["positions"] = p.positions, given["width"] = p.width;
  given["weights"] = std::vector<float>(p.weight, p.weight + p.k);
  given["blended"] = p.blended, given["temperature"] = p.temperature;
  given["root"] = p.root;
  given["type"] = static_cast<int32_t>(p.query_type);
  given["layout"] = static_cast<int32_t>(p.layout);
  given["channels"] = p.channels, given["rows"] = p.rows;
  given["memory_type"] = static_cast<int32_t>(p.memory_type);
  return given;
}

py::object mean_of(py::handle self) {
  const auto& read = self.cast<const ReadWhitening&>();
  const WhitenParams& p = read.params;
  return floats_of(read.mean, {p.channels, p.height, p.width}, self);
}

py::object factors_of(py::handle self) {
  const auto& read = self.cast<const ReadWhitening&>();
  const py::ssize_t outputs = read.params.outputs, channels = read.params.channels;
  const auto regions = static_cast<py::ssize_t>(read.factors.size()) / (outputs * channels);
  return floats_of(read.factors, {regions, outputs, channels}, self);
}

py::object centre_of(py::handle self) {
  const auto& read = self.cast<const ReadWhitening&>();
  return floats_of(read.centre, {read.params.channels, 1, 1}, self);
}

py::dict whiten_arguments(const ReadWhitening& read) {
  const WhitenParams& p = read.params;
  py::dict given;
  given["size"] = py::make_tuple(p.height, p.width);
  given["channels"] = p.channels, given["outputs"] = p.outputs, given["side"] = p.side;
  given["triangular"] = p.triangular, given["channel_normal"] = p.channel_normal;
  given["epsilon"] = p.epsilon;
  given["type"] = static_cast<int32_t>(p.type);
  given["layout"] = static_cast<int32_t>(p.layout);
  return given;
}

ReadMemory memory_at(const PythonFiles& files, size_t index) {
  const Memory& entry = files.manifest().memories.at(index);
  const py::gil_scoped_release release;
  return read_memory(files, entry);
}

ReadWhitening whitening_at(const PythonFiles& files, size_t index) {
  const Whitening& entry = files.manifest().whitenings.at(index);
  const py::gil_scoped_release release;
  return read_whitening(files, entry);
}

py::array_t<float> map_in(const PythonFiles& files, const std::string& name, Size size) {
  const std::vector<float> values = files.read_map(name, size);
  return py::array_t<float>({size.first, size.second}, values.data());
}

// For all threads.
struct Opened {
  std::shared_ptr<const OpenedSignals> signals;
};

// free: bytes that may be taken, or None; it is asked before each memory.
Opened opened_signals(const PythonFiles& files, const py::function& free,
                      int64_t bytes_of_a_value) {
  const auto check = [&](const ReadMemory& read) {
    const py::gil_scoped_acquire acquire;
    const py::object left = free();
    if (left.is_none()) return;
    check_room("the memory of this machine", left.cast<int64_t>(), read.params.rows,
               bytes_of_a_value * read.params.channels, "");
  };
  const py::gil_scoped_release release;
  return {open_signals(files, check)};
}

// The distances of one thread's frames.
class ComparedSignals {
 public:
  explicit ComparedSignals(const Opened& opened) : signals_(opened.signals) {}

  // features: of each signal, float32 [1, channels, height, width], C-contiguous.
  void run(const std::vector<py::array_t<float, py::array::c_style>>& features) {
    const auto& opened = signals_.opened();
    if (features.size() != opened.size())
      throw py::value_error(std::to_string(features.size()) + " arrays of features, expected " +
                            std::to_string(opened.size()));
    std::vector<const void*> at;
    for (size_t i = 0; i < opened.size(); ++i) {
      const int64_t expected = opened[i]->channels * static_cast<int64_t>(opened[i]->positions());
      if (features[i].size() != expected)
        throw py::value_error("features " + std::to_string(i) + " have " +
                              std::to_string(features[i].size()) + " values, expected " +
                              std::to_string(expected));
      at.push_back(features[i].data());
    }
    const py::gil_scoped_release release;
    signals_.run(at);
  }

  // (distance, 0) of each that counts in the map, [1, 1, height, width].
  static py::list pairs(py::handle self) {
    const Signals& signals = self.cast<const ComparedSignals&>().signals_;
    py::list found;
    for (const auto& one : signals.opened())
      if (!one->shown.empty())
        found.append(py::make_tuple(of_size(signals.shown()[found.size()], one->size, self),
                                    of_size(signals.zeros(), one->size, self)));
    return found;
  }

  // The sum of the score as such a pair, or None.
  static py::object scored(py::handle self) {
    const Signals& signals = self.cast<const ComparedSignals&>().signals_;
    for (const auto& one : signals.opened())
      if (!one->scored.empty())
        return py::make_tuple(of_size(signals.scored(), one->size, self),
                              of_size(signals.zeros(), one->size, self));
    return py::none();
  }

 private:
  static py::array of_size(const void* data, Size size, py::handle self) {
    return view(py::dtype::of<float>(), {1, 1, size.first, size.second}, data, self);
  }

  Signals signals_;
};

}  // namespace

void bind_signals(py::module_& m) {
  py::class_<ReadMemory>(m, "ReadMemory")
      .def_property_readonly("rows", &rows_of)
      .def_property_readonly("counts",
                             [](py::handle self) { return counts_of(self, &ReadMemory::counts); })
      .def_property_readonly("scored",
                             [](py::handle self) { return counts_of(self, &ReadMemory::scored); })
      .def_property_readonly("shares",
                             [](py::handle self) { return counts_of(self, &ReadMemory::shares); })
      .def_property_readonly("arguments", &nearest_arguments);
  py::class_<ReadWhitening>(m, "ReadWhitening")
      .def_property_readonly("mean", &mean_of)
      .def_property_readonly("factors", &factors_of)
      .def_property_readonly("centre", &centre_of)
      .def_property_readonly(
          "counts", [](py::handle self) { return counts_of(self, &ReadWhitening::counts); })
      .def_property_readonly(
          "scored", [](py::handle self) { return counts_of(self, &ReadWhitening::scored); })
      .def_property_readonly("arguments", &whiten_arguments);
  py::class_<PythonFiles>(m, "BundleFiles")
      .def(py::init<std::string, Manifest, py::function>(), py::arg("path"), py::arg("manifest"),
           py::arg("read"))
      .def("read_memory", &memory_at, py::arg("index"))
      .def("read_whitening", &whitening_at, py::arg("index"))
      .def("read_map", &map_in, py::arg("name"), py::arg("size"));
  py::class_<Opened>(m, "OpenedSignals");
  m.def("open_signals", &opened_signals, py::arg("files"), py::arg("free"),
        py::arg("bytes_of_a_value"));
  m.def("check_room", &check_room, py::arg("where"), py::arg("free"), py::arg("rows"),
        py::arg("each"), py::arg("instead"));
  py::class_<ComparedSignals>(m, "Signals")
      .def(py::init<const Opened&>(), py::arg("opened"))
      .def("run", &ComparedSignals::run, py::arg("features"))
      .def_property_readonly("pairs", &ComparedSignals::pairs)
      .def_property_readonly("scored", &ComparedSignals::scored);
}

}  // namespace edgead

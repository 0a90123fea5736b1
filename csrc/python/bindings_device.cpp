// The device, its memory and streams for edgead/nvidia/memory.py, in the device's primary context.
// Whatever lives on the device is let go in that context, by whichever thread Python takes, and
// not at all in a forked process, which has no CUDA.
#include <cuda_runtime_api.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <utility>

#include "bindings.h"
#include "memory_cuda.h"

namespace py = pybind11;

namespace edgead {
namespace {

using Context = std::shared_ptr<const PrimaryContext>;

// Something in a context.
template <class T>
class Owned {
 public:
  template <class... Arguments>
  explicit Owned(Context context, Arguments&&... arguments)
      : context_(std::move(context)),
        process_(getpid()),
        thing_(std::make_unique<T>(std::forward<Arguments>(arguments)...)) {}
  ~Owned() {
    if (getpid() == process_)
      let_go(*context_, [this] { thing_.reset(); });
    else
      static_cast<void>(thing_.release());
  }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  const T& operator*() const { return *thing_; }
  const T* operator->() const { return thing_.get(); }

 private:
  Context context_;
  pid_t process_;
  std::unique_ptr<T> thing_;
};

// The bytes of a C-contiguous Python object.
class Bytes {
 public:
  Bytes(const py::object& object, bool written) {
    if (PyObject_GetBuffer(object.ptr(), &view_, written ? PyBUF_WRITABLE : PyBUF_SIMPLE) != 0)
      throw py::error_already_set();
  }
  ~Bytes() { PyBuffer_Release(&view_); }
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  void* data() const { return view_.buf; }
  size_t size() const { return static_cast<size_t>(view_.len); }

 private:
  Py_buffer view_{};
};

// Another's host memory, page-locked as long as the object lives.
class Registered {
 public:
  Registered(const py::object& object, bool mapped) : bytes_(object, true) {
    check(cudaHostRegister(bytes_.data(), bytes_.size(),
                           mapped ? cudaHostRegisterMapped : cudaHostRegisterDefault));
    const int error = mapped ? cudaHostGetDevicePointer(&device_, bytes_.data(), 0) : cudaSuccess;
    if (error != cudaSuccess) cudaHostUnregister(bytes_.data());
    check(error);
  }
  ~Registered() { cudaHostUnregister(bytes_.data()); }
  void* device() const { return device_; }

 private:
  Bytes bytes_;
  void* device_ = nullptr;
};

struct DeviceMemory {
  explicit DeviceMemory(size_t count) : buffer(count) {}
  Buffer buffer;
};

struct HostMemory {
  HostMemory(size_t count, bool mapped)
      : count(count), pinned(count, mapped), device(pinned.device()) {}
  size_t count;
  Pinned pinned;
  void* device;
};

// None where the device does not reach it.
py::object address_of(const void* device) {
  return device == nullptr ? py::none() : py::object(py::int_(reinterpret_cast<uintptr_t>(device)));
}

void* at(uintptr_t address) { return reinterpret_cast<void*>(address); }

// A copy on a stream; what it waits for where memory is not page-locked, others need not.
void copy(const Owned<Stream>& stream, void* to, const void* from, size_t count,
          cudaMemcpyKind kind) {
  const py::gil_scoped_release unlocked;
  stream->copy(to, from, count, kind);
}

class Device {
 public:
  explicit Device(int32_t index) {
    check(cudaGetDeviceProperties(&properties_, index));
    context_ = std::make_shared<const PrimaryContext>(index);
  }
  const cudaDeviceProp& properties() const { return properties_; }
  bool integrated() const { return properties_.integrated != 0; }

  uintptr_t enter() const { return reinterpret_cast<uintptr_t>(context_->enter()); }
  void leave(uintptr_t before) const { check(context_->leave(at(before))); }

  std::pair<size_t, size_t> memory_info() const {
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total));
    return {free, total};
  }
  auto allocate(size_t count) const {
    return std::make_unique<Owned<DeviceMemory>>(context_, count);
  }
  auto pinned(size_t count) const {
    return std::make_unique<Owned<HostMemory>>(context_, count, integrated());
  }
  auto registered(const py::object& memory) const {
    return std::make_unique<Owned<Registered>>(context_, memory, integrated());
  }
  auto stream() const { return std::make_unique<Owned<Stream>>(context_); }

  // After the work of blocking streams.
  void read(const py::object& to, uintptr_t source) const {
    const Bytes bytes(to, true);
    const py::gil_scoped_release unlocked;
    check(cudaMemcpy(bytes.data(), at(source), bytes.size(), cudaMemcpyDefault));
  }

 private:
  cudaDeviceProp properties_{};
  Context context_;
};

int32_t device_count() {
  int count = 0;
  check(cudaGetDeviceCount(&count));
  return count;
}

void bind_stream(py::module_& m) {
  using Self = Owned<Stream>;
  py::class_<Self>(m, "Stream")
      .def_property_readonly("handle", [](const Self& self) { return self->handle(); })
      .def(
          "upload",
          [](const Self& self, uintptr_t to, const py::object& source) {
            const Bytes bytes(source, false);
            copy(self, at(to), bytes.data(), bytes.size(), cudaMemcpyHostToDevice);
          },
          py::arg("to"), py::arg("source"))
      .def(
          "download",
          [](const Self& self, const py::object& to, uintptr_t source) {
            const Bytes bytes(to, true);
            copy(self, bytes.data(), at(source), bytes.size(), cudaMemcpyDeviceToHost);
          },
          py::arg("to"), py::arg("source"))
      .def(
          "copy",
          [](const Self& self, uintptr_t to, uintptr_t source, size_t count) {
            copy(self, at(to), at(source), count, cudaMemcpyDeviceToDevice);
          },
          py::arg("to"), py::arg("source"), py::arg("count"))
      .def(
          "synchronize", [](const Self& self) { self->synchronize(); },
          py::call_guard<py::gil_scoped_release>());
}

}  // namespace

void bind_device(py::module_& m) {
  m.def("device_count", &device_count);
  m.def(
      "place_of",
      [](uintptr_t address, bool integrated) {
        const Place found = place_of(address, integrated);
        return std::make_pair(found.device, found.address);
      },
      "Number of the device whose memory it is (-1: of none), and the device's address of it.",
      py::arg("address"), py::arg("integrated"));
  py::class_<Owned<DeviceMemory>>(m, "DeviceMemory")
      .def_property_readonly("address", [](const Owned<DeviceMemory>& self) {
        return reinterpret_cast<uintptr_t>(self->buffer.data());
      });
  py::class_<Owned<HostMemory>>(m, "HostMemory", py::buffer_protocol())
      .def_property_readonly("address",
                             [](const Owned<HostMemory>& self) { return address_of(self->device); })
      .def_buffer([](Owned<HostMemory>& self) {
        return py::buffer_info(reinterpret_cast<unsigned char*>(self->pinned.data()),
                               static_cast<py::ssize_t>(self->count));
      });
  py::class_<Owned<Registered>>(m, "RegisteredMemory")
      .def_property_readonly(
          "address", [](const Owned<Registered>& self) { return address_of(self->device()); });
  bind_stream(m);
  py::class_<Device>(m, "Device")
      .def(py::init<int32_t>(), py::arg("index"))
      .def_property_readonly("name", [](const Device& d) { return py::str(d.properties().name); })
      .def_property_readonly("capability",
                             [](const Device& d) {
                               return std::make_pair(d.properties().major, d.properties().minor);
                             })
      .def_property_readonly("integrated", &Device::integrated)
      .def_property_readonly("multiprocessors",
                             [](const Device& d) { return d.properties().multiProcessorCount; })
      .def_property_readonly("total_bytes",
                             [](const Device& d) { return d.properties().totalGlobalMem; })
      .def("enter", &Device::enter)
      .def("leave", &Device::leave, py::arg("before"))
      .def("memory_info", &Device::memory_info)
      .def("allocate", &Device::allocate, py::arg("count"))
      .def("pinned", &Device::pinned, py::arg("count"))
      .def("registered", &Device::registered, py::arg("memory"))
      .def("stream", &Device::stream)
      .def("read", &Device::read, py::arg("to"), py::arg("source"));
}

}  // namespace edgead

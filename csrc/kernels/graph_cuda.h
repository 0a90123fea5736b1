// What a frame on the GPU needs around its kernels: memory for their tables, events that time and
// order streams, and the whole frame as one CUDA graph. Host code for bindings_cuda.cpp and
// runtime/nvidia, in the calling thread's current context. Needs CUDA 11.4. It has not been run on
// a GPU.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

namespace edgead {

// A call that failed, by its cudaError_t.
class CudaError : public std::runtime_error {
 public:
  explicit CudaError(int code)
      : std::runtime_error(std::string("CUDA: ") +
                           cudaGetErrorString(static_cast<cudaError_t>(code)) + " (error " +
                           std::to_string(code) + ")"),
        code(code) {}
  const int code;
};

inline void check(int error) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // it would otherwise stay for the next caller
  throw CudaError(error);
}

inline cudaStream_t stream_of(uintptr_t handle) { return reinterpret_cast<cudaStream_t>(handle); }

// Where a device finds memory; `device` -1: in no device's.
struct Place {
  int32_t device;
  uintptr_t address;
};

// `integrated`: the device shares its memory with the host, so that mapped host memory is as good
// as its own. Elsewhere every read of it would cross the bus.
inline Place place_of(uintptr_t address, bool integrated) {
  cudaPointerAttributes found{};
  check(cudaPointerGetAttributes(&found, reinterpret_cast<const void*>(address)));
  if (found.type == cudaMemoryTypeDevice || found.type == cudaMemoryTypeManaged)
    return {found.device, address};
  const bool reached = found.type == cudaMemoryTypeHost && found.devicePointer != nullptr;
  if (!integrated || !reached) return {-1, 0};
  return {found.device, reinterpret_cast<uintptr_t>(found.devicePointer)};
}

// Device memory; filled from the host once, before any stream uses it.
class Buffer {
 public:
  explicit Buffer(size_t bytes) { check(cudaMalloc(&data_, bytes)); }
  template <class T>
  explicit Buffer(const std::vector<T>& from) : Buffer(sizeof(T) * from.size()) {
    fill(from.data(), sizeof(T) * from.size());
  }
  ~Buffer() { cudaFree(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* data() const { return data_; }

  // The bytes are there when this returns: a copy comes back when they left the host, and the
  // streams of frames do not wait for the default stream, which carries them on.
  void fill(const void* from, size_t bytes) const {
    check(cudaMemcpy(data_, from, bytes, cudaMemcpyHostToDevice));
    check(cudaStreamSynchronize(cudaStreamLegacy));
  }

 private:
  void* data_ = nullptr;
};

// Points on streams.
class Events {
 public:
  explicit Events(int32_t count) : events_(count, nullptr) {
    for (cudaEvent_t& event : events_) {
      const int error = cudaEventCreate(&event);
      if (error != cudaSuccess) destroy();
      check(error);
    }
  }
  ~Events() { destroy(); }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;

  // While the stream is captured, each launch of the graph records the event anew.
  void record(int32_t index, uintptr_t stream) const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(stream_of(stream), &status));
    const bool captured = status == cudaStreamCaptureStatusActive;
    check(cudaEventRecordWithFlags(events_.at(index), stream_of(stream),
                                   captured ? cudaEventRecordExternal : cudaEventRecordDefault));
  }

  // What is enqueued on `stream` from now on starts after the event.
  void wait(int32_t index, uintptr_t stream) const {
    check(cudaStreamWaitEvent(stream_of(stream), events_.at(index), 0));
  }

  // Milliseconds from event i to event i + 1, for all i; all must be over.
  std::vector<float> intervals_ms() const {
    std::vector<float> found(events_.empty() ? 0 : events_.size() - 1);
    for (size_t i = 0; i < found.size(); ++i)
      check(cudaEventElapsedTime(&found[i], events_[i], events_[i + 1]));
    return found;
  }

 private:
  void destroy() {
    for (cudaEvent_t event : events_)
      if (event != nullptr) cudaEventDestroy(event);
  }
  std::vector<cudaEvent_t> events_;
};

// What was enqueued on a stream between begin() and end(), to be launched as a whole. Addresses are
// fixed at capture. The caller must not allocate or wait meanwhile, which CUDA is not asked to
// enforce (relaxed): Python's collector may free other memory at any time and spoil the capture.
class Graph {
 public:
  Graph() = default;
  ~Graph() {
    if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
  }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void begin(uintptr_t stream) const {
    check(cudaStreamBeginCapture(stream_of(stream), cudaStreamCaptureModeRelaxed));
  }

  void end(uintptr_t stream) {
    cudaGraph_t graph = nullptr;
    check(cudaStreamEndCapture(stream_of(stream), &graph));
    const int error = cudaGraphInstantiateWithFlags(&executable_, graph, 0);
    cudaGraphDestroy(graph);
    check(error);
  }

  // Ends a capture in which something failed, and forgets it.
  void abandon(uintptr_t stream) const {
    cudaGraph_t graph = nullptr;
    cudaStreamEndCapture(stream_of(stream), &graph);
    if (graph != nullptr) cudaGraphDestroy(graph);
    cudaGetLastError();
  }

  void launch(uintptr_t stream) const { check(cudaGraphLaunch(executable_, stream_of(stream))); }

 private:
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace edgead

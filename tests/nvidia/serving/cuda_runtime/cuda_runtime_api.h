// A SIMULATION of the part of the CUDA runtime that csrc/kernels/graph_cuda.h uses, for the tests:
// it counts what is alive, tells captures apart, copies from the host when somebody waits for it,
// and fails where it is told to. Names and numbers are CUDA's.
#pragma once
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorCapture = 900 };
enum cudaMemoryType { cudaMemoryTypeHost = 1, cudaMemoryTypeDevice = 2, cudaMemoryTypeManaged = 3 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1 };
enum cudaStreamCaptureStatus { cudaStreamCaptureStatusNone = 0, cudaStreamCaptureStatusActive = 1 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeGlobal = 0, cudaStreamCaptureModeRelaxed = 2 };
constexpr unsigned cudaEventRecordDefault = 0, cudaEventRecordExternal = 1;
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
  void* devicePointer;
};
struct Stream;
struct Event {
  int time = 0;
};
struct Graph_ {
  int records = 0;
};
using cudaStream_t = Stream*;
using cudaEvent_t = Event*;
using cudaGraph_t = Graph_*;
using cudaGraphExec_t = Graph_*;

namespace simulated {
inline int alive = 0;  // memory, events, graphs and executables
inline int clock = 0;  // milliseconds
inline bool capturing = false;
inline cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
inline int external = -1;  // of the last record
inline int launches = 0, waits = 0, unread_error = 0;
inline std::map<std::string, int> calls, fail_at;
inline std::vector<std::function<void()>> copies;  // not done yet, of the default stream

inline cudaError_t call(const char* name, cudaError_t error = cudaErrorCapture) {
  if (++calls[name] != fail_at[name]) return cudaSuccess;
  unread_error = error;
  return error;
}
inline void reset() {
  calls.clear(), fail_at.clear(), copies.clear(), capturing = false, launches = waits = 0;
}
}  // namespace simulated

inline const char* cudaGetErrorString(cudaError_t) { return "a simulated error"; }
inline cudaError_t cudaGetLastError() {
  const auto found = static_cast<cudaError_t>(simulated::unread_error);
  simulated::unread_error = 0;
  return found;
}
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* address) {
  const auto kind = reinterpret_cast<size_t>(address) / 256;  // the tests' own code for addresses
  void* const there = kind == 0 ? nullptr : reinterpret_cast<void*>(0x9000);
  *found = {static_cast<cudaMemoryType>(kind), 7, there};
  return simulated::call("cudaPointerGetAttributes");
}
inline const cudaStream_t cudaStreamLegacy = reinterpret_cast<cudaStream_t>(1);
inline cudaError_t cudaMalloc(void** memory, size_t bytes) {
  const cudaError_t error = simulated::call("cudaMalloc");
  if (error == cudaSuccess) *memory = std::calloc(bytes, 1), ++simulated::alive;
  return error;
}
inline cudaError_t cudaFree(void* memory) {
  if (memory != nullptr) --simulated::alive;
  std::free(memory);
  return cudaSuccess;
}
// As from pageable memory: the source is read at once, the rest is done later.
inline cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  const cudaError_t error = simulated::call("cudaMemcpy");
  if (error != cudaSuccess) return error;
  const auto* first = static_cast<const char*>(from);
  std::vector<char> staged(first, first + bytes);
  simulated::copies.push_back([to, staged] { std::memcpy(to, staged.data(), staged.size()); });
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  if (stream == cudaStreamLegacy) {
    for (const auto& copy : std::exchange(simulated::copies, {})) copy();
  }
  return simulated::call("cudaStreamSynchronize");
}
inline cudaError_t cudaEventCreate(cudaEvent_t* event) {
  const cudaError_t error = simulated::call("cudaEventCreate");
  if (error == cudaSuccess) *event = new Event, ++simulated::alive;
  return error;
}
inline cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event, --simulated::alive;
  return cudaSuccess;
}
inline cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = simulated::capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return simulated::call("cudaStreamIsCapturing");
}
inline cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t, unsigned flags) {
  simulated::external = static_cast<int>(flags);
  event->time = simulated::clock += 2;
  return simulated::call("cudaEventRecordWithFlags");
}
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) {
  ++simulated::waits;
  return simulated::call("cudaStreamWaitEvent");
}
inline cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  *ms = static_cast<float>(to->time - from->time);
  return simulated::call("cudaEventElapsedTime");
}
inline cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode mode) {
  const cudaError_t error = simulated::call("cudaStreamBeginCapture");
  if (error == cudaSuccess) simulated::capturing = true, simulated::mode = mode;
  return error;
}
inline cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  const bool began = simulated::capturing;
  simulated::capturing = false;
  const cudaError_t error = simulated::call("cudaStreamEndCapture");
  if (!began) simulated::unread_error = cudaErrorInvalidValue;
  if (!began || error != cudaSuccess) return began ? error : cudaErrorInvalidValue;
  *graph = new Graph_, ++simulated::alive;
  return cudaSuccess;
}
inline cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t,
                                                 unsigned long long) {
  const cudaError_t error = simulated::call("cudaGraphInstantiateWithFlags");
  if (error == cudaSuccess) *executable = new Graph_, ++simulated::alive;
  return error;
}
inline cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph, --simulated::alive;
  return cudaSuccess;
}
inline cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable, --simulated::alive;
  return cudaSuccess;
}
inline cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t) {
  simulated::launches += executable != nullptr;
  return simulated::call("cudaGraphLaunch");
}

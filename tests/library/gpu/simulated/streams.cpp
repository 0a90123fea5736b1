// Streams, events and graphs of the SIMULATED CUDA runtime, and how tests steer it; see
// simulated.h.
#include <cstring>

#include "simulated.h"

struct SimulatedEvent {
  float ms = -1;
};
struct SimulatedGraph {
  std::vector<simulated::Op> ops;
};

using namespace simulated;

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  ENTER_CONTEXT("cudaStreamCreate");
  if (flags != cudaStreamNonBlocking) fault("a stream that waits for the default stream");
  static size_t next = 0x5000;
  *stream = reinterpret_cast<cudaStream_t>(next++);
  the().streams[*stream] = {};
  ++the().objects;
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(the().mutex);
  if (stream == nullptr) return cudaErrorInvalidValue;
  if (stream_at(stream).capturing) fault("a stream was destroyed in its capture");
  the().streams.erase(stream);
  --the().objects;
  return call("cudaStreamDestroy");
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  ENTER_CONTEXT("cudaStreamSynchronize");
  not_while_capturing("cudaStreamSynchronize");
  return drain(stream_at(stream));
}

cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) {
  fault("cudaStreamWaitEvent is not simulated");
  return cudaErrorInvalidValue;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  ENTER("cudaStreamIsCapturing");
  const bool captured = stream_at(stream).capturing;
  *status = captured ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  ENTER_CONTEXT("cudaStreamBeginCapture");
  Stream& own = stream_at(stream);
  if (own.capturing) fault("a capture inside a capture");
  own.capturing = true, own.captured.clear();
  own.thread = std::this_thread::get_id();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Lock lock(the().mutex);
  Stream& own = stream_at(stream);
  const bool captured = own.capturing;
  own.capturing = false;
  const cudaError_t error = call("cudaStreamEndCapture");
  if (error != cudaSuccess || !captured) return captured ? error : cudaErrorInvalidValue;
  *graph = new SimulatedGraph{std::move(own.captured)};
  ++the().objects;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  ENTER_CONTEXT("cudaEventCreate");
  *event = new SimulatedEvent;
  ++the().objects;
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock(the().mutex);
  delete event;
  --the().objects;
  return call("cudaEventDestroy");
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned flags) {
  ENTER_CONTEXT("cudaEventRecord");
  if (stream_at(stream).capturing != (flags == cudaEventRecordExternal))
    fault("an event in a capture has a time only as an external one, and no other is external");
  return enqueue(stream, {"event", [event] { event->ms = the().clock_ms; }, {}});
}

cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t from, cudaEvent_t to) {
  ENTER("cudaEventElapsedTime");
  if (from->ms < 0 || to->ms < from->ms) fault("the time between events that are not over");
  *ms = to->ms - from->ms;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph,
                                          unsigned long long) {
  ENTER_CONTEXT("cudaGraphInstantiate");
  *executable = new SimulatedGraph{graph->ops};
  ++the().objects;
  return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Lock lock(the().mutex);
  delete graph;
  --the().objects;
  return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  return cudaGraphDestroy(executable);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  ENTER_CONTEXT("cudaGraphLaunch");
  for (const Op& op : executable->ops) enqueue(stream, op);
  return cudaSuccess;
}

// What tests call, through ctypes.
extern "C" {
#define STEER __attribute__((visibility("default")))

// The `number`-th call from now on, of CUDA or of the work of a stream ("kernel", "copy",
// "enqueueV3"), gives `error`.
STEER void simulated_plant(const char* name, int number, int error) {
  const Lock lock(the().mutex);
  the().planted[name][the().calls[name] + number] = error;
}
// TensorRT's `name` gives nothing, and logs `text`; null: it works again.
STEER void simulated_refuse(const char* name, const char* text) {
  const Lock lock(the().mutex);
  if (text == nullptr) {
    the().refusals.erase(name);
  } else {
    the().refusals[name] = text;
  }
}
STEER void simulated_machine(int devices, int integrated, const char* version, size_t free_bytes) {
  const Lock lock(the().mutex);
  the().count = devices, the().integrated = integrated != 0, the().version = version;
  if (free_bytes != 0) the().free_bytes = free_bytes;
}
// Another library's error, which nobody has read.
STEER void simulated_leave(int error) { the().unread = error; }
STEER int simulated_calls(const char* name) { return the().calls[name]; }
// Another library's context is the calling thread's; 0: none.
STEER void simulated_current(size_t context) {
  current_context() = reinterpret_cast<void*>(context);
}
STEER size_t simulated_current_context() { return reinterpret_cast<size_t>(current_context()); }
// What is alive: allocations, streams, events, graphs, and objects of TensorRT.
STEER int simulated_alive() {
  return static_cast<int>(the().alive.size()) + the().objects + the().retained;
}
// As when the process starts again; what is alive stays.
STEER void simulated_reset() {
  const Lock lock(the().mutex);
  Device& d = the();
  d.planted.clear(), d.refusals.clear(), d.faults.clear(), d.calls.clear();
  d.sticky = d.unread = 0, d.count = 1, d.integrated = false, d.version = "10.3.0";
  d.free_bytes = size_t{1} << 28;
}
// The faults so far, a line each.
STEER const char* simulated_faults() {
  static std::string text;
  text.clear();
  for (const std::string& line : the().faults) text += line + "\n";
  return text.c_str();
}
}

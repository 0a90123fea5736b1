// The SIMULATED device behind cuda_runtime_api.h and NvInfer.h.
//
// Device memory is host memory that only the device may touch: a page of it faults while no work of
// a stream runs. Work is queued on streams and done only when somebody waits for them, in the order
// of each and as late as possible, so that a missing wait or a buffer that is written again too
// early gives wrong numbers. Memory that is new or free is full of 0xff, which is NaN. What breaks
// a rule of CUDA is a fault, kept as text.
//
// What it cannot see: time, real concurrency, the driver, TensorRT's own kernels (OpenVINO runs the
// graph), registers and speed of the CUDA kernels (tests/cuda_on_cpu runs the .cu files), and
// whether a GPU would agree.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cuda_runtime_api.h"

namespace simulated {

// Work on a stream; `touches`: first addresses of the allocations that it reads or writes.
struct Op {
  std::string name;
  std::function<void()> run;
  std::set<const void*> touches;
};

struct Stream {
  std::deque<Op> pending;
  std::vector<Op> captured;
  bool capturing = false;
  std::thread::id thread;  // that captures
};

struct Allocation {
  size_t bytes = 0;
  enum Kind { device, pinned, mapped } kind = device;
};

struct Device {
  std::recursive_mutex mutex;
  std::map<const char*, Allocation> alive;
  std::map<cudaStream_t, Stream> streams;
  std::map<std::string, std::map<int, int>> planted;  // call -> number -> error
  std::map<std::string, int> calls;
  std::map<std::string, std::string> refusals;  // of TensorRT: call -> what it logs
  std::vector<std::string> faults;
  std::string version = "10.3.0", name = "Simulated GPU";
  int count = 1, sticky = 0, unread = 0, retained = 0;
  bool integrated = false;
  size_t free_bytes = size_t{1} << 28;
  float clock_ms = 0;
  int objects = 0;  // streams, events, graphs, and what TensorRT made
};
Device& the();

// The calling thread's current context, null for none; the runtime then takes the primary one.
void*& current_context();
void* primary_context();

// Every call passes here: counted, planted errors, a lost device.
cudaError_t call(const char* name);
// The same for what acts on a context, which must not be another library's.
cudaError_t call_in_context(const char* name);
void fault(const std::string& text);
// The allocation that an address lies in; null for none.
const char* allocation_of(const void* address);
Stream& stream_at(cudaStream_t handle);
void not_while_capturing(const char* what);
// Queues or captures work.
cudaError_t enqueue(cudaStream_t stream, Op op);
// Does what is queued.
cudaError_t drain(Stream& stream);

using Lock = std::lock_guard<std::recursive_mutex>;
#define ENTER(name)                                   \
  const simulated::Lock lock(simulated::the().mutex); \
  if (const cudaError_t error = simulated::call(name)) return error
#define ENTER_CONTEXT(name)                           \
  const simulated::Lock lock(simulated::the().mutex); \
  if (const cudaError_t error = simulated::call_in_context(name)) return error

}  // namespace simulated

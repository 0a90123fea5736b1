// The SIMULATED CUDA runtime; see simulated.h.
#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "cuda_on_cpu_hook.h"
#include "simulated.h"

namespace simulated {
namespace {

constexpr size_t kArena = size_t{1} << 28, kAlign = 256;

char* arena() {
  static char* const memory = static_cast<char*>(
      mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  return memory;
}

// While the device works, and nobody else, its memory can be touched.
class AtWork {
 public:
  AtWork() {
    if (depth_++ == 0) mprotect(arena(), kArena, PROT_READ | PROT_WRITE);
  }
  ~AtWork() {
    if (--depth_ == 0) mprotect(arena(), kArena, PROT_NONE);
  }

 private:
  static int depth_;
};
int AtWork::depth_ = 0;

// First fit. Null where there is no room.
char* take(size_t bytes) {
  char* at = arena();
  for (const auto& [address, allocation] : the().alive) {
    if (allocation.kind != Allocation::device) continue;
    if (at + bytes + kAlign <= address) break;
    at = const_cast<char*>(address) + (allocation.bytes + kAlign) / kAlign * kAlign;
  }
  return at + bytes + kAlign <= arena() + kArena ? at : nullptr;
}

void free_allocation(char* memory, Allocation::Kind kind, const char* what) {
  Device& d = the();
  const auto found = d.alive.find(memory);
  if (found == d.alive.end()) return fault(std::string(what) + " of what is not allocated");
  if ((found->second.kind == Allocation::device) != (kind == Allocation::device))
    fault(std::string(what) + " of the other kind of memory");
  for (const auto& [handle, stream] : d.streams)
    for (const Op& op : stream.pending)
      if (op.touches.count(memory) == 1) fault("memory was freed while " + op.name + " needs it");
  if (kind == Allocation::device) {
    const AtWork work;
    std::memset(memory, 0xff, found->second.bytes);
    d.free_bytes += found->second.bytes;
  } else {
    std::free(memory);
  }
  d.alive.erase(found);
}

// Work of other streams that meets the same memory has to be over.
void check_order(const Stream& own, const Op& op) {
  for (const auto& [handle, other] : the().streams)
    for (const Op& earlier : other.pending)
      for (const void* memory : op.touches)
        if (&other != &own && earlier.touches.count(memory) == 1)
          return fault(op.name + " and " + earlier.name + " race on two streams");
}

}  // namespace

Stream& stream_at(cudaStream_t handle) {
  Device& d = the();
  if (handle == cudaStreamLegacy) return d.streams[handle];
  if (d.streams.count(handle) == 0) fault("work on a stream that is none");
  return d.streams[handle];
}

void not_while_capturing(const char* what) {
  for (const auto& [handle, stream] : the().streams)
    if (stream.capturing && stream.thread == std::this_thread::get_id())
      fault(std::string(what) + " while a stream is captured");
}

Device& the() {
  static auto* const device = new Device;
  return *device;
}

void fault(const std::string& text) { the().faults.push_back(text); }

cudaError_t call(const char* name) {
  const Lock lock(the().mutex);
  Device& d = the();
  int error = d.sticky;
  const int number = ++d.calls[name];
  const auto planted = d.planted.find(name);
  if (error == 0 && planted != d.planted.end() && planted->second.count(number) == 1)
    error = planted->second[number];
  if (error != 0) d.unread = error;
  return static_cast<cudaError_t>(error);
}

void*& current_context() {
  static thread_local void* context = nullptr;
  return context;
}

void* primary_context() {
  static char context;
  return &context;
}

cudaError_t call_in_context(const char* name) {
  const void* const current = current_context();
  if (current != nullptr && current != primary_context())
    fault(std::string(name) + " in another library's context");
  return call(name);
}

const char* allocation_of(const void* address) {
  const char* at = static_cast<const char*>(address);
  auto found = the().alive.upper_bound(at);
  if (found == the().alive.begin()) return nullptr;
  --found;
  return at < found->first + found->second.bytes ? found->first : nullptr;
}

cudaError_t enqueue(cudaStream_t handle, Op op) {
  const Lock lock(the().mutex);
  Stream& stream = stream_at(handle);
  if (stream.capturing) {
    stream.captured.push_back(std::move(op));
    return cudaSuccess;
  }
  check_order(stream, op);
  stream.pending.push_back(std::move(op));
  return cudaSuccess;
}

cudaError_t drain(Stream& stream) {
  Device& d = the();
  const AtWork work;
  while (!stream.pending.empty()) {
    const Op op = std::move(stream.pending.front());
    stream.pending.pop_front();
    for (const void* memory : op.touches)
      if (d.alive.count(static_cast<const char*>(memory)) == 0)
        fault(op.name + " uses freed memory");
    const cudaError_t error = call(op.name.c_str());
    if (error != cudaSuccess) {  // asynchronous: whoever waits hears of it, and everybody after
      d.sticky = d.unread = error;
      stream.pending.clear();
      return error;
    }
    d.clock_ms += 0.5f;
    op.run();
  }
  return cudaSuccess;
}

}  // namespace simulated

using namespace simulated;
void cuda_on_cpu::enqueue(void* stream, const Arguments& arguments, std::function<void()> launch) {
  const Lock lock(the().mutex);
  Op op{"kernel", std::move(launch), {}};
  for (const auto& [bytes, size] : arguments)  // whatever in them is an address of the device's
    for (size_t at = 0; at + sizeof(void*) <= size; at += sizeof(void*)) {
      const void* word;
      std::memcpy(&word, static_cast<const char*>(bytes) + at, sizeof word);
      if (const char* memory = allocation_of(word)) op.touches.insert(memory);
    }
  if (call("launch") == cudaSuccess) simulated::enqueue(stream, std::move(op));
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorNoKernelImageForDevice:
      return "no kernel image is available";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    default:
      return "a simulated error";
  }
}

cudaError_t cudaGetLastError() {
  const Lock lock(the().mutex);
  const int found = the().unread;
  the().unread = the().sticky;
  return static_cast<cudaError_t>(found);
}

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 0;
  ENTER("cudaGetDeviceCount");
  *count = the().count;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  ENTER("cudaGetDeviceProperties");
  *properties = {};
  the().name.copy(properties->name, sizeof properties->name - 1);
  properties->major = 8, properties->minor = 7, properties->integrated = the().integrated;
  properties->multiProcessorCount = 8, properties->totalGlobalMem = size_t{7} << 30;
  return cudaSuccess;
}

// The driver's functions; a context is an address that nobody reads.
static int device_get(int* device, int index) {
  *device = index;
  return call("cuDeviceGet");
}
static int retain(void** context, int) {
  ENTER("cuDevicePrimaryCtxRetain");
  *context = primary_context();
  ++the().retained;
  return cudaSuccess;
}
static int release(int) {
  const Lock lock(the().mutex);
  if (--the().retained < 0) fault("a context was released that nobody retained");
  return cudaSuccess;
}
static int get_current(void** context) {
  *context = current_context();
  return call("cuCtxGetCurrent");
}
// Sets it also when it reports what failed long before.
static int set_current(void* context) {
  current_context() = context;
  return call("cuCtxSetCurrent");
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* name, void** function, unsigned,
                                             unsigned long long, void*) {
  ENTER("cudaGetDriverEntryPointByVersion");
  static const std::map<std::string, void*> functions = {
      {"cuDeviceGet", reinterpret_cast<void*>(&device_get)},
      {"cuDevicePrimaryCtxRetain", reinterpret_cast<void*>(&retain)},
      {"cuDevicePrimaryCtxRelease", reinterpret_cast<void*>(&release)},
      {"cuCtxGetCurrent", reinterpret_cast<void*>(&get_current)},
      {"cuCtxSetCurrent", reinterpret_cast<void*>(&set_current)},
  };
  *function = functions.at(name);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  ENTER_CONTEXT("cudaMemGetInfo");
  *free = the().free_bytes, *total = kArena;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* found, const void* address) {
  ENTER("cudaPointerGetAttributes");
  *found = {};
  const char* const memory = allocation_of(address);
  if (memory == nullptr) return cudaSuccess;
  const auto kind = the().alive[memory].kind;
  found->type = kind == Allocation::device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
  if (kind != Allocation::pinned) found->devicePointer = const_cast<void*>(address);
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  ENTER_CONTEXT("cudaMalloc");
  not_while_capturing("cudaMalloc");
  char* const taken = bytes <= the().free_bytes ? take(bytes) : nullptr;
  if (taken == nullptr) return static_cast<cudaError_t>(the().unread = cudaErrorMemoryAllocation);
  const AtWork work;
  std::memset(taken, 0xff, bytes);
  the().alive[taken] = {bytes, Allocation::device};
  the().free_bytes -= bytes;
  *memory = taken;
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  const Lock lock(the().mutex);
  not_while_capturing("cudaFree");
  if (memory != nullptr)
    free_allocation(static_cast<char*>(memory), Allocation::device, "cudaFree");
  return call_in_context("cudaFree");
}

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned flags) {
  ENTER_CONTEXT("cudaHostAlloc");
  not_while_capturing("cudaHostAlloc");
  char* const taken = static_cast<char*>(std::aligned_alloc(kAlign, (bytes / kAlign + 1) * kAlign));
  std::memset(taken, 0xff, bytes);
  the().alive[taken] = {bytes,
                        flags == cudaHostAllocMapped ? Allocation::mapped : Allocation::pinned};
  *memory = taken;
  return cudaSuccess;
}

cudaError_t cudaHostGetDevicePointer(void** device, void* host, unsigned) {
  ENTER_CONTEXT("cudaHostGetDevicePointer");
  const char* found = allocation_of(host);
  if (found == nullptr || the().alive[found].kind != Allocation::mapped)
    fault("cudaHostGetDevicePointer of memory that is not mapped");
  *device = host;
  return cudaSuccess;
}

cudaError_t cudaFreeHost(void* memory) {
  const Lock lock(the().mutex);
  if (memory != nullptr)
    free_allocation(static_cast<char*>(memory), Allocation::pinned, "cudaFreeHost");
  return call_in_context("cudaFreeHost");
}

cudaError_t cudaHostRegister(void* memory, size_t bytes, unsigned flags) {
  ENTER_CONTEXT("cudaHostRegister");
  not_while_capturing("cudaHostRegister");
  the().alive[static_cast<char*>(memory)] = {
      bytes, flags == cudaHostRegisterMapped ? Allocation::mapped : Allocation::pinned};
  return cudaSuccess;
}

cudaError_t cudaHostUnregister(void* memory) {
  const Lock lock(the().mutex);
  if (the().alive.erase(static_cast<char*>(memory)) == 0) fault("nothing was registered there");
  return call_in_context("cudaHostUnregister");
}

// Whether the bytes at `address` lie in one living allocation, of the device or of the host.
static void check_span(const void* address, size_t bytes, bool on_device, const char* what) {
  const char* found = allocation_of(address);
  const char* const end = static_cast<const char*>(address) + bytes;
  if (found == nullptr || end > found + the().alive[found].bytes ||
      (the().alive[found].kind == Allocation::device) != on_device)
    fault(std::string(what) + " is not memory of the " + (on_device ? "device" : "pinned host"));
}

// As from pageable memory: the source is read at once, the rest is done later. What comes from the
// device is there when this returns.
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  ENTER_CONTEXT("cudaMemcpy");
  not_while_capturing("cudaMemcpy");
  if (kind != cudaMemcpyHostToDevice) {
    const cudaError_t waited = drain(stream_at(cudaStreamLegacy));
    const AtWork work;
    if (waited == cudaSuccess) std::memcpy(to, from, bytes);
    return waited;
  }
  check_span(to, bytes, true, "the target of a copy");
  const auto* first = static_cast<const char*>(from);
  const std::vector<char> staged(first, first + bytes);
  return enqueue(cudaStreamLegacy, {"copy",
                                    [to, staged] { std::memcpy(to, staged.data(), staged.size()); },
                                    {allocation_of(to)}});
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream) {
  ENTER_CONTEXT("cudaMemcpyAsync");
  check_span(to, bytes, kind != cudaMemcpyDeviceToHost, "the target of a copy");
  check_span(from, bytes, kind != cudaMemcpyHostToDevice, "the source of a copy");
  return enqueue(
      stream,
      {"copy", [=] { std::memcpy(to, from, bytes); }, {allocation_of(to), allocation_of(from)}});
}

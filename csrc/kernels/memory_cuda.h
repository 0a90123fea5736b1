// A CUDA device's primary context, and what lives in it: streams and host memory. Host code for
// bindings_cuda.cpp and runtime/nvidia. Needs CUDA 11.4, links no libcuda: the runtime says where
// the driver's functions are. It has not been run on a GPU.
#pragma once
#include <memory>

#include "graph_cuda.h"

namespace edgead {

// Functions of the driver that the runtime has no name for. CUresult has cudaError_t's numbers.
struct Driver {
  int (*device_get)(int*, int);
  int (*retain)(void**, int);
  int (*release)(int);
  int (*get_current)(void**);
  int (*set_current)(void*);

  static const Driver& get() {
    static const Driver found = [] {
      Driver driver{};
      take("cuDeviceGet", driver.device_get);
      take("cuDevicePrimaryCtxRetain", driver.retain);
      take("cuDevicePrimaryCtxRelease", driver.release);
      take("cuCtxGetCurrent", driver.get_current);
      take("cuCtxSetCurrent", driver.set_current);
      return driver;
    }();
    return found;
  }

 private:
  template <class F>
  static void take(const char* name, F& function) {
    void* found = nullptr;
#if CUDART_VERSION >= 12050
    check(cudaGetDriverEntryPointByVersion(name, &found, 11040, cudaEnableDefault, nullptr));
#else
    check(cudaGetDriverEntryPoint(name, &found, cudaEnableDefault));
#endif
    if (found == nullptr) check(cudaErrorNotSupported);
    function = reinterpret_cast<F>(found);
  }
};

// The context that TensorRT, torch and the CUDA runtime use too; never one of our own, in which
// plans would not work. Retained as long as the object lives.
class PrimaryContext {
 public:
  explicit PrimaryContext(int index) : driver_(Driver::get()) {
    check(driver_.device_get(&device_, index));
    check(driver_.retain(&context_, device_));
  }
  ~PrimaryContext() { driver_.release(device_); }
  PrimaryContext(const PrimaryContext&) = delete;
  PrimaryContext& operator=(const PrimaryContext&) = delete;

  // Makes it the calling thread's, and gives what was, for leave().
  void* enter() const {
    void* before = nullptr;
    check(driver_.get_current(&before));
    const int error = before == context_ ? 0 : driver_.set_current(context_);
    if (error != 0) leave(before);  // also when it is set and reports what failed long before
    check(error);
    return before;
  }

  // The thread gets its own context back in any case. Gives an error, which may be of work that
  // was enqueued long before.
  int leave(void* before) const noexcept {
    void* now = nullptr;
    int error = driver_.get_current(&now);
    if (error == 0 && now == before) return 0;
    error = driver_.set_current(before);
    if (error != 0) driver_.set_current(before);  // that error was told
    return error;
  }

 private:
  const Driver& driver_;
  int device_ = 0;
  void* context_ = nullptr;
};

// Inside a block, the context is the calling thread's. An error on the way out is not told: who
// needs to know has to wait for a stream anyway.
class InContext {
 public:
  explicit InContext(const PrimaryContext& context) : context_(context), before_(context.enter()) {}
  ~InContext() { context_.leave(before_); }
  InContext(const InContext&) = delete;
  InContext& operator=(const InContext&) = delete;

 private:
  const PrimaryContext& context_;
  void* before_;
};

// `work` that lets something go, in the context if that can be had: of a device that is lost
// nothing can be freed; its memory went with it.
template <class Work>
void let_go(const PrimaryContext& context, const Work& work) noexcept {
  try {
    const InContext current(context);
    work();
  } catch (const CudaError&) {
    work();
  }
  cudaGetLastError();
}

// A stream that waits for no other.
class Stream {
 public:
  Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  uintptr_t handle() const { return reinterpret_cast<uintptr_t>(stream_); }
  void synchronize() const { check(cudaStreamSynchronize(stream_)); }
  void copy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) const {
    check(cudaMemcpyAsync(to, from, bytes, kind, stream_));
  }

 private:
  cudaStream_t stream_ = nullptr;
};

// Page-locked host memory; `mapped`: which the device reaches where it lies, at device().
class Pinned {
 public:
  Pinned(size_t bytes, bool mapped) : mapped_(mapped) {
    check(cudaHostAlloc(&data_, bytes, mapped ? cudaHostAllocMapped : cudaHostAllocDefault));
  }
  ~Pinned() { cudaFreeHost(data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  char* data() const { return static_cast<char*>(data_); }
  // Null: the device does not reach it.
  void* device() const {
    void* found = nullptr;
    if (mapped_) check(cudaHostGetDevicePointer(&found, data_, 0));
    return found;
  }

 private:
  void* data_ = nullptr;
  bool mapped_;
};

}  // namespace edgead

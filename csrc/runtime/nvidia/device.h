// The first GPU: its name, what fails on it, and memory that it shares with the host;
// edgead/nvidia/memory.py. CUDA's own calls need no lock.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "failure.h"
#include "graph_cuda.h"

namespace edgead {

// Makes the device the calling thread's, and gives the thread's own back.
class OnDevice {
 public:
  explicit OnDevice(int index);
  ~OnDevice();
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;

 private:
  int index_, before_ = -1;
};

// One detector's view of the device. An error of CUDA that is not about memory ends it: that error
// may come late, from work that was enqueued long before, and what lies on the device is in doubt.
class Device {
 public:
  // Failure (device): no driver, no GPU, or one that does not answer.
  Device();

  const std::string& name() const { return name_; }  // "Orin"
  std::string text() const { return "cuda:0: " + name_; }
  std::string word() const;                        // as plans are keyed by it: "Orin sm_87"
  bool integrated() const { return integrated_; }  // shares its memory with the host, as a Jetson

  // `work` in the device's context; what CUDA refuses is a Failure about `doing`, "scoring a
  // frame".
  template <class Work>
  auto run(const char* doing, const Work& work) const {
    check_alive();
    try {
      const OnDevice current(kIndex);
      cudaGetLastError();  // what others of this thread left is not ours
      return work();
    } catch (const CudaError& error) {
      throw failure(doing, error);
    }
  }

  // `work` that lets something go, in the device's context if that can be had.
  template <class Work>
  void at_end(const Work& work) const noexcept {
    try {
      const OnDevice current(kIndex);
      work();
    } catch (const CudaError&) {
      work();  // of a device that is lost nothing can be freed; its memory went with it
    }
  }

  // Ends the detector's use of the device: every later run() is this Failure.
  Failure lose(const std::string& sentence) const;

  static constexpr int kIndex = 0;

 private:
  void check_alive() const;
  Failure failure(const char* doing, const CudaError& error) const;

  std::string name_;
  int major_ = 0, minor_ = 0;
  bool integrated_ = false;
  mutable std::mutex mutex_;  // of lost_
  mutable std::string lost_;  // why; empty: it is not
};

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

 private:
  cudaStream_t stream_ = nullptr;
};

// Page-locked host memory.
class Pinned {
 public:
  explicit Pinned(size_t bytes, unsigned flags = cudaHostAllocDefault) {
    check(cudaHostAlloc(&data_, bytes, flags));
  }
  ~Pinned() { cudaFreeHost(data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;
  char* data() const { return static_cast<char*>(data_); }

 private:
  void* data_ = nullptr;
};

// Memory of host and device: one and the same where the device is integrated, else two.
class Shared {
 public:
  Shared(const Device& device, size_t bytes);

  char* host() const { return pinned_.data(); }
  void* device() const { return device_; }
  // Enqueue what makes the first bytes of the host the device's, or the other way round.
  void up(const Stream& stream, size_t bytes) const;
  void down(const Stream& stream, size_t bytes) const;

 private:
  Pinned pinned_;
  std::unique_ptr<Buffer> own_;  // null: mapped
  void* device_ = nullptr;
};

}  // namespace edgead

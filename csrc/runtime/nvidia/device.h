// The first GPU: its name, what fails on it, and memory that it shares with the host;
// edgead/nvidia/memory.py. CUDA's own calls need no lock.
#pragma once
#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "failure.h"
#include "memory_cuda.h"

namespace edgead {

// One detector's view of the device. An error of CUDA that is not about memory ends it: that error
// may come late, from work that was enqueued long before, and what lies on the device is in doubt.
class Device {
 public:
  // Failure (device): no driver, no GPU, or one that does not answer.
  Device();

  const std::string& name() const { return name_; }  // "Orin"
  std::string text() const { return "cuda:0: " + name_; }
  std::string word() const;  // as plans are keyed by it, see edgead/nvidia/devices.py
  bool integrated() const { return integrated_; }  // shares its memory with the host, as a Jetson

  // `work` in the device's context; what CUDA refuses is a Failure about `doing`, "scoring a
  // frame".
  template <class Work>
  auto run(const char* doing, const Work& work) const {
    check_alive();
    try {
      const InContext current(*context_);
      cudaGetLastError();  // what others of this thread left is not ours
      return work();
    } catch (const CudaError& error) {
      throw failure(doing, error);
    }
  }

  // `work` that lets something go, in the device's context if that can be had.
  template <class Work>
  void at_end(const Work& work) const noexcept {
    let_go(*context_, work);
  }

  // Ends the detector's use of the device: every later run() is this Failure.
  Failure lose(const std::string& sentence) const;

  static constexpr int kIndex = 0;

 private:
  void check_alive() const;
  Failure failure(const char* doing, const CudaError& error) const;

  std::unique_ptr<const PrimaryContext> context_;
  std::string name_;
  int major_ = 0, minor_ = 0, multiprocessors_ = 0;
  size_t total_bytes_ = 0;
  bool integrated_ = false;
  mutable std::mutex mutex_;  // of lost_
  mutable std::string lost_;  // why; empty: it is not
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

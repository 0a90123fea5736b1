#include "device.h"

#include <sstream>

#include "wording.h"

namespace edgead {
namespace {

constexpr const char* kCpu = "the CPU serves without it: device \"cpu\"";

// What cannot be asked of the driver at all.
Failure no_device(int code) {
  const std::string text = cudaGetErrorString(static_cast<cudaError_t>(code));
  const std::string said = text + " (error " + std::to_string(code) + ")";
  if (code == cudaErrorNoDevice)
    return device_failure("NVIDIA's driver finds no GPU: " + said + "; " + kCpu);
  return device_failure("NVIDIA's driver does not start: " + said +
                        ": install one that is new enough, see what nvidia-smi says; in a "
                        "container, give it the GPU; " +
                        kCpu);
}

std::string in_one_line(const char* name) {
  std::istringstream words(name);
  std::string word, line;
  while (words >> word) line += (line.empty() ? "" : " ") + word;
  return line;
}

}  // namespace

Device::Device() {
  int count = 0;
  cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  if (error == cudaSuccess && count == 0) error = cudaErrorNoDevice;
  if (error != cudaSuccess) throw no_device(error);
  cudaDeviceProp found{};
  error = cudaGetDeviceProperties(&found, kIndex);
  cudaGetLastError();
  if (error != cudaSuccess) throw no_device(error);
  name_ = in_one_line(found.name);
  major_ = found.major, minor_ = found.minor;
  integrated_ = found.integrated != 0;
  multiprocessors_ = found.multiProcessorCount, total_bytes_ = found.totalGlobalMem;
  try {
    context_ = std::make_unique<const PrimaryContext>(kIndex);
  } catch (const CudaError& failed) {
    throw no_device(failed.code);
  }
}

std::string Device::word() const {
  const auto gib = static_cast<int>(static_cast<double>(total_bytes_) / (1 << 30) + 0.5);
  return format("%s sm_%d%d %d SM %d GiB", name_.c_str(), major_, minor_, multiprocessors_, gib);
}

void Device::check_alive() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!lost_.empty()) throw device_failure(lost_);
}

Failure Device::lose(const std::string& sentence) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (lost_.empty()) lost_ = sentence;
  return device_failure(lost_);
}

Failure Device::failure(const char* doing, const CudaError& error) const {
  const std::string where = "cuda:0 (" + name_ + ")";
  if (error.code == cudaErrorMemoryAllocation) {
    size_t free = 0, total = 0;
    std::string state = "how much is free is not known";
    if (cudaMemGetInfo(&free, &total) == cudaSuccess)
      state = format("%.0f of %.0f MB are free", static_cast<double>(free) / 1e6,
                     static_cast<double>(total) / 1e6);
    cudaGetLastError();
    return device_failure(where + " is out of memory when " + doing + "; " + state +
                          ": close other programs and detectors, use fewer sessions or smaller "
                          "frames");
  }
  if (error.code == cudaErrorNoKernelImageForDevice)
    return lose(
        format("edgead's CUDA kernels were built for %s, and this GPU, %s, is sm_%d%d: "
               "build libedgead again with -DEDGEAD_CUDA_ARCHITECTURES=%d%d-real",
               EDGEAD_CUDA_ARCHITECTURES, name_.c_str(), major_, minor_, major_, minor_));
  return lose(where + " failed when " + doing + ": " +
              cudaGetErrorString(static_cast<cudaError_t>(error.code)) + " (error " +
              std::to_string(error.code) +
              "); open the detector again; if that fails too, start the process again: some "
              "errors end CUDA for a process");
}

Shared::Shared(const Device& device, size_t bytes)
    : pinned_(bytes, device.integrated()), device_(pinned_.device()) {
  if (device_ != nullptr) return;
  own_ = std::make_unique<Buffer>(bytes);
  device_ = own_->data();
}

void Shared::up(const Stream& stream, size_t bytes) const {
  if (own_) stream.copy(device_, pinned_.data(), bytes, cudaMemcpyHostToDevice);
}

void Shared::down(const Stream& stream, size_t bytes) const {
  if (own_) stream.copy(pinned_.data(), device_, bytes, cudaMemcpyDeviceToHost);
}

}  // namespace edgead

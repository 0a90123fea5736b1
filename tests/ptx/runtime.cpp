// A CUDA runtime without a device: what nvcc's host code calls, and a launch is a call of the
// function that the tests hand in. Device memory is the host's.
#include <cuda_runtime.h>

#include <map>
#include <string>

#include "watch.h"

namespace {

using Launch = void (*)(const char* kernel, const unsigned* grid, const unsigned* block,
                        void** arguments);
using Watch = void (*)(const char* name, const void* begin, size_t bytes);

struct Runtime {
  Launch launch = nullptr;
  Watch watch = nullptr;
  std::map<const void*, std::string> kernels;  // by the address of the host's function
  dim3 grid, block;
  size_t shared = 0;
  void* stream = nullptr;
};

Runtime& runtime() {
  static Runtime one;  // made before the first kernel is registered
  return one;
}

}  // namespace

extern "C" {

void ptx_connect(Launch launch, Watch watch) {
  runtime().launch = launch;
  runtime().watch = watch;
}

void** __cudaRegisterFatBinary(void*) {
  static void* handle;
  return &handle;
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
char __cudaInitModule(void**) { return 1; }
void __cudaRegisterFunction(void**, const char* function, char*, const char* name, int, uint3*,
                            uint3*, dim3*, dim3*, int*) {
  runtime().kernels[function] = name;
}

// A launch: the host code leaves grid and block, the kernel's stub takes them.
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
  Runtime& r = runtime();
  r.grid = grid, r.block = block, r.shared = shared, r.stream = stream;
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
  const Runtime& r = runtime();
  *grid = r.grid, *block = r.block, *shared = r.shared;
  *static_cast<void**>(stream) = r.stream;
  return cudaSuccess;
}
cudaError_t cudaLaunchKernel(const void* function, dim3 grid, dim3 block, void** arguments, size_t,
                             cudaStream_t) {
  const unsigned blocks[] = {grid.x, grid.y, grid.z}, threads[] = {block.x, block.y, block.z};
  runtime().launch(runtime().kernels.at(function).c_str(), blocks, threads, arguments);
  return cudaSuccess;
}
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* function) {
  *kernel = static_cast<cudaKernel_t>(const_cast<void*>(function));
  return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments,
                               size_t shared, cudaStream_t stream) {
  return cudaLaunchKernel(static_cast<const void*>(kernel), grid, block, arguments, shared, stream);
}
cudaError_t cudaGetLastError() { return cudaSuccess; }

}  // extern "C"

// The arrays that run_cases takes.
void watch(const char* name, const void* begin, size_t bytes) {
  runtime().watch(name, begin, bytes);
}

// CUDA C++ on the CPU, for the tests: csrc/kernels/cuda.h includes this file instead of CUDA's
// headers, and a C++ compiler makes a program of the very .cu files that nvcc compiles. It is a
// simulation.
//
// How: every CUDA thread is a fiber; one OS thread runs the fibers of one block until each waits at
// a barrier or is done, then the next block. The order of threads and blocks depends on a seed.
//
// What it finds: wrong results; reads and writes out of bounds (ASan: global memory; UBSan: shared
// arrays); misaligned vector loads (UBSan); missing barriers (TSan, and shared memory that starts
// as NaN); races between blocks (TSan: nothing orders the blocks of a launch); barriers that not
// all threads reach; warp operations whose mask names a lane that has exited or stands elsewhere,
// or leaves out the lane that calls; what depends on the order of threads.
// What it cannot see: time, occupancy, registers and spills (ptxas reports those), the memory model
// beyond happens-before (threads of a warp do not run in lockstep, stores are seen at once), the
// last bit of functions that CUDA rounds in its own way, what csrc/kernels/cuda.h has of its own
// for nvcc, bank conflicts, the driver, and real streams: launches run at once, one after the
// other. Blocks that are three apart in the order share their fibers, so TSan takes them as
// ordered; other seeds bring other neighbours.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "common.h"

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __grid_constant__
#define __launch_bounds__(...)
#define __shared__ static  // the build gives all static memory of a .cu file a section of its own

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(4) uchar4 {
  unsigned char x, y, z, w;
};
struct alignas(8) ushort4 {
  unsigned short x, y, z, w;
};

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9 };
using cudaStream_t = void*;
cudaError_t cudaGetLastError();

namespace cuda_on_cpu {

void set_seed(unsigned seed);  // of the order of blocks and threads; 0: as they are numbered
uint3 thread_index();
uint3 block_index();
dim3 block_size();
dim3 grid_size();
// `file` and `line` say which of the kernel's calls it is: all participants make the same one.
void barrier(const char* file, int line);
void warp_barrier(uint32_t mask, const char* file, int line);

enum class Shuffle { xor_, up, from };
uint64_t shuffle(uint32_t mask, uint64_t value, Shuffle kind, unsigned by, const char* file,
                 int line);
template <class T>
T shuffle_value(uint32_t mask, T value, Shuffle kind, unsigned by, const char* file, int line) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  bits = shuffle(mask, bits, kind, by, file, line);
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// What the lane has of a product of 16 x 32 and 32 x 8 bytes: four and two words, and four sums.
void byte_products(const uint32_t a[4], uint32_t b0, uint32_t b1, int sum[4], const char* file,
                   int line);

void run(dim3 grid, dim3 block, const std::function<void()>& thread);

// Linked where streams are simulated too (tests/library/gpu/simulated): takes a launch as work of
// its stream, with the bytes of the kernel's arguments. Without it a launch runs at once.
using Arguments = std::vector<std::pair<const void*, size_t>>;
__attribute__((weak)) void enqueue(cudaStream_t stream, const Arguments& arguments,
                                   std::function<void()> launch);

}  // namespace cuda_on_cpu

#define threadIdx (::cuda_on_cpu::thread_index())
#define blockIdx (::cuda_on_cpu::block_index())
#define blockDim (::cuda_on_cpu::block_size())
#define gridDim (::cuda_on_cpu::grid_size())
#define __syncthreads() (::cuda_on_cpu::barrier(__FILE__, __LINE__))
#define __syncwarp(mask) (::cuda_on_cpu::warp_barrier(mask, __FILE__, __LINE__))
#define __shfl_xor_sync(mask, value, by) \
  (::cuda_on_cpu::shuffle_value(mask, value, ::cuda_on_cpu::Shuffle::xor_, by, __FILE__, __LINE__))
#define __shfl_sync(mask, value, lane)                                                     \
  (::cuda_on_cpu::shuffle_value(mask, value, ::cuda_on_cpu::Shuffle::from, lane, __FILE__, \
                                __LINE__))
#define multiply_bytes(a, b0, b1, sum) \
  (::cuda_on_cpu::byte_products(a, b0, b1, sum, __FILE__, __LINE__))
#define __shfl_up_sync(mask, value, by) \
  (::cuda_on_cpu::shuffle_value(mask, value, ::cuda_on_cpu::Shuffle::up, by, __FILE__, __LINE__))

using std::max;
using std::min;

template <class T>
T __ldg(const T* from) {
  return *from;
}

inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// The harness is compiled with -ffp-contract=off: each of these rounds once, as on the GPU.
inline float __uint2float_rn(unsigned value) { return static_cast<float>(value); }
inline int __float2int_rn(float value) { return static_cast<int>(std::nearbyint(value)); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }

// sum + the product of four bytes with a sign.
inline int __dp4a(int a, int b, int sum) {
  for (int shift = 0; shift < 32; shift += 8)
    sum += static_cast<int8_t>(a >> shift) * static_cast<int8_t>(b >> shift);
  return sum;
}

// Fibers change only inside the functions above, so that a load and a store are atomic; the builtin
// tells TSan.
inline int atomicAdd(int* to, int value) { return __atomic_fetch_add(to, value, __ATOMIC_RELAXED); }

namespace edgead {

inline float float_of(uint16_t half) { return float_from_half(half); }

template <class... P, class... A>
void launch(void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream, A... args) {
  const auto work = [=] {
    cuda_on_cpu::run(grid, block, [=] { kernel(static_cast<P>(args)...); });
  };
  if (cuda_on_cpu::enqueue != nullptr) {
    cuda_on_cpu::enqueue(stream, {{&args, sizeof args}...}, work);
  } else {
    work();
  }
}

}  // namespace edgead

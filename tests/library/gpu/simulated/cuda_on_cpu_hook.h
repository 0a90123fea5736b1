// What tests/cuda_on_cpu/cuda_on_cpu.h gives a launch to, without the rest of it, which stands in
// for another part of CUDA's headers.
#pragma once
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

namespace cuda_on_cpu {

using Arguments = std::vector<std::pair<const void*, size_t>>;
void enqueue(void* stream, const Arguments& arguments, std::function<void()> launch);

}  // namespace cuda_on_cpu

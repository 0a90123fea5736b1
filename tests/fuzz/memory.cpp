// operator new with a limit: ASan's own ends the program where there is no memory, instead of
// throwing std::bad_alloc, so that what follows would never be seen.
#include <algorithm>
#include <cstdlib>
#include <new>

#include "fuzz.h"

namespace edgead {
namespace {

size_t left = SIZE_MAX, until_failure = 0;

void* take(size_t bytes, size_t alignment) {
  if (bytes > left || (until_failure > 0 && --until_failure == 0)) throw std::bad_alloc();
  left -= bytes;  // never given back: a bound of all that one input takes
  void* memory = nullptr;
  if (posix_memalign(&memory, std::max(alignment, sizeof(void*)), bytes) != 0)
    throw std::bad_alloc();
  return memory;
}

}  // namespace

void allow_memory(size_t bytes) { left = bytes, until_failure = 0; }
void fail_allocation(size_t number) { until_failure = number; }

}  // namespace edgead

using edgead::take;

void* operator new(size_t bytes) { return take(bytes, alignof(std::max_align_t)); }
void* operator new[](size_t bytes) { return take(bytes, alignof(std::max_align_t)); }
void* operator new(size_t bytes, std::align_val_t a) { return take(bytes, static_cast<size_t>(a)); }
// libFuzzer's own.
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return std::malloc(bytes); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

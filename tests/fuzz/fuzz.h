// What the targets share.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>

#include "failure.h"

namespace edgead {

// Bytes that operator new still gives, then std::bad_alloc; without a number, all. memory.cpp
void allow_memory(size_t bytes = SIZE_MAX);
constexpr size_t kEnough = size_t{256} << 20;
// The allocation with this number from now on fails as well; 0: none does.
void fail_allocation(size_t number);

[[noreturn]] inline void defect(const std::string& what) {
  std::fprintf(stderr, "DEFECT: %s\n", what.c_str());
  std::abort();
}

inline void expect(bool holds, const char* claim) {
  if (!holds) defect(claim);
}

// Runs `work`, which may refuse its input with a Failure or run out of memory, and nothing else.
template <class Work>
void may_refuse(const Work& work) {
  allow_memory(kEnough);
  try {
    work();
  } catch (const Failure& failure) {
    expect(failure.status > 0 && failure.status < EDGEAD_ERROR_INTERNAL, "an unknown status");
    expect(failure.what()[0] != 0, "a refusal without a sentence");
  } catch (const std::bad_alloc&) {
  }
  allow_memory();
}

}  // namespace edgead

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

// What every native test needs: watched memory, random numbers, a way to fail.
#pragma once
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <random>

#if defined(__SANITIZE_ADDRESS__)
#define EDGEAD_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define EDGEAD_ASAN 1
#endif
#endif
#ifdef EDGEAD_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace edgead {

// Says what went wrong, as printf does, and ends the program.
[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::fprintf(stderr, "FAILED: ");
  std::vfprintf(stderr, format, arguments);
  std::fprintf(stderr, "\n");
  std::exit(1);
}

using Random = std::mt19937_64;

inline double uniform(Random& random, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(random);
}

inline int32_t whole(Random& random, int32_t low, int32_t high) {
  return std::uniform_int_distribution<int32_t>(low, high)(random);
}

// Exactly `bytes` of memory, `offset` bytes past a 64-byte boundary, between two guard zones. Under
// ASan what touches a guard is stopped; otherwise close() finds what was written there.
// The memory starts as 0xff, which is NaN in both float types: what is read before it was written
// shows in the results.
class Block {
 public:
  explicit Block(size_t bytes, size_t offset = 0)
      : head_(kGuard + offset), bytes_(bytes), raw_(allocate(head_ + bytes + kGuard)) {
    std::memset(raw_, kCanary, head_ + bytes + kGuard);
    std::memset(data(), 0xff, bytes);
    watch(true);
  }
  ~Block() {
    watch(false);
    for (size_t i = 0; i < kGuard; ++i)
      if (raw_[head_ - 1 - i] != kCanary || raw_[head_ + bytes_ + i] != kCanary)
        fail("memory beside a block of %zu bytes was written", bytes_);
    ::operator delete(raw_, std::align_val_t(64));
  }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;

  char* data() { return reinterpret_cast<char*>(raw_ + head_); }
  const char* data() const { return reinterpret_cast<const char*>(raw_ + head_); }
  size_t bytes() const { return bytes_; }
  template <class T>
  T* as() {
    return reinterpret_cast<T*>(data());
  }

 private:
  static constexpr size_t kGuard = 4096;
  static constexpr unsigned char kCanary = 0xa5;

  static unsigned char* allocate(size_t bytes) {
    return static_cast<unsigned char*>(::operator new(bytes, std::align_val_t(64)));
  }

  void watch(bool on) {
#ifdef EDGEAD_ASAN
    if (on) {
      ASAN_POISON_MEMORY_REGION(raw_, head_);
      ASAN_POISON_MEMORY_REGION(raw_ + head_ + bytes_, kGuard);
    } else {
      ASAN_UNPOISON_MEMORY_REGION(raw_, head_ + bytes_ + kGuard);
    }
#else
    (void)on;
#endif
  }

  size_t head_, bytes_;
  unsigned char* raw_;
};

}  // namespace edgead

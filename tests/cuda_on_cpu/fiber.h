// Fibers: stacks that one OS thread jumps between, and what ASan and TSan have to be told of it.
// For cuda_on_cpu.cpp only; nothing here may be compiled with a sanitizer.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

extern "C" {
// Of the sanitizers' run times; null without them.
#define WEAK __attribute__((weak))
WEAK void __sanitizer_start_switch_fiber(void** save, const void* bottom, size_t size);
WEAK void __sanitizer_finish_switch_fiber(void* save, const void** bottom, size_t* size);
WEAK void* __tsan_create_fiber(unsigned flags);
WEAK void __tsan_switch_to_fiber(void* fiber, unsigned flags);
WEAK void* __tsan_get_current_fiber();
WEAK void __tsan_acquire(void*);
WEAK void __tsan_release(void*);
WEAK void __tsan_java_init(char* heap, size_t size);
WEAK void __tsan_java_alloc(char* at, size_t size);
WEAK void __tsan_java_free(char* at, size_t size);
#undef WEAK
}

namespace cuda_on_cpu {

constexpr size_t kStackBytes = 64 << 10;

struct Fiber {
  Fiber() = default;
  Fiber(const Fiber&) = delete;
  ~Fiber() {
    if (owns) std::free(stack);
  }

  bool owns = false;
  char* stack = nullptr;  // bottom; of the OS thread: as ASan reports it
  size_t size = 0;
  void* asan = nullptr;
  void* tsan = nullptr;
#if defined(__x86_64__)
  void* top = nullptr;  // where its registers are saved
#else
  ucontext_t context;
#endif
};

inline void tsan_acquire(void* tag) {
  if (__tsan_acquire) __tsan_acquire(tag);
}
inline void tsan_release(void* tag) {
  if (__tsan_release) __tsan_release(tag);
}

// TSan forgets all accesses to [begin, end): to it, this is the heap of a language that moves
// objects, and it is freed and allocated again. (AnnotateNewMemory does nothing in these run
// times.)
inline void tsan_forget(char* begin, char* end) {
  if (!__tsan_java_init || begin == end) return;
  static bool known = false;
  char* const to = begin + (end - begin + 7) / 8 * 8;
  if (known)
    __tsan_java_free(begin, to - begin);
  else
    __tsan_java_init(begin, to - begin);
  known = true;
  __tsan_java_alloc(begin, to - begin);
}

// The OS thread's own stack takes the part of a fiber.
inline void adopt_current_stack(Fiber& fiber) {
  if (__tsan_get_current_fiber) fiber.tsan = __tsan_get_current_fiber();
}

#if defined(__x86_64__)
extern "C" void cuda_on_cpu_swap(void** save, void* next);
__asm__(
    ".text\n"
    "cuda_on_cpu_swap:\n"
    " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    " mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
    " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
    " ret\n");
#endif

// The fiber's next switch starts `entry`, which never returns, at the top of its stack.
inline void prepare_fiber(Fiber& fiber, void (*entry)()) {
  if (fiber.stack == nullptr) {
    fiber.stack = static_cast<char*>(std::aligned_alloc(64, kStackBytes));
    fiber.size = kStackBytes, fiber.owns = true;
    if (__tsan_create_fiber) fiber.tsan = __tsan_create_fiber(0);
  }
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(fiber.stack + kStackBytes);
  *--top = nullptr;  // entry's return address: the stack is aligned as after a call
  *--top = reinterpret_cast<void*>(entry);
  for (int i = 0; i < 6; ++i) *--top = nullptr;  // the registers
  fiber.top = top;
#else
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack;
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, entry, 0);
#endif
}

// `last_time`: no fiber switches back to `from` before it is prepared anew.
inline void switch_fiber(Fiber& from, Fiber& to, bool last_time) {
  if (__sanitizer_start_switch_fiber)
    __sanitizer_start_switch_fiber(last_time ? nullptr : &from.asan, to.stack, to.size);
  if (__tsan_switch_to_fiber) __tsan_switch_to_fiber(to.tsan, 1);  // 1: no happens-before
#if defined(__x86_64__)
  cuda_on_cpu_swap(&from.top, to.top);
#else
  swapcontext(&from.context, &to.context);
#endif
  if (__sanitizer_finish_switch_fiber) __sanitizer_finish_switch_fiber(from.asan, nullptr, nullptr);
}

// The first thing that a fiber does. It learns where the stack of the OS thread lies.
inline void finish_first_switch(Fiber& launcher) {
  if (!__sanitizer_finish_switch_fiber) return;
  const void* bottom;
  size_t size;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  if (launcher.stack == nullptr) {
    launcher.stack = static_cast<char*>(const_cast<void*>(bottom));
    launcher.size = size;
  }
}

}  // namespace cuda_on_cpu

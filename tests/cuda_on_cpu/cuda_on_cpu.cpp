// The simulation's core: fibers, their order, barriers and warp operations. Compiled without
// sanitizers, for it jumps between stacks; it tells ASan and TSan about the fibers itself.
#include "cuda_on_cpu.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "fiber.h"
#include "watch.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

extern "C" {
extern char __start_cuda_shared[] __attribute__((weak));
extern char __stop_cuda_shared[] __attribute__((weak));
}

namespace cuda_on_cpu {
namespace {

constexpr unsigned kWarp = 32, kFiberSets = 3;

enum class State { ready, at_barrier, in_warp_operation, done };
struct Thread {
  Fiber* fiber = nullptr;
  State state = State::done;
  unsigned number = 0;  // within the block
  uint3 index{};
  const char* file = "";  // of the call that it waits in
  int line = 0;
};

// What the lanes of one mask do together. Two generations, for a lane may be at the next operation
// while another still reads the results of this one.
struct WarpOperation {
  uint32_t mask = 0, arrived = 0;
  const char* file = "";
  int line = 0;
  unsigned generation = 0;
  std::array<uint64_t, 3> value[2][kWarp];
  char tag[2];  // TSan knows a happens-before by its address
};

struct Simulation {
  unsigned seed = 0;
  cudaError_t error = cudaSuccess;
  const std::function<void()>* body = nullptr;
  dim3 grid, block;
  uint3 block_index{};
  std::vector<std::unique_ptr<Fiber>> fibers[kFiberSets];
  std::vector<Thread> threads;
  std::vector<unsigned> order;            // of the threads
  std::vector<WarpOperation> operations;  // at the number of the mask's first lane
  Thread* current = nullptr;              // null: the launch itself
  Fiber launcher;
  unsigned place = 0, alive = 0, waiting = 0, generation = 0;
  const char* barrier_file = "";  // of the barrier that `waiting` threads wait at
  int barrier_line = 0;
  char launch_tag = 0, done_tag = 0, barrier_tag[2] = {};
} sim;

[[noreturn]] void fail(const char* what, const char* file, int line) {
  std::fprintf(stderr, "cuda_on_cpu: %s, %s:%d", what, file, line);
  const uint3 b = sim.block_index, t = sim.current ? sim.current->index : uint3{};
  std::fprintf(stderr, ", block (%u, %u, %u), thread (%u, %u, %u)\n", b.x, b.y, b.z, t.x, t.y, t.z);
  std::_Exit(70);
}

void go_on_with(Thread* next) {
  Fiber& from = sim.current ? *sim.current->fiber : sim.launcher;
  const bool last_time = sim.current && sim.current->state == State::done;
  sim.current = next;
  switch_fiber(from, next ? *next->fiber : sim.launcher, last_time);
}

// Runs the next thread that can run; the launch itself when all are done.
void let_others_run() {
  const unsigned n = static_cast<unsigned>(sim.threads.size());
  for (unsigned k = 1; k <= n; ++k) {
    const unsigned place = (sim.place + k) % n;
    Thread* thread = &sim.threads[sim.order[place]];
    if (thread->state != State::ready) continue;
    sim.place = place;
    if (thread != sim.current) go_on_with(thread);
    return;
  }
  if (sim.alive == 0) return go_on_with(nullptr);
  for (const Thread& thread : sim.threads)
    if (thread.state != State::done)
      fail(thread.state == State::at_barrier ? "deadlock: a thread waits at a barrier for others"
                                             : "deadlock: a lane waits in a warp operation",
           thread.file, thread.line);
}

// Fails when others wait for `thread`, which has exited.
void check_exit(const Thread& thread) {
  if (sim.waiting > 0)
    fail("a thread exited while others wait at __syncthreads()", sim.barrier_file,
         sim.barrier_line);
  const unsigned lane = thread.number % kWarp, first = thread.number - lane;
  for (unsigned i = first; i < first + kWarp && i < sim.operations.size(); ++i) {
    const WarpOperation& op = sim.operations[i];
    if (op.arrived != 0 && op.mask >> lane & 1u)
      fail("the mask names a lane that has exited", op.file, op.line);
  }
}

bool same_call(const char* file, int line, const char* other_file, int other_line) {
  return line == other_line && std::strcmp(file, other_file) == 0;
}

void run_thread() {
  finish_first_switch(sim.launcher);
  tsan_acquire(&sim.launch_tag);
  (*sim.body)();
  tsan_release(&sim.done_tag);
  sim.current->state = State::done;
  --sim.alive;
  check_exit(*sim.current);
  let_others_run();
  std::abort();  // a thread that is done is not resumed
}

// Enters an operation of the lanes in `mask`, waits for all of them, and returns it.
WarpOperation& meet(uint32_t mask, const std::array<uint64_t, 3>& value, bool orders_memory,
                    const char* file, int line, unsigned& generation) {
  Thread& me = *sim.current;
  const unsigned lane = me.number % kWarp, first = me.number - lane;
  const unsigned lanes = std::min<unsigned>(kWarp, sim.threads.size() - first);
  me.file = file, me.line = line;
  if (lanes < kWarp) mask &= (1u << lanes) - 1;  // the block has no more
  if (!(mask >> lane & 1u)) fail("a lane is not in its own mask", file, line);
  for (unsigned i = 0; i < lanes; ++i)
    if (mask >> i & 1u && sim.threads[first + i].state == State::done)
      fail("the mask names a lane that has exited", file, line);
  WarpOperation& op = sim.operations[first + __builtin_ctz(mask)];
  if (op.arrived == 0) op.mask = mask, op.file = file, op.line = line;
  if (op.mask != mask || !same_call(file, line, op.file, op.line))
    fail("lanes disagree on mask or call of a warp operation", file, line);
  generation = op.generation % 2;
  op.value[generation][lane] = value;
  op.arrived |= 1u << lane;
  if (orders_memory) tsan_release(&op.tag[generation]);
  if (op.arrived == mask) {
    op.arrived = 0;
    ++op.generation;
    for (unsigned i = 0; i < lanes; ++i)
      if (mask >> i & 1u) sim.threads[first + i].state = State::ready;
  } else {
    me.state = State::in_warp_operation;
    let_others_run();
  }
  if (orders_memory) tsan_acquire(&op.tag[generation]);
  return op;
}

void start_block(unsigned ordinal) {
  tsan_forget(__start_cuda_shared, __stop_cuda_shared);
  for (volatile char* at = __start_cuda_shared; at < __stop_cuda_shared; ++at)
    *at = static_cast<char>(0xff);  // NaN; and no memset, which the sanitizers would watch
  const unsigned n = static_cast<unsigned>(sim.threads.size());
  auto& fibers = sim.fibers[ordinal % kFiberSets];
  while (fibers.size() < n) fibers.push_back(std::make_unique<Fiber>());
  sim.operations.assign(n, WarpOperation{});
  sim.alive = n, sim.waiting = 0, sim.place = n - 1;
  for (unsigned i = 0; i < n; ++i) {
    const dim3 b = sim.block;
    sim.threads[i] = {fibers[i].get(), State::ready, i, {i % b.x, i / b.x % b.y, i / b.x / b.y}};
    prepare_fiber(*fibers[i], run_thread);
  }
}

bool fits(dim3 grid, dim3 block) {
  return grid.x > 0 && grid.y > 0 && grid.z > 0 && grid.x <= 0x7fffffffu && grid.y <= 65535 &&
         grid.z <= 65535 && block.x > 0 && block.y > 0 && block.z > 0 && block.z <= 64 &&
         block.x * block.y * block.z <= 1024;
}

}  // namespace

void set_seed(unsigned seed) { sim.seed = seed; }
uint3 thread_index() { return sim.current->index; }
uint3 block_index() { return sim.block_index; }
dim3 block_size() { return sim.block; }
dim3 grid_size() { return sim.grid; }

void barrier(const char* file, int line) {
  Thread& me = *sim.current;
  me.file = file, me.line = line;
  if (sim.alive != sim.threads.size())
    fail("__syncthreads() after a thread has exited", file, line);
  if (sim.waiting == 0) sim.barrier_file = file, sim.barrier_line = line;
  if (!same_call(file, line, sim.barrier_file, sim.barrier_line))
    fail("divergent __syncthreads()", file, line);
  char* tag = &sim.barrier_tag[sim.generation % 2];
  tsan_release(tag);
  me.state = State::at_barrier;
  if (++sim.waiting == sim.threads.size()) {
    sim.waiting = 0;
    ++sim.generation;
    for (Thread& thread : sim.threads) thread.state = State::ready;
  }
  let_others_run();
  tsan_acquire(tag);
}

void warp_barrier(uint32_t mask, const char* file, int line) {
  unsigned generation;
  meet(mask, {}, true, file, line, generation);
}

uint64_t shuffle(uint32_t mask, uint64_t value, Shuffle kind, unsigned by, const char* file,
                 int line) {
  unsigned generation;
  const WarpOperation& op = meet(mask, {value}, false, file, line, generation);
  const unsigned lane = sim.current->number % kWarp;
  const unsigned source = kind == Shuffle::xor_   ? lane ^ by
                          : kind == Shuffle::from ? by % kWarp
                          : lane < by             ? lane
                                                  : lane - by;
  if (source >= kWarp || !(mask >> source & 1u))
    fail("a shuffle reads a lane outside its mask", file, line);
  return op.value[generation][source][0];
}

// Rows and columns of the lanes' words as the PTX ISA has them for mma.m16n8k32.
void byte_products(const uint32_t a[4], uint32_t b0, uint32_t b1, int sum[4], const char* file,
                   int line) {
  unsigned generation;
  const auto both = [](uint32_t low, uint32_t high) {
    return static_cast<uint64_t>(high) << 32 | low;
  };
  const WarpOperation& op = meet(0xffffffffu, {both(a[0], a[1]), both(a[2], a[3]), both(b0, b1)},
                                 false, file, line, generation);
  const auto& words = op.value[generation];
  const unsigned lane = sim.current->number % kWarp;
  const auto byte = [](uint64_t from, unsigned at) { return static_cast<int8_t>(from >> 8 * at); };
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
    for (unsigned k = 0; k < 32; ++k) {
      const auto& of_a = words[row % 8 * 4 + k % 16 / 4];
      const auto& of_b = words[column * 4 + k % 16 / 4];
      sum[i] += byte(of_a[k / 16], row / 8 * 4 + k % 4) * byte(of_b[2], k / 16 * 4 + k % 4);
    }
  }
}

void run(dim3 grid, dim3 block, const std::function<void()>& thread) {
  if (!fits(grid, block)) {
    sim.error = cudaErrorInvalidConfiguration;
    return;
  }
  sim.grid = grid, sim.block = block, sim.body = &thread;
  sim.threads.resize(block.x * block.y * block.z);
  sim.order.resize(sim.threads.size());
  std::iota(sim.order.begin(), sim.order.end(), 0u);
  std::vector<unsigned> blocks(grid.x * grid.y * grid.z);
  std::iota(blocks.begin(), blocks.end(), 0u);
  std::mt19937 random(sim.seed);
  if (sim.seed != 0) std::shuffle(blocks.begin(), blocks.end(), random);
  tsan_release(&sim.launch_tag);
  for (unsigned ordinal = 0; ordinal < blocks.size(); ++ordinal) {
    const unsigned b = blocks[ordinal];
    sim.block_index = {b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y};
    if (sim.seed != 0) std::shuffle(sim.order.begin(), sim.order.end(), random);
    start_block(ordinal);
    adopt_current_stack(sim.launcher);
    let_others_run();
    if (watch_block_end) watch_block_end();
  }
  if (watch_launch_end) watch_launch_end();
  tsan_acquire(&sim.done_tag);
}

}  // namespace cuda_on_cpu

int watched_thread() { return static_cast<int>(cuda_on_cpu::sim.current->number); }

// Weak: where the whole runtime is simulated, that one has its own.
__attribute__((weak)) cudaError_t cudaGetLastError() {
  const cudaError_t error = cuda_on_cpu::sim.error;
  cuda_on_cpu::sim.error = cudaSuccess;
  return error;
}

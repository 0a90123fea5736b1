// Counts what the kernels read and write in global memory. Linked to run_cases in place of TSan's
// run time: the kernels are compiled with -fsanitize=thread, so that every access is a call of one
// of the functions below. Prints JSON, one line for each launch and array.
//
//   requested  what the warps ask for: for each load or store of a warp the 32-byte sectors that
//   its
//              lanes touch, none kept from before (Nsight's l1tex sectors). The accesses of a warp
//              that belong together are those of the same instruction, executed for the nth time.
//   memory     what passes between the L2 cache and memory: a model of 1 MiB, chosen small, in
//              sectors, the least recently used out first; cold when the call begins, written back
//              when it ends. No L1. Blocks run one after the other, not side by side.
#include <cstdio>
#include <list>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "watch.h"

namespace {

constexpr uintptr_t kSector = 32;
constexpr size_t kCacheSectors = (size_t{1} << 20) / kSector;

struct Array {
  std::string name;
  uintptr_t begin, end;
};

struct Count {
  size_t requested = 0, memory = 0;  // sectors
};

struct Access {
  void* instruction;
  uintptr_t address;
  int size, array, warp, thread;
  bool store;
};

// The sectors of the accesses that a warp makes together.
struct Request {
  int array;
  bool store;
  std::set<uintptr_t> sectors;
};

struct Line {
  uintptr_t sector;
  int array, launch;
  bool dirty;
};

struct Counter {
  std::vector<Array> arrays;
  std::map<std::pair<int, int>, Count> counts;  // by launch and array
  std::vector<Access> block;                    // in the order in which they happened
  std::list<Line> lines;                        // the last used first
  std::unordered_map<uintptr_t, std::list<Line>::iterator> cached;
  int launch = 0;

  void write_back(const Line& line) {
    if (line.dirty) ++counts[{line.launch, line.array}].memory;
  }

  void touch(uintptr_t sector, int array, bool store) {
    const auto found = cached.find(sector);
    if (found != cached.end()) {
      lines.splice(lines.begin(), lines, found->second);
    } else {
      if (!store) ++counts[{launch, array}].memory;
      lines.push_front({sector, array, launch, false});
      cached[sector] = lines.begin();
    }
    if (store) lines.front().dirty = true, lines.front().launch = launch;
    if (lines.size() <= kCacheSectors) return;
    write_back(lines.back());
    cached.erase(lines.back().sector);
    lines.pop_back();
  }

  void end_block() {
    std::map<std::pair<int, void*>, int> times;  // by thread and instruction
    std::map<std::tuple<int, void*, int>, size_t> known;
    std::vector<Request> requests;
    for (const Access& a : block) {
      const int nth = times[{a.thread, a.instruction}]++;
      const auto [at, is_new] = known.insert({{a.warp, a.instruction, nth}, requests.size()});
      if (is_new) requests.push_back({a.array, a.store, {}});
      for (uintptr_t s = a.address / kSector; s <= (a.address + a.size - 1) / kSector; ++s)
        requests[at->second].sectors.insert(s);
    }
    for (const Request& request : requests) {
      counts[{launch, request.array}].requested += request.sectors.size();
      for (const uintptr_t sector : request.sectors) touch(sector, request.array, request.store);
    }
    block.clear();
  }

  void print() {
    for (const Line& line : lines) write_back(line);
    for (const auto& [key, count] : counts)
      std::printf("{\"launch\": %d, \"array\": \"%s\", \"requested\": %zu, \"memory\": %zu}\n",
                  key.first, arrays[key.second].name.c_str(), count.requested * kSector,
                  count.memory * kSector);
  }

  ~Counter() { print(); }
} counter;

void count(void* address, int size, bool store, void* instruction) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(address);
  for (size_t i = 0; i < counter.arrays.size(); ++i) {
    if (at < counter.arrays[i].begin || at >= counter.arrays[i].end) continue;
    const int thread = watched_thread();
    counter.block.push_back(
        {instruction, at, size, static_cast<int>(i), thread / 32, thread, store});
    return;
  }
}

}  // namespace

void watch(const char* name, const void* begin, size_t bytes) {
  const uintptr_t at = reinterpret_cast<uintptr_t>(begin);
  counter.arrays.push_back({name, at, at + bytes});
}
void watch_block_end() { counter.end_block(); }
void watch_launch_end() { ++counter.launch; }

// What GCC calls in code compiled with -fsanitize=thread.
#define HOOK(name, size, store) \
  extern "C" void name(void* at) { count(at, size, store, __builtin_return_address(0)); }
HOOK(__tsan_read1, 1, false)
HOOK(__tsan_read2, 2, false)
HOOK(__tsan_read4, 4, false)
HOOK(__tsan_read8, 8, false)
HOOK(__tsan_read16, 16, false)
HOOK(__tsan_write1, 1, true)
HOOK(__tsan_write2, 2, true)
HOOK(__tsan_write4, 4, true)
HOOK(__tsan_write8, 8, true)
HOOK(__tsan_write16, 16, true)
#undef HOOK
#define HOOK(name, store)                                                  \
  extern "C" void name(void* at, unsigned long size) {                     \
    count(at, static_cast<int>(size), store, __builtin_return_address(0)); \
  }
HOOK(__tsan_read_range, false)
HOOK(__tsan_write_range, true)
#undef HOOK
extern "C" void __tsan_init() {}
extern "C" void __tsan_func_entry(void*) {}
extern "C" void __tsan_func_exit() {}
// Of shared memory only: the kernels have no atomics in global memory.
extern "C" int __tsan_atomic32_fetch_add(volatile int* to, int value, int) {
  return __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}

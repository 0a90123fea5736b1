// allocations BUNDLE: counts what libedgead.so itself allocates while frames are scored. Whoever
// calls malloc or operator new is told by the address it returns to; OpenVINO's own do not count.
#include <dlfcn.h>
#include <edgead.h>
#include <link.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

extern "C" void* __libc_malloc(size_t bytes);
extern "C" void* __libc_calloc(size_t count, size_t bytes);
extern "C" void* __libc_realloc(void* memory, size_t bytes);
extern "C" void* __libc_memalign(size_t alignment, size_t bytes);

namespace {

uintptr_t first = 0, last = 0;  // addresses of libedgead.so
long count = 0;

void note(const void* caller) {
  const auto at = reinterpret_cast<uintptr_t>(caller);
  if (at >= first && at < last) __atomic_add_fetch(&count, 1, __ATOMIC_RELAXED);
}

int find(dl_phdr_info* info, size_t, void*) {
  if (std::strstr(info->dlpi_name, "libedgead") == nullptr) return 0;
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const auto& part = info->dlpi_phdr[i];
    if (part.p_type != PT_LOAD || !(part.p_flags & PF_X)) continue;
    first = info->dlpi_addr + part.p_vaddr, last = first + part.p_memsz;
  }
  return 1;
}

}  // namespace

#define HERE note(__builtin_return_address(0))
extern "C" void* malloc(size_t bytes) { return HERE, __libc_malloc(bytes); }
extern "C" void* calloc(size_t n, size_t bytes) { return HERE, __libc_calloc(n, bytes); }
extern "C" void* realloc(void* old, size_t bytes) { return HERE, __libc_realloc(old, bytes); }
extern "C" void* aligned_alloc(size_t a, size_t bytes) { return HERE, __libc_memalign(a, bytes); }
void* operator new(size_t bytes) { return HERE, __libc_malloc(bytes); }
void* operator new[](size_t bytes) { return HERE, __libc_malloc(bytes); }
void* operator new(size_t bytes, std::align_val_t a) {
  return HERE, __libc_memalign(static_cast<size_t>(a), bytes);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

static void check(edgead_status status) {
  if (status == EDGEAD_OK) return;
  char why[1000];
  edgead_last_error(why, sizeof why);
  std::fprintf(stderr, "%s\n", why);
  std::exit(1);
}

static const int32_t kHeight = 150, kWidth = 200;

// Memory of frames and of what is asked of them.
struct Buffers {
  std::vector<unsigned char> pixels = std::vector<unsigned char>(kHeight * kWidth * 6);
  std::vector<float> heat = std::vector<float>(1000 * 1000);
  std::vector<edgead_region> regions = std::vector<edgead_region>(64);
};

// All that may be asked of a session while it serves.
static size_t serve(edgead_detector* detector, edgead_session* session, const edgead_frame& frame,
                    Buffers& buffers) {
  edgead_result result = edgead_result_default();
  edgead_stats stats = edgead_stats_default();
  edgead_info info = edgead_info_default();
  const size_t bytes = buffers.heat.size() * sizeof(float);
  int32_t height = 0, width = 0;
  size_t found = 0;
  check(edgead_session_score(session, &frame, &result));
  check(edgead_session_heatmap(session, buffers.heat.data(), kWidth * 4, bytes));
  check(edgead_session_map_size(session, &height, &width));
  check(edgead_session_map(session, buffers.heat.data(), width * 4, bytes));
  check(edgead_session_regions(session, buffers.regions.data(), buffers.regions.size(), &found));
  check(edgead_session_stats(session, &stats));
  check(edgead_detector_info(detector, &info));
  check(edgead_detector_set_false_reject_rate(detector, 0.95));
  check(edgead_detector_threshold(detector, &result.p_value, &result.threshold));
  return found;
}

// Rows of 1, 2, 3, 4 or 6 bytes a pixel.
static edgead_frame frame_of(const Buffers& buffers, int format) {
  static const int kBytes[] = {0, 1, 2, 3, 3, 4, 4, 6, 6, 2, 2, 1};
  return edgead_frame_of(buffers.pixels.data(), kHeight, kWidth, kWidth * kBytes[format], format);
}

// Prints a line for the opening, then one for each format: what was allocated by preparing and by
// three frames after that, and how many regions they had.
int main(int, char** arguments) {
  dl_iterate_phdr(find, nullptr);
  edgead_detector* detector = nullptr;
  edgead_session* session = nullptr;
  check(edgead_detector_open(EDGEAD_API_VERSION, arguments[1], nullptr, &detector));
  check(edgead_session_open(detector, &session));
  std::printf("%ld\n", count);
  Buffers buffers;
  for (int format = EDGEAD_GRAY8; format <= EDGEAD_NV12; ++format) {
    const edgead_frame frame = frame_of(buffers, format);
    const long before = count;
    check(edgead_session_prepare(session, &frame));
    const long prepared = count;
    size_t regions = 0;
    for (size_t i = 0; i < 3; ++i) {
      // Blocks, whose high bytes are at most 3, which fits into 10 bits.
      for (size_t at = 0; at < buffers.pixels.size(); ++at)
        buffers.pixels[at] = at / 40 * (31 + i) % 7 != 0 ? 0 : at % 2 == 0 ? 255 : 3;
      regions += serve(detector, session, frame, buffers);
    }
    std::printf("%ld %ld %zu\n", prepared - before, count - prepared, regions);
  }
  edgead_session_close(session);
  edgead_detector_close(detector);
}

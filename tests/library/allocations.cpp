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

int main(int, char** arguments) {
  dl_iterate_phdr(find, nullptr);
  edgead_detector* detector = nullptr;
  edgead_session* session = nullptr;
  check(edgead_detector_open(EDGEAD_API_VERSION, arguments[1], nullptr, &detector));
  check(edgead_session_open(detector, &session));
  const long opening = count;
  std::vector<unsigned char> pixels(300 * 400 * 3, 77);
  std::vector<float> heat(300 * 400);
  edgead_frame frame{sizeof frame, pixels.data(), 300, 400, 1200, EDGEAD_BGR, 0};
  check(edgead_session_prepare(session, &frame));
  const long prepared = count;
  edgead_result result{};
  result.struct_size = sizeof result;
  for (int i = 0; i < 20; ++i) {
    pixels[static_cast<size_t>(i) * 1000] = 255;
    check(edgead_session_score(session, &frame, &result));
    check(edgead_session_heatmap(session, heat.data(), 1600, heat.size() * sizeof(float)));
  }
  std::printf("%ld %ld %ld\n", opening, prepared - opening, count - prepared);
  edgead_session_close(session);
  edgead_detector_close(detector);
}

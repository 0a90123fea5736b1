#include "restrictions.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>

#include "wording.h"

namespace edgead {
namespace {

// Addresses of OpenVINO's plugin, its frontend and the reserve of its allocator, as measured; and
// of a thread: 8 MB of stack, and what it keeps of its own.
constexpr int64_t kOpenVINOBytes = INT64_C(192) << 20, kThreadBytes = INT64_C(16) << 20;
constexpr int kGetMdwe = 66;  // prctl, of Linux 6.3 and newer

void* map_pages(size_t bytes) {
  return ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

// Does as a compiler does: fills a page of memory, then asks to execute it.
bool can_make_code() {
  const size_t bytes = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  void* page = map_pages(bytes);
  if (page == MAP_FAILED) return true;  // another trouble, which is told as it is
  std::memset(page, 0, bytes);
  const bool can = ::mprotect(page, bytes, PROT_READ | PROT_EXEC) == 0;
  ::munmap(page, bytes);
  return can;
}

bool says(const std::string& path, const char* text) {
  std::ifstream file(path);
  std::ostringstream content;
  content << file.rdbuf();
  return content.str().find(text) != std::string::npos;
}

// What the process may have at most; empty without a limit.
std::string limit_of_addresses() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return "";
  return format(
      "this process may use %.0f MB of addresses: raise that limit (ulimit -v, LimitAS= of a "
      "systemd unit)",
      static_cast<double>(limit.rlim_cur) / 1e6);
}

}  // namespace

std::string cure_of_code(const std::string& root) {
  const bool unit = std::getenv("INVOCATION_ID") != nullptr;
  if (::prctl(kGetMdwe, 0, 0, 0, 0) > 0 ||
      (unit && says(root + "/proc/self/status", "Seccomp:\t2")))
    return "MemoryDenyWriteExecute=no in the [Service] of its systemd unit";
  if (says(root + "/sys/fs/selinux/enforce", "1"))
    return "SELinux forbids it: allow its domain execmem; ausearch -m avc names the domain";
  return "find what forbids it: MemoryDenyWriteExecute= of a systemd unit, a seccomp filter, "
         "SELinux's execmem";
}

std::string code_refused(const std::string& library) {
  if (can_make_code()) return "";
  return "this process may not make memory executable, and " + library +
         " compiles its kernels into memory: " + cure_of_code("");
}

std::string restricted(const std::string& said) {
  const std::string refused = code_refused("OpenVINO");
  if (!refused.empty()) return refused;
  const std::string limit = limit_of_addresses();
  return limit.empty() ? said : said + "; " + limit;
}

std::string problem_of_addresses(int64_t threads) {
  const std::string limit = limit_of_addresses();
  if (limit.empty()) return "";
  const int64_t needed = kOpenVINOBytes + threads * kThreadBytes;
  void* pages = map_pages(static_cast<size_t>(needed));
  if (pages == MAP_FAILED)
    return format("OpenVINO needs %.0f MB of addresses more to start; ",
                  static_cast<double>(needed) / 1e6) +
           limit;
  ::munmap(pages, static_cast<size_t>(needed));
  return "";
}

}  // namespace edgead

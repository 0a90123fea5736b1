#include "restrictions.h"

#ifdef __linux__
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

// Bytes of addresses that the process may have; 0 without a limit.
double most_addresses() {
  rlimit limit{};
  const bool limited = ::getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY;
  return limited ? static_cast<double>(limit.rlim_cur) : 0;
}

std::string limit_of_addresses() {
  const double limit = most_addresses();
  if (limit == 0) return "";
  return format(
      "this process may use %.0f MB of addresses: raise that limit (ulimit -v, LimitAS= of a "
      "systemd unit)",
      limit / 1e6);
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

std::string scarcity(const std::string& said) {
  const auto names = [&](const char* words) { return said.find(words) != std::string::npos; };
  if (names("allocate memory") || names("bad_alloc"))
    return "there is not enough memory: free some, or raise the limit (ulimit -v; MemoryMax= of a "
           "systemd unit, --memory of a container)";
  // Of Python, and of C++, whose words are Linux's for addresses too.
  if (!names("can't start new thread") && !names("Resource temporarily unavailable")) return "";
  const double limit = most_addresses();
  if (limit > 0)
    return format(
        "this process may use %.0f MB of addresses, and a thread needs some for its stack: raise "
        "that limit (ulimit -v, LimitAS= of a systemd unit)",
        limit / 1e6);
  return "this process may start no more threads: raise the limit (ulimit -u; TasksMax= of a "
         "systemd unit, --pids-limit of a container), or use fewer with --threads";
}

std::string restricted(const std::string& said) {
  const std::string refused = code_refused("OpenVINO");
  if (!refused.empty()) return refused;
  const std::string scarce = scarcity(said);
  if (!scarce.empty()) return said + ": " + scarce;
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

#else  // of other systems nothing is known

namespace edgead {

std::string cure_of_code(const std::string&) { return ""; }
std::string code_refused(const std::string&) { return ""; }
std::string scarcity(const std::string&) { return ""; }
std::string restricted(const std::string& said) { return said; }
std::string problem_of_addresses(int64_t) { return ""; }

}  // namespace edgead
#endif

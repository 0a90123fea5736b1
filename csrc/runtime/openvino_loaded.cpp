// libedgead.so loads its library for OpenVINO when it is asked, so that it does without where there
// is none: libedgead_openvino.so.1, in the folder edgead beside it, where OpenVINO's files may be
// too.
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "failure.h"
#include "folder.h"
#include "openvino_library.h"
#include "restrictions.h"
#include "wording.h"

namespace edgead {
namespace {

constexpr const char* kFile = "libedgead_openvino.so.1";
constexpr const char* kCure =
    "; libedgead.so expects its folder edgead beside it, and OpenVINO " EDGEAD_OPENVINO_VERSION
    " there or among the system's libraries: install all of them from one package";

// The folder of libedgead.so. The loader's word: a path may have been relative to a folder that the
// process has left.
std::filesystem::path own_folder() {
  Dl_info about{};
  std::vector<char> folder(1 << 16);
  void* self = ::dladdr(reinterpret_cast<const void*>(&checked_library), &about) == 0
                   ? nullptr
                   : ::dlopen(about.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (self == nullptr || ::dlinfo(self, RTLD_DI_ORIGIN, folder.data()) != 0)
    throw device_failure(
        "the loader does not say where libedgead.so is: link the program with it, or "
        "with libedgead.a");
  ::dlclose(self);
  return folder.data();
}

// What the loader would read past the end of a file that was cut, for which the process would be
// killed; else empty. For a library of another processor the loader has its own words.
std::string problem_of_file(const std::string& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat about;
  Elf64_Ehdr header;
  if (file.number() < 0 || ::fstat(file.number(), &about) != 0 ||
      ::pread(file.number(), &header, sizeof header, 0) != sizeof header ||
      header.e_phentsize != sizeof(Elf64_Phdr))
    return "";
  const auto end = static_cast<uint64_t>(about.st_size);
  std::vector<Elf64_Phdr> parts(header.e_phnum);
  const size_t bytes = parts.size() * sizeof(Elf64_Phdr);
  bool cut = ::pread(file.number(), parts.data(), bytes, static_cast<off_t>(header.e_phoff)) !=
             static_cast<ssize_t>(bytes);
  for (const Elf64_Phdr& part : parts)
    cut = cut ||
          (part.p_type == PT_LOAD && (part.p_offset > end || part.p_filesz > end - part.p_offset));
  return cut ? path + " has only " + std::to_string(end) + " bytes" : "";
}

void check_files(const std::filesystem::path& folder) {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(folder, none)) {
    const std::string problem = problem_of_file(entry.path());
    if (!problem.empty()) throw device_failure("OpenVINO cannot be loaded: " + problem + kCure);
  }
}

void check_room() {
  cpu_set_t cores;
  const bool known = ::sched_getaffinity(0, sizeof cores, &cores) == 0;
  const std::string problem = problem_of_addresses(known ? CPU_COUNT(&cores) : 1);
  if (!problem.empty()) throw device_failure(problem);
}

const OpenVINOLibrary& load() {
  check_room();
  const std::filesystem::path folder = own_folder() / "edgead";
  check_files(folder);
  const std::string file = folder / kFile;
  // RTLD_LAZY is for OpenVINO's many functions: ours are looked for at once, as it is linked so.
  std::unique_ptr<void, int (*)(void*)> library(::dlopen(file.c_str(), RTLD_LAZY | RTLD_LOCAL),
                                                ::dlclose);
  if (!library)
    throw device_failure("OpenVINO cannot be loaded: " + restricted(::dlerror()) + kCure);
  const auto entry = reinterpret_cast<decltype(&edgead_openvino_library)>(
      ::dlsym(library.get(), "edgead_openvino_library"));
  if (entry == nullptr)
    throw device_failure(file + " is not libedgead's library for OpenVINO" + kCure);
  const OpenVINOLibrary& found = checked_library(*entry(), file.c_str());
  library.release();  // for the life of the process: its threads run in there
  return found;
}

}  // namespace

const OpenVINOLibrary& openvino_library() {
  static const OpenVINOLibrary& library = load();
  return library;
}

}  // namespace edgead

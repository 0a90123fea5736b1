#include "folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "failure.h"
#include "manifest_parts.h"

namespace edgead {
namespace {

constexpr const char* kExpected = "expected a directory NAME.edgead from edgead export or learn";
constexpr int64_t kMostBytes = INT64_C(0x7fffffff);  // of one file
constexpr int kFolderOnly = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// Below a folder, through folders that are no links.
Descriptor open_file(const Descriptor& folder, const std::string& file) {
  Descriptor inner{-1};
  size_t start = 0;
  for (size_t end; (end = file.find('/', start)) != std::string::npos; start = end + 1) {
    const int at = start == 0 ? folder.number() : inner.number();
    inner =
        Descriptor(::openat(at, file.substr(start, end - start).c_str(), kFolderOnly | O_NOFOLLOW));
    if (inner.number() < 0) return inner;
  }
  const int at = start == 0 ? folder.number() : inner.number();
  return Descriptor(
      ::openat(at, file.substr(start).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
}

}  // namespace

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (number_ >= 0 && this != &other) ::close(number_);
  number_ = other.release();
  return *this;
}

int Descriptor::release() {
  const int number = number_;
  number_ = -1;
  return number;
}

std::optional<std::string> read_bytes(const Descriptor& file, size_t bytes) {
  std::string data(bytes, '\0');
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t count = ::read(file.number(), data.data() + done, data.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return std::nullopt;
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  data.resize(done);
  return data;
}

Folder::Folder(const std::string& path) : name_(without_slashes(path)) {
  struct stat about;
  const bool exists = ::stat(name_.c_str(), &about) == 0;
  if (!exists || !S_ISDIR(about.st_mode))
    throw bundle_failure("bundle " + name_ + (exists ? " is a file; " : " does not exist; ") +
                         kExpected);
  folder_ = Descriptor(::open(name_.c_str(), kFolderOnly));
  check_manifest();
}

Folder::Folder(int descriptor) : name_("descriptor " + std::to_string(descriptor)) {
  struct stat about;
  if (::fstat(descriptor, &about) != 0)
    throw input_failure(name_ + " is not open: " + kExpected + ", opened with O_DIRECTORY");
  if (!S_ISDIR(about.st_mode)) throw bundle_failure(name_ + " is a file; " + kExpected);
  folder_ = Descriptor(::openat(descriptor, ".", kFolderOnly));  // with a position of its own
  check_manifest();
}

void Folder::check_manifest() const {
  if (folder_.number() < 0)
    throw bundle_failure("bundle " + name_ + " cannot be read: " + std::strerror(errno));
  struct stat about;
  if (::fstatat(folder_.number(), kManifest, &about, 0) != 0 || !S_ISREG(about.st_mode))
    throw bundle_failure(name_ + " is not a bundle: it has no " + kManifest + "; " + kExpected);
}

std::set<std::string> Folder::files() const {
  std::set<std::string> names;
  list(Descriptor(::openat(folder_.number(), ".", kFolderOnly)), "", names);
  return names;
}

void Folder::list(Descriptor folder, const std::string& prefix,
                  std::set<std::string>& names) const {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(
      folder.number() < 0 ? nullptr : ::fdopendir(folder.number()), ::closedir);
  const auto fail = [&] {
    return bundle_failure("bundle " + name_ + " cannot be read: " + std::strerror(errno));
  };
  if (!entries) throw fail();
  const int at = folder.release();  // closed with entries
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(entries.get());
    if (entry == nullptr && errno != 0) throw fail();
    if (entry == nullptr) return;
    const std::string own = entry->d_name, name = prefix + own;
    if (own == "." || own == "..") continue;
    struct stat about;
    if (::fstatat(at, own.c_str(), &about, AT_SYMLINK_NOFOLLOW) != 0) throw fail();
    if (S_ISREG(about.st_mode)) {
      names.insert(name);
    } else if (S_ISDIR(about.st_mode)) {
      list(Descriptor(::openat(at, own.c_str(), kFolderOnly | O_NOFOLLOW)), name + "/", names);
    } else {
      const char* kind = S_ISLNK(about.st_mode) ? "a symbolic link" : "no plain file";
      throw bundle_failure("bundle " + name_ + ": " + name + " is " + kind +
                           "; expected plain files only");
    }
  }
}

std::string Folder::read(const std::string& file) const {
  const auto because = [&](const char* reason) {
    return bundle_failure("cannot read " + name_ + "/" + file + ": " + reason + "; " + kAgain);
  };
  const Descriptor opened = open_file(folder_, file);
  struct stat about;
  if (opened.number() < 0 || ::fstat(opened.number(), &about) != 0)
    throw because(std::strerror(errno));
  if (!S_ISREG(about.st_mode)) throw because("it is not a plain file");
  if (about.st_size > kMostBytes) throw because("it has more than 2 GiB");
  auto data = read_bytes(opened, static_cast<size_t>(about.st_size));
  if (!data) throw because(std::strerror(errno));
  return *std::move(data);  // where it became shorter, its digest will tell
}

}  // namespace edgead

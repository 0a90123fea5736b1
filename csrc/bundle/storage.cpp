#include "storage.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <set>

#include "failure.h"
#include "ignore_mask.h"
#include "manifest_parts.h"
#include "png_file.h"
#include "sha256.h"
#include "wording.h"

namespace edgead {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExpected = "expected a directory NAME.edgead from edgead export or learn";
constexpr int64_t kMostBytes = INT64_C(0x7fffffff);  // of one file

struct Descriptor {
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  int number;
};

std::string because(const std::string& path, const char* reason) {
  return "cannot read " + path + ": " + reason + "; " + kAgain;
}

// A plain file; a pipe or a link of its name is not followed.
std::string read_file(const std::string& path) {
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  struct stat about;
  if (file.number < 0 || ::fstat(file.number, &about) != 0)
    throw bundle_failure(because(path, std::strerror(errno)));
  if (!S_ISREG(about.st_mode)) throw bundle_failure(because(path, "it is not a plain file"));
  if (about.st_size > kMostBytes) throw bundle_failure(because(path, "it has more than 2 GiB"));
  std::string data(static_cast<size_t>(about.st_size), '\0');
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t count = ::read(file.number, data.data() + done, data.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw bundle_failure(because(path, std::strerror(errno)));
    if (count == 0) break;  // it became shorter: its digest will tell
    done += static_cast<size_t>(count);
  }
  data.resize(done);
  return data;
}

// Relative names of all files; refuses what is neither file nor directory.
std::set<std::string> list_files(const std::string& root) {
  std::set<std::string> names;
  std::error_code error;
  fs::recursive_directory_iterator entry(root, error);
  for (const fs::recursive_directory_iterator end; !error && entry != end; entry.increment(error)) {
    const fs::file_status status = entry->symlink_status(error);
    if (error) break;
    const std::string name = entry->path().lexically_relative(root).generic_string();
    if (!fs::is_regular_file(status) && !fs::is_directory(status)) {
      const char* kind = fs::is_symlink(status) ? "a symbolic link" : "no plain file";
      throw bundle_failure("bundle " + root + ": " + name + " is " + kind +
                           "; expected plain files only");
    }
    if (fs::is_regular_file(status)) names.insert(name);
  }
  if (error) throw bundle_failure("bundle " + root + " cannot be read: " + error.message());
  return names;
}

void check_digest(const std::string& root, const std::string& name, const std::string& data,
                  const std::string& expected) {
  const std::string problem = problem_of_digest(data.size(), sha256(data), expected);
  if (!problem.empty()) throw bundle_failure("bundle " + root + ": " + name + " " + problem);
}

std::string without_slashes(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

void check_root(const std::string& root) {
  struct stat about;
  const bool exists = ::stat(root.c_str(), &about) == 0;
  if (!exists || !S_ISDIR(about.st_mode))
    throw bundle_failure("bundle " + root + (exists ? " is a file; " : " does not exist; ") +
                         kExpected);
  const std::string manifest = root + "/" + kManifest;
  if (::stat(manifest.c_str(), &about) != 0 || !S_ISREG(about.st_mode))
    throw bundle_failure(root + " is not a bundle: it has no " + kManifest + "; " + kExpected);
}

}  // namespace

Bundle::Bundle(const std::string& path) : path_(without_slashes(path)) {
  check_root(path_);
  const std::set<std::string> present = list_files(path_);
  const std::string data = read_file(path_ + "/" + kManifest);
  try {
    manifest_ = read_manifest(data);
    check_names(manifest_);
  } catch (const Failure& failure) {
    throw Failure(failure.status, "bundle " + path_ + ": " + failure.what());
  }
  for (const auto& [name, digest] : manifest_.files) {
    if (present.count(name) == 0)
      throw bundle_failure("bundle " + path_ + ": " + name + " is missing; " + kAgain);
    check_digest(path_, name, read_file(path_ + "/" + name), digest);
  }
  for (const std::string& name : present)
    if (manifest_.files.count(name) == 0 && name != kManifest)
      throw bundle_failure("bundle " + path_ + ": " + name +
                           " is not in the manifest; remove it (nothing may be added)");
  sha256_ = edgead::sha256(data);
}

std::string Bundle::read(const std::string& name) const {
  std::string data = read_file(path_ + "/" + name);
  check_digest(path_, name, data, manifest_.files.at(name));
  return data;
}

Image Bundle::read_image(const std::string& name) const {
  const std::string data = read(name);
  char why[200];
  edgead_png png;
  if (edgead_png_read(data.data(), data.size(), &png, why) != 0)
    throw bundle_failure("bundle " + path_ + ": " + name + ": image " + name + " " + why);
  const std::unique_ptr<uint8_t, void (*)(void*)> samples(png.samples, std::free);
  const size_t bytes =
      static_cast<size_t>(png.height) * png.width * png.channels * png.sample_bytes;
  return {{samples.get(), samples.get() + bytes},
          {png.height, png.width},
          png.channels,
          png.sample_bytes};
}

std::vector<uint8_t> Bundle::ignored() const {
  if (!manifest_.ignore) return {};
  const IgnoreMask& mask = *manifest_.ignore;
  try {
    if (!mask.image) return ignored_pixels(mask, nullptr);
    const Image image = read_image(*mask.image);
    const MaskImage given{image.samples.data(), image.size, image.channels * image.sample_bytes};
    return ignored_pixels(mask, &given);
  } catch (const Failure& failure) {
    if (failure.status != EDGEAD_ERROR_INPUT) throw;
    throw bundle_failure("bundle " + path_ + ": " + failure.what());
  }
}

}  // namespace edgead

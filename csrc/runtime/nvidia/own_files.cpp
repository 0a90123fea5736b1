#include "own_files.h"

#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "failure.h"
#include "folder.h"
#include "wording.h"

namespace edgead {
namespace {

constexpr const char* kCure = "set EDGEAD_CACHE to a directory of your own";

std::string expanded(const std::string& path) {
  if (path.rfind("~/", 0) != 0 && path != "~") return path;
  const char* home = std::getenv("HOME");
  if (home == nullptr || *home == 0) {
    const passwd* user = getpwuid(geteuid());
    home = user == nullptr ? nullptr : user->pw_dir;
  }
  if (home == nullptr)
    throw device_failure("the plan cache in " + path +
                         ": there is no such home folder; set EDGEAD_CACHE to a directory that "
                         "this user may write");
  return home + path.substr(1);
}

void check_own(const std::string& path, const struct stat& found, bool directory) {
  const char* expected = directory ? "a directory" : "a plain file";
  const char* cure = directory ? kCure : "remove it, and it is built again";
  if (S_ISLNK(found.st_mode))
    throw device_failure("the plan cache at " + path + " is a symbolic link; expected " + expected +
                         ": " + cure);
  if (directory ? !S_ISDIR(found.st_mode) : !S_ISREG(found.st_mode))
    throw device_failure("the plan cache at " + path + " is not " + expected + "; " + cure);
  if (found.st_uid != geteuid())
    throw device_failure(
        format("%s belongs to user %u, not to this one (%u); a plan is native "
               "code, so only one of your own is loaded: %s",
               path.c_str(), found.st_uid, geteuid(), cure));
  if ((found.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    throw device_failure(
        format("%s may be written by others (mode %o); a plan is native code: "
               "chmod go-w it, after removing what you did not build",
               path.c_str(), found.st_mode & 07777u));
}

void make_parents(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    if (mkdir(path.substr(0, at).c_str(), 0700) != 0 && errno != EEXIST) refuse_file(path);
}

bool write_all(int descriptor, const std::string& data) {
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t written = write(descriptor, data.data() + done, data.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    done += static_cast<size_t>(written);
  }
  return fsync(descriptor) == 0;
}

}  // namespace

void refuse_file(const std::string& path) {
  const int code = errno;
  const char* cure = code == ENOSPC || code == EDQUOT ? "free some space, or " : "";
  throw device_failure("plan cache: " + path + ": " + std::strerror(code) + ": " + cure + kCure);
}

std::string user_cache(const std::string& name) {
  const char* own = std::getenv("EDGEAD_CACHE");
  if (own != nullptr && *own != 0) return expanded(own) + "/" + name;
  const char* base = std::getenv("XDG_CACHE_HOME");
  return expanded(base != nullptr && *base != 0 ? base : "~/.cache") + "/edgead/" + name;
}

void make_own_directory(const std::string& path) {
  make_parents(path);
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) refuse_file(path);
  struct stat found;
  if (lstat(path.c_str(), &found) != 0) refuse_file(path);
  check_own(path, found, true);
}

std::optional<std::string> read_own_file(const std::string& path) {
  struct stat found;
  if (lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return std::nullopt;
    refuse_file(path);
  }
  check_own(path, found, false);
  const Descriptor file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (file.number() < 0 || fstat(file.number(), &found) != 0) refuse_file(path);
  auto data = read_bytes(file, static_cast<size_t>(found.st_size));
  if (!data) refuse_file(path);
  return data;
}

void write_own_file(const std::string& path, const std::string& data) {
  const size_t slash = path.rfind('/');
  std::string temporary = path.substr(0, slash + 1) + "." + path.substr(slash + 1) + ".XXXXXX.tmp";
  const Descriptor file(mkostemps(temporary.data(), 4, O_CLOEXEC));
  if (file.number() < 0) refuse_file(path);
  if (!write_all(file.number(), data) || rename(temporary.c_str(), path.c_str()) != 0) {
    const int code = errno;
    unlink(temporary.c_str());
    errno = code;
    refuse_file(path);
  }
  const Descriptor folder(open(path.substr(0, slash).c_str(), O_RDONLY | O_CLOEXEC));
  if (folder.number() >= 0) fsync(folder.number());
}

}  // namespace edgead

// A folder by its descriptor: whatever becomes of its path, this one is read.
#pragma once
#include <optional>
#include <set>
#include <string>

namespace edgead {

// A descriptor that is closed with its owner; below 0 where there is none.
class Descriptor {
 public:
  explicit Descriptor(int number) : number_(number) {}
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : number_(other.release()) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  int number() const { return number_; }
  int release();

 private:
  int number_;
};

// The first `bytes` of a file, or all of one that has fewer; nothing, with errno, where it fails.
std::optional<std::string> read_bytes(const Descriptor& file, size_t bytes);

class Folder {
 public:
  // Failure: there is none, or it has no manifest.json.
  explicit Folder(const std::string& path);
  // Of a descriptor, which stays the caller's and is needed no longer than this takes.
  explicit Folder(int descriptor);

  const std::string& name() const { return name_; }  // in sentences: the path, or "descriptor 3"

  // Relative names of all files. Failure for what is neither file nor folder.
  std::set<std::string> files() const;
  // The content of a plain file; no pipe and no symbolic link is followed, of folders neither.
  std::string read(const std::string& file) const;

 private:
  void check_manifest() const;
  void list(Descriptor folder, const std::string& prefix, std::set<std::string>& names) const;

  std::string name_;
  Descriptor folder_{-1};
};

}  // namespace edgead

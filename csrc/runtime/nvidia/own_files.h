// Files that no other user may write, and that are written whole or not at all; edgead/files.py.
#pragma once
#include <optional>
#include <string>

namespace edgead {

// $EDGEAD_CACHE/name, else edgead/name in the cache directory of this user. Failure (device): this
// user has no home folder, and nothing says where else.
std::string user_cache(const std::string& name);

// Makes the directory where it is missing, for this user alone. Failure (device): it cannot be
// made, is a link, or others may write to it; so for a file below.
void make_own_directory(const std::string& path);

// Nothing where there is no such file.
std::optional<std::string> read_own_file(const std::string& path);

void write_own_file(const std::string& path, const std::string& data);

// What the operating system refuses, by errno.
[[noreturn]] void refuse_file(const std::string& path);

}  // namespace edgead

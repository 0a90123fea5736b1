// What the parts of a manifest are held to; a Failure with EDGEAD_ERROR_INPUT unless said
// otherwise.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "failure.h"
#include "manifest.h"
#include "wording.h"

namespace edgead {

inline void check_size(const char* name, Size size) {
  const std::vector<int64_t> sides{size.first, size.second};
  refuse(name, listed(sides, "()"), expected_size(sides));
}
int32_t number_of(const char* name, const std::string& word, const Words& words);
int32_t check_bit_depth(std::optional<int64_t> bit_depth);  // 0 for none
void check_input(const Input& input);
void check_map(const Manifest& manifest);  // its size, weights and numbers
void check_tiling(const Tiling& tiling);

constexpr const char* kManifest = "manifest.json";
constexpr const char* kSignatures = "signatures.json";  // of the manifest, which does not name it
constexpr const char* kAgain = "copy the bundle again or export it again";

// What a file of `bytes` is, "was truncated ..", that has not the digest which the manifest
// promises; else empty.
std::string problem_of_digest(size_t bytes, const std::string& found, const std::string& expected);

}  // namespace edgead

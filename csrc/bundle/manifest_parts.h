// What the parts of a manifest are held to; each is a Failure with EDGEAD_ERROR_INPUT.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "arguments.h"
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

}  // namespace edgead

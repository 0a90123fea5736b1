// What the parts of a manifest are held to; each is a Failure with EDGEAD_ERROR_INPUT.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "arguments.h"
#include "manifest.h"

namespace edgead {

void check_size(const char* name, Size size);
int32_t number_of(const char* name, const std::string& word, const Words& words);
int32_t check_bit_depth(std::optional<int64_t> bit_depth);  // 0 for none
void check_input(const Input& input);
void check_map(const Manifest& manifest);  // its size, weights and numbers
void check_ignore_mask(const IgnoreMask& mask);
void check_tiling(const Tiling& tiling);

}  // namespace edgead

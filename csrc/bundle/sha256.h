// SHA-256, by FIPS 180-4. Digests of files of tens of MB are a part of every start: that of the
// processor's own instructions is used where it has them.
#pragma once
#include <string>
#include <vector>

#include "sha256_blocks.h"

namespace edgead {

// Of `data`, in hex.
std::string sha256(const std::string& data);

// All that this processor can run, the fastest first; the last is plain C++.
const std::vector<Sha256Blocks>& all_sha256_blocks();

std::string sha256(const std::string& data, Sha256Blocks add_blocks);

}  // namespace edgead

// The origin and the directions in which a memory is told best by the bound of nearest.
#pragma once
#include <cstdint>
#include <vector>

namespace edgead {

struct PrincipalComponents {
  std::vector<float> mean;   // [channels]
  std::vector<float> basis;  // [min(channels, kParts - 1), channels], orthonormal rows
};

// Of values [rows, channels], finite. The directions of most variance, about, turned among
// themselves so that each has a like share of it. Of nearest they decide the time and no bit of a
// distance, so they need not be those of edgead/nearest.py.
PrincipalComponents principal_components(const std::vector<float>& values, int32_t channels);

}  // namespace edgead

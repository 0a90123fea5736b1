// The origin and the directions in which a memory is told best by the bound of nearest.
#pragma once
#include <cstddef>
#include <vector>

namespace edgead {

struct PrincipalComponents {
  std::vector<float> mean;   // [channels]
  std::vector<float> basis;  // [min(channels, kParts - 1), channels], orthonormal rows
};

// Of values [rows, channels], finite. The directions of most variance, about, turned among
// themselves so that each has a like share of it: bytes then hold all of them with a smaller step.
// Of nearest they decide the time and no bit of a distance.
PrincipalComponents principal_components(const float* values, size_t rows, size_t channels);

}  // namespace edgead

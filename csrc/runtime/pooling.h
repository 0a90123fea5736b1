// The score of a map that was stitched of tiles, as the kernel anomaly_map pools the others; and
// what is said of one that is not finite.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "anomaly_map.h"

namespace edgead {

// values [count], roi [count] or null: 0 where a pixel does not count. share: of the kept pixels
// that top_k averages. scratch [count]. Not finite where a kept value is not. One program for
// Python and C, which so give the same bits: the sum is in float64, in an order of its own.
double pool(const float* values, const uint8_t* roi, size_t count, Pooling pooling, double share,
            float* scratch);

// Failure (device) for a score that is NaN or infinite: of valid frames, by an engine or its
// memory.
void check_score(double score, const std::string& device, const std::string& version);

}  // namespace edgead

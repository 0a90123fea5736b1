// How much of the processor this process may use.
#pragma once
#include <cstdint>

namespace edgead {

// Cores' worth of time that the control group of this process grants, rounded down, at least 1; 0
// where it grants all that the process may run on, which an engine counts by itself.
int32_t quota_of_cores();

}  // namespace edgead

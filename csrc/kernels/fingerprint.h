// fingerprint: 64 bits of everything an array holds, to see later whether its memory was written
// to.
#pragma once
#include <cstdint>

namespace edgead {

// One axis of an array; the stride in bytes, of any sign.
struct FingerprintAxis {
  int64_t count, stride;
};

// Of the samples that the axes (at most 8) reach, and of no byte between them. Given the same axes,
// other content has the same fingerprint with a chance of about 2^-64, unless somebody looks for
// such content: this is not a cryptographic hash.
uint64_t fingerprint(const void* data, const FingerprintAxis* axes, int32_t count,
                     int64_t sample_bytes);

}  // namespace edgead

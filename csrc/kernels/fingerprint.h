// fingerprint: 64 bits of everything an array holds, to see later whether its memory was written
// to.
#pragma once
#include <cstdint>

namespace edgead {

// One axis of an array; the stride in bytes, of any sign.
struct FingerprintAxis {
  int64_t count, stride;
};

// Of the samples that the axes (at most 8) reach, and of no byte between them. Two equal ones: the
// same content, but for one chance in about 2^64, given the same axes. It is no protection against
// who looks for a collision.
uint64_t fingerprint(const void* data, const FingerprintAxis* axes, int32_t count,
                     int64_t sample_bytes);

}  // namespace edgead

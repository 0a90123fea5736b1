// SHA-256 (FIPS 180-4), so that the library needs no cryptographic one for its digests.
#pragma once
#include <string>

namespace edgead {

// In hexadecimal.
std::string sha256(const std::string& data);

}  // namespace edgead

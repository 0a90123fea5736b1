// Ed25519 of OpenSSL's libcrypto, which is loaded when the first signature is checked: libedgead is
// linked with none, and does without where no keys are given.
#pragma once
#include <string>

#include "signature.h"

namespace edgead {

// An Ed25519 of signature.h. Failure where no libcrypto can be loaded, or this libedgead was built
// without signatures.
bool libcrypto_fits(const std::string& key, const std::string& signature, const std::string& text);

// The list in a file, of at most 1 MiB; Failure as TrustedKeys. With none of libcrypto's a failure
// is told here, before the bundle is opened.
TrustedKeys read_trusted_keys(const std::string& path);

}  // namespace edgead

// Who signed a bundle, and whether that one is trusted: the rules of C and Python. What is signed
// is the digest of manifest.json, which holds all other digests, and a counter that grows from
// bundle to bundle. Ed25519 itself is another library's: libcrypto.h here, cryptography in Python.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "failure.h"

namespace edgead {

constexpr int64_t kMostCounter = 2147483647;

// A key is its 32 bytes, as "ed25519:" and 64 digits in lower-case hex.
class TrustedKeys {
 public:
  // Of a list: lines "trust KEY NAME", "revoke KEY REASON", "# comment". Failure for another line,
  // and for a list that trusts no key. `name`: of the list, for sentences.
  TrustedKeys(const std::string& text, const std::string& name);

  const std::string& name() const { return name_; }
  bool trusts(const std::string& key) const;  // and does not revoke it
  bool revokes(const std::string& key) const { return revoked_.count(key) != 0; }
  std::string name_of(const std::string& key) const;  // or the reason; empty where none is given

 private:
  std::string name_;
  std::map<std::string, std::string> trusted_, revoked_;  // key to the rest of its line
};

struct Signature {
  std::string key;    // "ed25519:..."
  std::string bytes;  // 64
};

struct Signatures {
  int64_t counter;
  std::vector<Signature> each;  // 1 to 8, each of another key
};

// Of the content of signatures.json; Failure for one that is damaged.
Signatures read_signatures(const std::string& text);

// What a key signs.
std::string signed_text(const std::string& manifest_sha256, int64_t counter);

// Whether a signature of 64 bytes is that of a key of 32 bytes, of a text.
using Ed25519 = std::function<bool(const std::string& key, const std::string& signature,
                                   const std::string& text)>;

struct Signed {
  std::string by;    // the key that is trusted, else the first one
  std::string name;  // of that key in the list; empty without one
  int64_t counter;
  bool trusted;
  std::vector<std::string> keys;  // all that signed
};

// text: of signatures.json; null where there is none. trusted: null to trust any signer.
// Failure for a signature that does not fit, and, with `trusted`, for a bundle that none of its
// keys signed.
Signed check_signatures(const std::string* text, const std::string& manifest_sha256,
                        const TrustedKeys* trusted, const Ed25519& fits);

}  // namespace edgead

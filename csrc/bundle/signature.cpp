#include "signature.h"

#include <algorithm>

#include "json.h"
#include "manifest_parts.h"
#include "wording.h"

namespace edgead {
namespace {

constexpr const char* kPrefix = "ed25519:";
constexpr size_t kKeyDigits = 64, kSignatureDigits = 128, kMostSignatures = 8;
constexpr const char* kKeyForm = "a key, ed25519: and 64 digits in lower-case hex";
constexpr const char* kSignAgain =
    "copy the bundle again, or sign it again: edgead sign NAME.edgead --key FILE";

Failure signature_failure(const std::string& sentence) {
  return Failure(EDGEAD_ERROR_SIGNATURE, sentence);
}

bool is_hex(const std::string& text, size_t start, size_t digits) {
  return text.size() == start + digits &&
         text.find_first_not_of("0123456789abcdef", start) == std::string::npos;
}

bool is_key(const std::string& text) {
  const size_t start = std::string(kPrefix).size();
  return text.compare(0, start, kPrefix) == 0 && is_hex(text, start, kKeyDigits);
}

// Of lower-case hex.
std::string bytes_of(const std::string& digits) {
  const auto value = [](char digit) { return digit <= '9' ? digit - '0' : digit - 'a' + 10; };
  std::string bytes;
  for (size_t i = 0; i < digits.size(); i += 2)
    bytes += static_cast<char>(16 * value(digits[i]) + value(digits[i + 1]));
  return bytes;
}

std::string raw(const std::string& key) {
  return bytes_of(key.substr(std::string(kPrefix).size()));
}

std::string brief(const std::string& key) { return key.substr(0, 20) + "…"; }

// Takes the first word off `text`, and what is around it.
std::string taken_word(std::string& text) {
  constexpr const char* kSpace = " \t\r";
  const size_t start = std::min(text.find_first_not_of(kSpace), text.size());
  const size_t end = std::min(text.find_first_of(kSpace, start), text.size());
  const std::string word = text.substr(start, end - start);
  text.erase(0, std::min(text.find_first_not_of(kSpace, end), text.size()));
  return word;
}

std::string joined(const std::vector<std::string>& keys) {
  std::string text;
  for (const std::string& key : keys) text += (text.empty() ? "" : " and ") + key;
  return text;
}

Failure not_trusted(const std::vector<std::string>& keys, const TrustedKeys& trusted) {
  for (const std::string& key : keys)
    if (trusted.revokes(key)) {
      const std::string why = trusted.name_of(key);
      return signature_failure("is signed by " + key + ", which " + trusted.name() + " revokes" +
                               (why.empty() ? "" : " (" + why + ")") +
                               "; get a bundle that is signed by a key that is trusted");
    }
  return signature_failure("is signed by " + joined(keys) + ", and " + trusted.name() +
                           " does not trust that; get the bundle from who signs yours, or add a "
                           "line `trust KEY NAME` there");
}

}  // namespace

TrustedKeys::TrustedKeys(const std::string& text, const std::string& name) : name_(name) {
  size_t number = 0;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    std::string line = text.substr(start, end - start);
    start = end + 1, ++number;
    const std::string word = taken_word(line);
    if (word.empty() || word[0] == '#') continue;
    const std::string key = taken_word(line);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r' || line.back() == '\t'))
      line.pop_back();
    const std::string where = name + ", line " + std::to_string(number);
    if (word != "trust" && word != "revoke")
      throw input_failure(where + " begins with " + in_quotes(word.substr(0, 40)) +
                          "; expected `trust KEY NAME`, `revoke KEY REASON` or `# comment`");
    if (!is_key(key))
      throw input_failure(where + " has " + in_quotes(key.substr(0, 80)) + "; expected " +
                          kKeyForm + ", as edgead sign --new-key writes it");
    (word == "trust" ? trusted_ : revoked_)[key] = line;
  }
  const auto trusted = [&](const auto& entry) { return trusts(entry.first); };
  if (std::none_of(trusted_.begin(), trusted_.end(), trusted))
    throw input_failure(name +
                        " trusts no key; expected a line `trust KEY NAME`, as edgead sign "
                        "--new-key writes it");
}

bool TrustedKeys::trusts(const std::string& key) const {
  return trusted_.count(key) != 0 && !revokes(key);
}

std::string TrustedKeys::name_of(const std::string& key) const {
  for (const auto* lines : {&revoked_, &trusted_})
    if (const auto found = lines->find(key); found != lines->end()) return found->second;
  return "";
}

Signatures read_signatures(const std::string& text) {
  try {
    const Json whole = parse_json(text);
    Object object(whole, "signatures");
    Signatures found{object.whole("counter"), {}};
    if (found.counter < 0)
      throw signature_failure("signatures.counter is negative; expected a whole number from 0");
    for (const Json& one : object.list("signatures").items) {
      Object entry(one, "signatures.signatures");
      const std::string key = entry.text("key"), digits = entry.text("signature");
      entry.finish();
      if (!is_key(key))
        throw signature_failure("key is " + in_quotes(key.substr(0, 80)) + "; expected " +
                                kKeyForm);
      if (!is_hex(digits, 0, kSignatureDigits))
        throw signature_failure("the signature of " + brief(key) +
                                " is not 128 digits in lower-case hex");
      for (const Signature& other : found.each)
        if (other.key == key)
          throw signature_failure("there are two signatures of " + key +
                                  "; expected one of each key");
      found.each.push_back({key, bytes_of(digits)});
    }
    object.finish();
    if (found.each.empty() || found.each.size() > kMostSignatures)
      throw signature_failure("there are " + std::to_string(found.each.size()) +
                              " signatures; expected 1 to 8");
    return found;
  } catch (const Failure& failure) {
    std::string said = failure.what();
    if (said.compare(0, 13, "manifest.json") == 0) said = "it is not JSON, or was cut";
    for (const char* cure : {"; export the bundle again", "; upgrade edgead?"})
      said = said.substr(0, said.find(cure));
    throw signature_failure(std::string(kSignatures) + " is damaged: " + said + "; " + kSignAgain);
  }
}

std::string signed_text(const std::string& manifest_sha256, int64_t counter) {
  return "edgead bundle, signature 1\ncounter " + std::to_string(counter) + "\nmanifest " +
         manifest_sha256 + "\n";
}

Signed check_signatures(const std::string* text, const std::string& manifest_sha256,
                        const TrustedKeys* trusted, const Ed25519& fits) {
  if (text == nullptr)
    throw signature_failure(
        "is not signed, and a key of " + (trusted == nullptr ? "a list" : trusted->name()) +
        " is asked for; sign it where the key is: edgead sign NAME.edgead --key FILE");
  const Signatures found = read_signatures(*text);
  Signed made{found.each[0].key, "", found.counter, false, {}};
  for (const Signature& one : found.each) {
    made.keys.push_back(one.key);
    if (trusted == nullptr || made.trusted || !trusted->trusts(one.key)) continue;
    made.by = one.key, made.name = trusted->name_of(one.key), made.trusted = true;
  }
  if (trusted != nullptr && !made.trusted) throw not_trusted(made.keys, *trusted);
  const std::string signed_ = signed_text(manifest_sha256, found.counter);
  for (const Signature& one : found.each)
    if (!fits(raw(one.key), one.bytes, signed_))
      throw signature_failure("has a signature of " + one.key +
                              " that does not fit: manifest, counter or signature was altered; " +
                              kSignAgain);
  return made;
}

}  // namespace edgead

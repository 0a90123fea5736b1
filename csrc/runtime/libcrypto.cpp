#include "libcrypto.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "folder.h"

namespace edgead {
namespace {

constexpr size_t kMostBytes = 1 << 20;

#ifdef EDGEAD_SIGNATURES

// What is called of it, as OpenSSL 1.1.1 and 3 declare it; EVP_PKEY_ED25519 is 1087 in both. No
// header of theirs is needed: the structs stay theirs.
struct Libcrypto {
  void* (*new_key)(int kind, void* engine, const unsigned char* key, size_t bytes);
  void (*free_key)(void* key);
  void* (*new_context)();
  void (*free_context)(void* context);
  int (*begin)(void* context, void** inner, const void* digest, void* engine, void* key);
  int (*verify)(void* context, const unsigned char* signature, size_t signature_bytes,
                const unsigned char* text, size_t text_bytes);
};
constexpr int kEd25519 = 1087;

template <class Function>
void find(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(::dlsym(library, name));
  if (function == nullptr)
    throw device_failure(std::string("signatures cannot be checked: libcrypto has no ") + name +
                         "; install OpenSSL 1.1.1 or newer (apt-get install libssl3)");
}

Libcrypto load() {
  void* library = nullptr;
  for (const char* file : {"libcrypto.so.3", "libcrypto.so.1.1"})
    if (library == nullptr) library = ::dlopen(file, RTLD_NOW | RTLD_LOCAL);  // for ever
  if (library == nullptr)
    throw device_failure(
        "signatures cannot be checked: neither libcrypto.so.3 nor libcrypto.so.1.1 can be loaded; "
        "install OpenSSL (apt-get install libssl3), or open the bundle without trusted keys");
  Libcrypto found{};
  find(library, "EVP_PKEY_new_raw_public_key", found.new_key);
  find(library, "EVP_PKEY_free", found.free_key);
  find(library, "EVP_MD_CTX_new", found.new_context);
  find(library, "EVP_MD_CTX_free", found.free_context);
  find(library, "EVP_DigestVerifyInit", found.begin);
  find(library, "EVP_DigestVerify", found.verify);
  return found;
}

const Libcrypto& libcrypto() {
  static const Libcrypto loaded = load();  // again at the next call where it failed
  return loaded;
}

const unsigned char* bytes(const std::string& text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

#else

[[noreturn]] void libcrypto() {
  throw device_failure(
      "signatures cannot be checked: this libedgead was built with EDGEAD_SIGNATURES=OFF; build it "
      "with ON, or open the bundle without trusted keys");
}

#endif

}  // namespace

#ifdef EDGEAD_SIGNATURES

bool libcrypto_fits(const std::string& key, const std::string& signature, const std::string& text) {
  const Libcrypto& crypto = libcrypto();
  const std::unique_ptr<void, void (*)(void*)> held(
      crypto.new_key(kEd25519, nullptr, bytes(key), key.size()), crypto.free_key);
  const std::unique_ptr<void, void (*)(void*)> context(crypto.new_context(), crypto.free_context);
  return held && context &&
         crypto.begin(context.get(), nullptr, nullptr, nullptr, held.get()) == 1 &&
         crypto.verify(context.get(), bytes(signature), signature.size(), bytes(text),
                       text.size()) == 1;
}

#else

bool libcrypto_fits(const std::string&, const std::string&, const std::string&) { libcrypto(); }

#endif

TrustedKeys read_trusted_keys(const std::string& path) {
  libcrypto();
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat about{};
  const bool found = file.number() >= 0 && ::fstat(file.number(), &about) == 0;
  if (found && !S_ISREG(about.st_mode))
    throw input_failure("the list of trusted keys: " + path + " is not a plain file");
  const auto text = found ? read_bytes(file, kMostBytes + 1) : std::nullopt;
  if (!text)
    throw input_failure("the list of trusted keys: " + path + ": " + std::strerror(errno) +
                        "; check the path");
  if (text->size() > kMostBytes)
    throw input_failure(path + " has " + std::to_string(about.st_size) +
                        " bytes; expected a list of keys, 1 MiB at most");
  return TrustedKeys(*text, path);
}

}  // namespace edgead

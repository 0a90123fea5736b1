#include "storage.h"

#include <cstdlib>
#include <memory>
#include <optional>
#include <set>

#include "failure.h"
#include "ignore_mask.h"
#include "png_file.h"
#include "sha256.h"
#include "wording.h"

namespace edgead {
namespace {

constexpr const char* kManifest = "manifest.json";
constexpr const char* kAgain = "copy the bundle again or export it again";

// Whether a name stays inside the bundle.
bool is_plain_name(const std::string& name) {
  if (name.find_first_of("\\:") != std::string::npos || name.find('\0') != std::string::npos)
    return false;
  size_t start = 0;
  for (;;) {
    const size_t end = std::min(name.find('/', start), name.size());
    const std::string part = name.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") return false;
    if (end == name.size()) return true;
    start = end + 1;
  }
}

void check_names(const Manifest& manifest) {
  for (const auto& [name, _] : manifest.files) {
    if (!is_plain_name(name))
      throw bundle_failure("files: " + in_quotes(name) + " is not a plain relative name; " +
                           kAgain);
    if (name == kManifest)
      throw bundle_failure(std::string("files: ") + kManifest + " cannot hold its own digest");
  }
  std::vector<std::string> used;
  const auto add = [&](const std::vector<std::optional<std::string>>& names) {
    for (const auto& name : names)
      if (name) used.push_back(*name);
  };
  for (const auto& [_, file] : manifest.models) used.push_back(file);
  for (const Golden& golden : manifest.golden) add({golden.image, golden.map, golden.scored});
  for (const Memory& m : manifest.memories) add({m.file, m.places, m.shares, m.scored});
  for (const Whitening& w : manifest.whitenings)
    add({w.mean, w.factors, w.centre, w.places, w.scored});
  if (manifest.ignore && manifest.ignore->image) used.push_back(*manifest.ignore->image);
  if (manifest.health) used.push_back(manifest.health->reference);
  for (const std::string& name : used)
    if (manifest.files.count(name) == 0)
      throw bundle_failure(in_quotes(name) + " is used by the manifest and not among its files; " +
                           kAgain);
}

void check_digest(const std::string& root, const std::string& name, const std::string& data,
                  const std::string& expected) {
  const std::string found = sha256(data);
  if (found == expected) return;
  throw bundle_failure("bundle " + root + ": " + name + " was truncated or altered (" +
                       std::to_string(data.size()) + " bytes, SHA-256 " + found.substr(0, 12) +
                       "…, expected " + expected.substr(0, 12) + "…); " + kAgain);
}

}  // namespace

Bundle::Bundle(Folder folder) : folder_(std::move(folder)) {
  const std::set<std::string> present = folder_.files();
  const std::string data = folder_.read(kManifest);
  try {
    manifest_ = read_manifest(data);
    check_names(manifest_);
  } catch (const Failure& failure) {
    throw Failure(failure.status, "bundle " + path() + ": " + failure.what());
  }
  for (const auto& [name, digest] : manifest_.files) {
    if (present.count(name) == 0)
      throw bundle_failure("bundle " + path() + ": " + name + " is missing; " + kAgain);
    check_digest(path(), name, folder_.read(name), digest);
  }
  for (const std::string& name : present)
    if (manifest_.files.count(name) == 0 && name != kManifest)
      throw bundle_failure("bundle " + path() + ": " + name +
                           " is not in the manifest; remove it (nothing may be added)");
  sha256_ = edgead::sha256(data);
}

std::string Bundle::read(const std::string& name) const {
  std::string data = folder_.read(name);
  check_digest(path(), name, data, manifest_.files.at(name));
  return data;
}

Image Bundle::read_image(const std::string& name) const {
  const std::string data = read(name);
  char why[200];
  edgead_png png;
  if (edgead_png_read(data.data(), data.size(), &png, why) != 0)
    throw bundle_failure("bundle " + path() + ": " + name + ": image " + name + " " + why);
  const std::unique_ptr<uint8_t, void (*)(void*)> samples(png.samples, std::free);
  const size_t bytes =
      static_cast<size_t>(png.height) * png.width * png.channels * png.sample_bytes;
  return {{samples.get(), samples.get() + bytes},
          {png.height, png.width},
          png.channels,
          png.sample_bytes};
}

std::vector<uint8_t> Bundle::ignored() const {
  if (!manifest_.ignore) return {};
  const IgnoreMask& mask = *manifest_.ignore;
  try {
    if (!mask.image) return ignored_pixels(mask, nullptr);
    const Image image = read_image(*mask.image);
    const MaskImage given{image.samples.data(), image.size, image.channels * image.sample_bytes};
    return ignored_pixels(mask, &given);
  } catch (const Failure& failure) {
    if (failure.status != EDGEAD_ERROR_INPUT) throw;
    throw bundle_failure("bundle " + path() + ": " + failure.what());
  }
}

}  // namespace edgead

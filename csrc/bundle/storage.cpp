#include "storage.h"

#include <cstdlib>
#include <memory>
#include <optional>
#include <set>

#include "failure.h"
#include "ignore_mask.h"
#include "manifest_parts.h"
#include "png_file.h"
#include "sha256.h"
#include "wording.h"

namespace edgead {
namespace {

void check_digest(const std::string& root, const std::string& name, const std::string& data,
                  const std::string& expected) {
  const std::string problem = problem_of_digest(data.size(), sha256(data), expected);
  if (!problem.empty()) throw bundle_failure("bundle " + root + ": " + name + " " + problem);
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
    if (manifest_.files.count(name) == 0 && name != kManifest && name != kSignatures)
      throw bundle_failure("bundle " + path() + ": " + name +
                           " is not in the manifest; remove it (nothing may be added)");
  sha256_ = edgead::sha256(data);
  if (present.count(kSignatures) != 0) signatures_ = folder_.read(kSignatures);
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
    throw bundle_failure("bundle " + path() + ": image " + name + " " + why);
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

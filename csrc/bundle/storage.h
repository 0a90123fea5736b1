// The bundle: a directory of plain files, each with its digest in the manifest;
// edgead/bundle/storage.py.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "files.h"
#include "folder.h"

namespace edgead {

struct Image {
  std::vector<uint8_t> samples;  // [height, width, channels], B G R or grey
  Size size;
  int32_t channels, sample_bytes;
};

class Bundle : public BundleFiles {
 public:
  // Checks every file against the manifest. Failure: a file missing, truncated, altered or added; a
  // symbolic link or a name that leads out; a damaged manifest.
  explicit Bundle(Folder folder);

  const std::string& path() const override { return folder_.name(); }
  const Manifest& manifest() const override { return manifest_; }
  const std::string& sha256() const { return sha256_; }  // of manifest.json
  // Of signatures.json, not checked; null for an unsigned bundle.
  const std::string* signatures() const { return signatures_ ? &*signatures_ : nullptr; }

  // Its digest is checked again.
  std::string read(const std::string& name) const override;
  // A PNG.
  Image read_image(const std::string& name) const;
  // Which pixels of a frame are ignored; empty without an ignore mask.
  std::vector<uint8_t> ignored() const;

 private:
  Folder folder_;
  std::string sha256_;
  std::optional<std::string> signatures_;
  Manifest manifest_;
};

}  // namespace edgead

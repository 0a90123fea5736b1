// The bundle: a directory of plain files, each with its digest in the manifest;
// edgead/bundle/storage.py.
#pragma once
#include <string>
#include <vector>

#include "manifest.h"

namespace edgead {

struct Image {
  std::vector<uint8_t> samples;  // [height, width, channels], B G R or grey
  Size size;
  int32_t channels, sample_bytes;
};

class Bundle {
 public:
  // Checks every file against the manifest. Failure: no such directory; a file missing, truncated,
  // altered or added; a symbolic link or a name that leads out; a damaged manifest.
  explicit Bundle(const std::string& path);

  const std::string& path() const { return path_; }
  const Manifest& manifest() const { return manifest_; }
  const std::string& sha256() const { return sha256_; }  // of manifest.json

  // The content of a file, its digest checked again.
  std::string read(const std::string& name) const;
  // A PNG.
  Image read_image(const std::string& name) const;
  // A finite float32 map of `size`, .npy.
  std::vector<float> read_map(const std::string& name, Size size) const;
  // The region of interest of the map of a whole frame; empty without an ignore mask.
  std::vector<uint8_t> region_of_interest() const;

 private:
  std::string path_, sha256_;
  Manifest manifest_;
};

}  // namespace edgead

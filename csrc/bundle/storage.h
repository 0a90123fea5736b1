// The bundle: a directory of plain files, each with its digest in the manifest;
// edgead/bundle/storage.py.
#pragma once
#include <string>
#include <vector>

#include "failure.h"
#include "folder.h"
#include "manifest.h"

namespace edgead {

struct Image {
  std::vector<uint8_t> samples;  // [height, width, channels], B G R or grey
  Size size;
  int32_t channels, sample_bytes;
};

struct Array {
  std::string type;  // "float32", or the name that NumPy gives another
  std::vector<int64_t> shape;
  std::string values;  // of its type, in C's order

  size_t count() const;               // of its values
  std::vector<float> floats() const;  // of float32
};

class Bundle {
 public:
  // Checks every file against the manifest. Failure: a file missing, truncated, altered or added; a
  // symbolic link or a name that leads out; a damaged manifest.
  explicit Bundle(Folder folder);

  const std::string& path() const { return folder_.name(); }
  const Manifest& manifest() const { return manifest_; }
  const std::string& sha256() const { return sha256_; }  // of manifest.json

  // The content of a file, its digest checked again.
  std::string read(const std::string& name) const;
  // A PNG.
  Image read_image(const std::string& name) const;
  // An array of any shape and type, .npy.
  Array read_array(const std::string& name) const;
  // Finite float32 numbers of `shape`.
  std::vector<float> read_floats(const std::string& name, const std::vector<int64_t>& shape) const;
  // A number for each position, none of them negative.
  std::vector<float> read_places(const std::string& name, Size size) const;
  // What is said of an array that is another than the manifest describes.
  Failure unlike(const std::string& name, const Array& found, const std::string& expected) const;
  // A finite float32 map of `size`, .npy.
  std::vector<float> read_map(const std::string& name, Size size) const;
  // Which pixels of a frame are ignored; empty without an ignore mask.
  std::vector<uint8_t> ignored() const;

 private:
  Folder folder_;
  std::string sha256_;
  Manifest manifest_;
};

}  // namespace edgead

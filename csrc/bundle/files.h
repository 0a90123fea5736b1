// The files of a bundle, each with its digest checked: those of a folder (storage.h), or whatever
// Python's edgead/bundle/storage.py has.
#pragma once
#include <string>
#include <vector>

#include "failure.h"
#include "manifest.h"

namespace edgead {

struct Array {
  std::string type;  // "float32", or the name that NumPy gives another
  std::vector<int64_t> shape;
  std::string values;  // of its type, in C's order

  size_t count() const;               // of its values
  std::vector<float> floats() const;  // of float32
};

class BundleFiles {
 public:
  virtual ~BundleFiles() = default;
  virtual const std::string& path() const = 0;  // of the bundle, for messages
  virtual const Manifest& manifest() const = 0;
  // The content of a file.
  virtual std::string read(const std::string& name) const = 0;

  // An array of any shape and type, .npy.
  Array read_array(const std::string& name) const;
  // Finite float32 numbers of `shape`.
  std::vector<float> read_floats(const std::string& name, const std::vector<int64_t>& shape) const;
  // A number for each position, none of them negative.
  std::vector<float> read_places(const std::string& name, Size size) const;
  // A finite float32 map of `size`, .npy.
  std::vector<float> read_map(const std::string& name, Size size) const;
  // What is said of an array that is another than the manifest describes.
  Failure unlike(const std::string& name, const Array& found, const std::string& expected) const;
};

}  // namespace edgead

// The arrays of a bundle.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "files.h"
#include "npy.h"
#include "wording.h"

namespace edgead {
namespace {

struct NumberType {
  const char *code, *name;  // in a file, and as NumPy names it
  size_t bytes;
};
constexpr NumberType kTypes[] = {
    {"<f4", "float32", 4}, {"<f2", "float16", 2}, {"<f8", "float64", 8}, {"|b1", "bool", 1},
    {"|i1", "int8", 1},    {"<i2", "int16", 2},   {"<i4", "int32", 4},   {"<i8", "int64", 8},
    {"|u1", "uint8", 1},   {"<u2", "uint16", 2},  {"<u4", "uint32", 4},  {"<u8", "uint64", 8},
};

// Null for a type that is none of little-endian numbers.
const NumberType* type_of(const std::string& code) {
  for (const NumberType& type : kTypes)
    if (code == type.code) return &type;
  return nullptr;
}

// Values whose first index runs fastest, in C's order.
std::string reordered(const std::string& values, const std::vector<int64_t>& shape, size_t bytes) {
  std::string ordered(values.size(), '\0');
  std::vector<int64_t> at(shape.size());
  for (size_t from = 0; from < values.size(); from += bytes) {
    size_t to = 0;
    for (size_t axis = 0; axis < shape.size(); ++axis)
      to = to * static_cast<size_t>(shape[axis]) + static_cast<size_t>(at[axis]);
    std::memcpy(&ordered[to * bytes], &values[from], bytes);
    for (size_t axis = 0; axis < shape.size() && ++at[axis] == shape[axis]; ++axis) at[axis] = 0;
  }
  return ordered;
}

bool all_finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

}  // namespace

size_t Array::count() const {
  size_t values = 1;
  for (const int64_t side : shape) values *= static_cast<size_t>(side);
  return values;
}

std::vector<float> Array::floats() const {
  std::vector<float> found(values.size() / sizeof(float));
  if (!found.empty()) std::memcpy(found.data(), values.data(), found.size() * sizeof(float));
  return found;
}

Array BundleFiles::read_array(const std::string& name) const {
  const std::string data = read(name);
  Npy npy;
  const NumberType* type = read_npy_header(data, npy) ? type_of(npy.type) : nullptr;
  Array array{type != nullptr ? type->name : "", npy.shape, {}};
  if (type == nullptr || (data.size() - npy.start) / type->bytes < array.count())
    throw bundle_failure("bundle " + path() + ": " + name +
                         " is not a NumPy array of little-endian numbers, or it is cut; copy the "
                         "bundle again or export it again");
  array.values = data.substr(npy.start, array.count() * type->bytes);
  if (npy.fortran_order) array.values = reordered(array.values, array.shape, type->bytes);
  return array;
}

Failure BundleFiles::unlike(const std::string& name, const Array& found,
                            const std::string& expected) const {
  return bundle_failure("bundle " + path() + ": " + name + " is " + listed(found.shape) + " " +
                        found.type + "; expected " + expected +
                        ": copy the bundle again, or learn it again");
}

std::vector<float> BundleFiles::read_floats(const std::string& name,
                                            const std::vector<int64_t>& shape) const {
  const Array found = read_array(name);
  const bool fits = found.type == "float32" && found.shape == shape;
  std::vector<float> values = fits ? found.floats() : std::vector<float>();
  if (!fits || !all_finite(values)) throw unlike(name, found, listed(shape) + " float32, finite");
  return values;
}

std::vector<float> BundleFiles::read_places(const std::string& name, Size size) const {
  const std::vector<int64_t> shape{size.first, size.second};
  std::vector<float> values = read_floats(name, shape);
  if (*std::min_element(values.begin(), values.end()) < 0)
    throw unlike(name, {"float32", shape, {}}, listed(shape) + " float32, not negative");
  return values;
}

std::vector<float> BundleFiles::read_map(const std::string& name, Size size) const {
  const std::vector<int64_t> expected{size.first, size.second};
  const Array found = read_array(name);
  const bool fits = found.type == "float32" && found.shape == expected;
  std::vector<float> values = fits ? found.floats() : std::vector<float>();
  if (!fits || !all_finite(values))
    throw bundle_failure("bundle " + path() + ": " + name + " is " + listed(found.shape, "()") +
                         " " + found.type + "; expected a finite map of " + listed(expected, "()") +
                         " float32");
  return values;
}

}  // namespace edgead

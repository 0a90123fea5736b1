// The arrays of a bundle, as edgead/bundle/storage.py reads them, and in its words.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "failure.h"
#include "npy.h"
#include "storage.h"
#include "wording.h"

namespace edgead {
namespace {

// As NumPy names the types that it writes; another one as it stands in the file.
std::string type_of(const std::string& code) {
  if (code.size() != 3 || (code[0] != '<' && code[0] != '|')) return code;
  const char digit = code[2];
  if (digit < '1' || digit > '8') return code;
  const std::string bits = std::to_string(8 * (digit - '0'));
  switch (code[1]) {
    case 'f':
      return "float" + bits;
    case 'i':
      return "int" + bits;
    case 'u':
      return "uint" + bits;
    case 'b':
      return "bool";
    default:
      return code;
  }
}

// Bytes of one value; 0 for a type whose values are not read.
size_t bytes_of(const std::string& code) {
  return type_of(code) == code ? 0 : static_cast<size_t>(code[2] - '0');
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

Array Bundle::read_array(const std::string& name) const {
  const std::string data = read(name);
  Npy npy;
  std::string problem = read_npy_header(data, npy);
  Array array{type_of(npy.type), npy.shape, {}};
  const size_t bytes = bytes_of(npy.type);
  if (problem.empty() && (data.size() - npy.start) / std::max<size_t>(bytes, 1) < array.count())
    problem = "it is cut";
  if (!problem.empty())
    throw bundle_failure("bundle " + path() + ": " + name + " is not a NumPy array: " + problem);
  array.values = data.substr(npy.start, array.count() * bytes);
  if (npy.fortran_order) array.values = reordered(array.values, array.shape, bytes);
  return array;
}

Failure Bundle::unlike(const std::string& name, const Array& found,
                       const std::string& expected) const {
  return bundle_failure("bundle " + path() + ": " + name + " is " + listed(found.shape) + " " +
                        found.type + "; expected " + expected +
                        ": copy the bundle again, or learn it again");
}

std::vector<float> Bundle::read_floats(const std::string& name,
                                       const std::vector<int64_t>& shape) const {
  const Array found = read_array(name);
  const bool fits = found.type == "float32" && found.shape == shape;
  std::vector<float> values = fits ? found.floats() : std::vector<float>();
  if (!fits || !all_finite(values)) throw unlike(name, found, listed(shape) + " float32, finite");
  return values;
}

std::vector<float> Bundle::read_places(const std::string& name, Size size) const {
  const std::vector<int64_t> shape{size.first, size.second};
  std::vector<float> values = read_floats(name, shape);
  if (*std::min_element(values.begin(), values.end()) < 0)
    throw unlike(name, {"float32", shape, {}}, listed(shape) + " float32, not negative");
  return values;
}

std::vector<float> Bundle::read_map(const std::string& name, Size size) const {
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

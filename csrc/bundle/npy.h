// Arrays in .npy files (NumPy's format 1.0 to 3.0).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace edgead {

struct Npy {
  std::string type;  // "<f4", ..
  bool fortran_order;
  std::vector<int64_t> shape;
  size_t start;  // of the values in the file
};

// The header; false for a file that has none.
bool read_npy_header(const std::string& data, Npy& found);

}  // namespace edgead

// Memory of the kernels: uninitialised, 64-byte aligned.
#pragma once
#include <cstddef>
#include <new>

namespace edgead {

class Aligned {
 public:
  explicit Aligned(size_t bytes)
      : data_(static_cast<char*>(::operator new(bytes, std::align_val_t(64)))) {}
  ~Aligned() { ::operator delete(data_, std::align_val_t(64)); }
  Aligned(const Aligned&) = delete;
  Aligned& operator=(const Aligned&) = delete;
  char* data() const { return data_; }

 private:
  char* data_;
};

}  // namespace edgead

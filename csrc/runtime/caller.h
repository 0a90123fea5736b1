// What crosses the C API: the caller's pointers, and structs of the size that its header has.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstring>

#include "edgead.h"
#include "failure.h"
#include "wording.h"

namespace edgead {

// Bytes of each struct in the first header of version 1: what came later, a caller may lack.
template <class Struct>
constexpr size_t kFirst = 0;
template <>
inline constexpr size_t kFirst<edgead_detector_params> = offsetof(edgead_detector_params, log);
template <>
inline constexpr size_t kFirst<edgead_frame> = offsetof(edgead_frame, chroma);
template <>
inline constexpr size_t kFirst<edgead_result> = offsetof(edgead_result, total_ms) + sizeof(double);
template <>
inline constexpr size_t kFirst<edgead_info> = offsetof(edgead_info, map_threshold) + sizeof(double);
template <>
inline constexpr size_t kFirst<edgead_stats> = offsetof(edgead_stats, idle_ms) + sizeof(double);

// More than any header will have: what was never set.
constexpr size_t kLargestStruct = 4096;

inline void check_given(const void* pointer, const char* name) {
  if (pointer == nullptr) throw input_failure(std::string(name) + " is NULL, expected a pointer");
}

template <class Struct>
void check_struct(const Struct* given, const char* name) {
  check_given(given, name);
  if (given->struct_size >= kFirst<Struct> && given->struct_size <= kLargestStruct) return;
  throw input_failure(
      format("%s->struct_size is %zu, expected %zu: begin with the struct's _default()", name,
             given->struct_size, sizeof(Struct)));
}

// What the caller gives, with 0 for what its header lacks. Failure for a field that this library
// lacks and that is not 0: it would be passed over.
template <class Struct>
Struct taken(const Struct* given, const char* name) {
  check_struct(given, name);
  Struct own{};
  std::memcpy(&own, given, std::min(given->struct_size, sizeof own));
  const char* bytes = reinterpret_cast<const char*>(given);
  for (size_t i = sizeof own; i < given->struct_size; ++i)
    if (bytes[i] != 0)
      throw Failure(EDGEAD_ERROR_VERSION,
                    format("%s has %zu bytes of which this libedgead knows %zu, and one of the "
                           "others is set: install the libedgead that the program was built with",
                           name, given->struct_size, sizeof own));
  return own;
}

// Fills what the caller's header has of a struct; what this library lacks becomes 0.
template <class Struct>
void give(const Struct& own, Struct* to) {
  const size_t size = to->struct_size, known = std::min(size, sizeof own);
  const size_t first = sizeof to->struct_size;
  char* bytes = reinterpret_cast<char*>(to);
  std::memcpy(bytes + first, reinterpret_cast<const char*>(&own) + first, known - first);
  std::memset(bytes + known, 0, size - known);
}

}  // namespace edgead

// What C and Python are told: a status, and a sentence of what was given, what was expected and the
// cure. Thrown inside; nothing of it crosses the C API.
#pragma once
#include <stdexcept>
#include <string>

#include "edgead.h"

namespace edgead {

class Failure : public std::runtime_error {
 public:
  Failure(edgead_status status, const std::string& sentence)
      : std::runtime_error(sentence), status(status) {}
  const edgead_status status;
};

inline Failure bundle_failure(const std::string& sentence) {
  return Failure(EDGEAD_ERROR_BUNDLE, sentence);
}
inline Failure device_failure(const std::string& sentence) {
  return Failure(EDGEAD_ERROR_DEVICE, sentence);
}
inline Failure input_failure(const std::string& sentence) {
  return Failure(EDGEAD_ERROR_INPUT, sentence);
}

// A Failure where something else is expected, as kernels/arguments.h says it, or has a problem.
inline void refuse(const std::string& name, const std::string& given, const std::string& expected) {
  if (!expected.empty()) throw input_failure(name + " is " + given + ", expected " + expected);
}
inline void refuse(const std::string& problem) {
  if (!problem.empty()) throw input_failure(problem);
}

}  // namespace edgead

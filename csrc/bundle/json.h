// JSON read strictly, for C and Python.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "failure.h"

namespace edgead {

using Json = nlohmann::ordered_json;
using Size = std::pair<int32_t, int32_t>;  // (height, width)

// Failure for text that is not JSON, names a key twice, or is nested deeper than any manifest. A
// byte of a name that is not UTF-8 stands in JSON as the lone code unit DC80
// to DCFF, which is how Python writes it; in what Object reads it is that byte again.
Json parse_json(const std::string& text);

// The object at a dotted path. Reading a key that is missing or of another kind is a Failure that
// names it; finish() gives one for a key that was not read.
class Object {
 public:
  Object(const Json& value, std::string where);
  bool has(const char* key);
  std::string path(const std::string& key) const { return where_ + "." + key; }

  const Json& at(const char* key);
  std::string text(const char* key);
  int64_t whole(const char* key);
  double number(const char* key);
  bool truth(const char* key);
  Size size(const char* key);
  std::vector<double> numbers(const char* key);
  std::vector<double> three(const char* key);
  std::vector<std::pair<std::string, std::string>> texts(const char* key);
  const Json& list(const char* key);    // of objects
  const Json& object(const char* key);  // of anything
  void finish() const;

 private:
  const Json& value_;
  std::string where_;
  std::vector<std::string> known_;
};

// What stands at `where` and what was expected.
Failure wrong(const std::string& where, const Json& value, const char* expected);

// One number of `value`, or false.
bool is_finite_number(const Json& value);

}  // namespace edgead

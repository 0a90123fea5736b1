// JSON read strictly, for C and Python.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "failure.h"

namespace edgead {

using Size = std::pair<int32_t, int32_t>;  // (height, width)

// A value of JSON. Not nlohmann::json, whose destructor takes memory, and ends the program where
// there is none.
struct Json {
  enum Kind { null, truth, whole, real, text, list, object };
  using Member = std::pair<std::string, Json>;

  bool is_number() const { return kind == whole || kind == real; }
  const Json* find(const std::string& key) const;  // null: there is none

  Kind kind = null;
  std::string word;             // of a text; of a whole number, its digits
  double number = 0;            // of a number, finite; 1 of true
  std::vector<Json> items;      // of a list
  std::vector<Member> members;  // of an object, in their order
};

// Failure for text that is not JSON, names a key twice, or is nested deeper than any manifest.
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
  std::vector<int64_t> wholes(const char* key);
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

}  // namespace edgead

#include "json.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "wording.h"

namespace edgead {
namespace {

constexpr size_t kDeepest = 100;
constexpr int64_t kMostWhole = 2147483647;

// As Python's repr() of what json.loads gives, up to about `most` bytes.
void show(const Json& value, size_t most, std::string& text) {
  if (text.size() > most) return;
  switch (value.kind) {
    case Json::null:
      text += "None";
      return;
    case Json::truth:
      text += value.number != 0 ? "True" : "False";
      return;
    case Json::whole:
      text += value.word;
      return;
    case Json::real:
      text += shown(value.number);
      return;
    case Json::text:
      text += in_quotes(value.word);
      return;
    case Json::list:
    case Json::object:
      break;
  }
  const bool is_list = value.kind == Json::list;
  const char* between = "";
  text += is_list ? '[' : '{';
  for (const Json& item : value.items) text += between, show(item, most, text), between = ", ";
  for (const auto& [key, item] : value.members) {
    text += between + in_quotes(key) + ": ";
    show(item, most, text), between = ", ";
  }
  text += is_list ? ']' : '}';
}

// The first `most` characters of UTF-8.
std::string shortened(const std::string& text, size_t most) {
  size_t end = 0, characters = 0;
  for (; end < text.size(); ++end)
    if ((text[end] & 0xc0) != 0x80 && ++characters > most) break;
  return text.substr(0, end);
}

// Whether it is a whole number that the manifest may have.
bool is_whole(const Json& value) {
  return value.kind == Json::whole && std::abs(value.number) <= kMostWhole;
}

// Half of a character of UTF-16, from four digits; 0 for another text.
unsigned half_of(const std::string& text, size_t at) {
  if (text.compare(at, 2, "\\u") != 0 || at + 6 > text.size()) return 0;
  unsigned code = 0;
  for (size_t i = at + 2; i < at + 6; ++i) {
    const auto digit = std::string("0123456789abcdef").find(static_cast<char>(text[i] | 32));
    if (digit == std::string::npos) return 0;
    code = 16 * code + static_cast<unsigned>(digit);
  }
  return code >> 11 == 0xd800 >> 11 ? code : 0;
}

// Halves of characters that stand alone, as Python writes the bytes of a name that is not UTF-8,
// become the character that stands for what cannot be read.
std::string with_whole_characters(std::string text) {
  for (size_t at = text.find('\\'); at != std::string::npos; at = text.find('\\', at)) {
    const unsigned half = half_of(text, at);
    const bool second = half != 0 && half < 0xdc00 && half_of(text, at + 6) >= 0xdc00;
    if (half != 0 && !second) text.replace(at + 2, 4, "fffd");
    at += second ? 12 : half != 0 ? 6 : 2;
  }
  return text;
}

// What nlohmann::json's parser calls. A function that gives false ends it.
class Reader {
 public:
  Json root;
  std::string problem = "it is not JSON, or nested more than 100 deep";

  bool null() { return put(Json::null) != nullptr; }
  bool boolean(bool value) { return number(Json::truth, "", value); }
  bool number_integer(int64_t value) {
    return number(Json::whole, std::to_string(value), static_cast<double>(value));
  }
  bool number_unsigned(uint64_t value) {
    return number(Json::whole, std::to_string(value), static_cast<double>(value));
  }
  bool number_float(double value, const std::string& word) {
    const bool whole = word.find_first_of(".eE") == std::string::npos;  // of more than 64 bits
    return number(whole ? Json::whole : Json::real, whole ? word : "", value);
  }
  bool string(const std::string& word) {
    Json* value = put(Json::text);
    value->word = word;
    return true;
  }
  bool binary(const std::vector<uint8_t>&) { return false; }
  bool start_array(size_t) { return start(Json::list); }
  bool end_array() { return open_.pop_back(), true; }
  bool start_object(size_t) { return start(Json::object); }
  bool key(const std::string& word) {
    open_.back()->members.emplace_back(word, Json());
    return true;
  }
  bool end_object() {
    std::vector<std::string> keys;
    for (const auto& member : open_.back()->members) keys.push_back(member.first);
    std::sort(keys.begin(), keys.end());
    const bool twice = std::adjacent_find(keys.begin(), keys.end()) != keys.end();
    if (twice) problem = "a key appears twice";
    open_.pop_back();
    return !twice;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception& error) {
    if (error.id == 406) problem = "a number is beyond float64";
    return false;
  }

 private:
  // Where the next value goes, made such a one.
  Json* put(Json::Kind kind) {
    Json* value = &root;
    if (!open_.empty() && open_.back()->kind == Json::list) {
      value = &open_.back()->items.emplace_back();
    } else if (!open_.empty()) {
      value = &open_.back()->members.back().second;
    }
    value->kind = kind;
    return value;
  }
  bool number(Json::Kind kind, const std::string& word, double value) {
    Json* found = put(kind);
    found->word = word, found->number = value;
    return true;
  }
  bool start(Json::Kind kind) {
    open_.push_back(put(kind));  // stays there while it is open: nothing follows it in its parent
    return open_.size() <= kDeepest;
  }

  std::vector<Json*> open_;
};

}  // namespace

const Json* Json::find(const std::string& key) const {
  for (const auto& [name, value] : members)
    if (name == key) return &value;
  return nullptr;
}

Failure wrong(const std::string& where, const Json& value, const char* expected) {
  std::string text;
  show(value, 400, text);
  return bundle_failure(where + " is " + shortened(text, 60) + "; expected " + expected);
}

Json parse_json(const std::string& text) {
  Reader reader;
  if (nlohmann::json::sax_parse(with_whole_characters(text), &reader))
    return std::move(reader.root);
  throw bundle_failure("manifest.json is truncated or damaged (" + reader.problem +
                       "); copy the bundle again");
}

Object::Object(const Json& value, std::string where) : value_(value), where_(std::move(where)) {
  if (value.kind != Json::object) throw wrong(where_, value, "an object");
}

bool Object::has(const char* key) {
  known_.emplace_back(key);
  return value_.find(key) != nullptr;
}

const Json& Object::at(const char* key) {
  if (!has(key))
    throw bundle_failure(where_ + ": key " + in_quotes(key) +
                         " is missing; export the bundle again");
  return *value_.find(key);
}

std::string Object::text(const char* key) {
  const Json& value = at(key);
  if (value.kind != Json::text || value.word.empty()) throw wrong(path(key), value, "a string");
  return value.word;
}

int64_t Object::whole(const char* key) {
  const Json& value = at(key);
  if (!is_whole(value)) throw wrong(path(key), value, "a whole number between -2^31 and 2^31");
  return static_cast<int64_t>(value.number);
}

double Object::number(const char* key) {
  const Json& value = at(key);
  if (!value.is_number()) throw wrong(path(key), value, "a finite number");
  return value.number;
}

bool Object::truth(const char* key) {
  const Json& value = at(key);
  if (value.kind != Json::truth) throw wrong(path(key), value, "true or false");
  return value.number != 0;
}

Size Object::size(const char* key) {
  const Json& value = at(key);
  const auto positive = [](const Json& item) { return is_whole(item) && item.number >= 1; };
  const std::vector<Json>& sides = value.items;
  if (sides.size() != 2 || !std::all_of(sides.begin(), sides.end(), positive))
    throw wrong(path(key), value, "[height, width], two positive whole numbers below 2^31");
  return {static_cast<int32_t>(sides[0].number), static_cast<int32_t>(sides[1].number)};
}

std::vector<double> Object::numbers(const char* key) {
  const Json& value = at(key);
  std::vector<double> found;
  for (const Json& item : value.items) found.push_back(item.number);
  if (value.kind != Json::list || !std::all_of(value.items.begin(), value.items.end(),
                                               [](const Json& i) { return i.is_number(); }))
    throw wrong(path(key), value, "a list of finite numbers");
  return found;
}

std::vector<int64_t> Object::wholes(const char* key) {
  const Json& value = at(key);
  if (value.kind != Json::list || !std::all_of(value.items.begin(), value.items.end(), is_whole))
    throw wrong(path(key), value, "a list of whole numbers");
  std::vector<int64_t> found;
  for (const Json& item : value.items) found.push_back(static_cast<int64_t>(item.number));
  return found;
}

std::vector<double> Object::three(const char* key) {
  const Json& value = at(key);
  std::vector<double> found;
  for (const Json& item : value.items)
    if (item.is_number()) found.push_back(item.number);
  if (found.size() != 3 || value.items.size() != 3)
    throw wrong(path(key), value, "three finite numbers");
  return found;
}

std::vector<std::pair<std::string, std::string>> Object::texts(const char* key) {
  const Json& value = at(key);
  bool fits = value.kind == Json::object;
  std::vector<std::pair<std::string, std::string>> found;
  for (const auto& [name, item] : value.members) {
    fits = fits && item.kind == Json::text && !item.word.empty();
    found.emplace_back(name, item.word);
  }
  if (!fits) throw wrong(path(key), value, "an object of strings");
  return found;
}

const Json& Object::list(const char* key) {
  const Json& value = at(key);
  if (value.kind != Json::list) throw wrong(path(key), value, "a list of objects");
  return value;
}

const Json& Object::object(const char* key) {
  const Json& value = at(key);
  if (value.kind != Json::object) throw wrong(path(key), value, "an object");
  return value;
}

void Object::finish() const {
  std::vector<std::string> unknown;
  for (const auto& member : value_.members)
    if (std::find(known_.begin(), known_.end(), member.first) == known_.end())
      unknown.push_back(member.first);
  if (unknown.empty()) return;
  const auto first = std::min_element(unknown.begin(), unknown.end());
  throw bundle_failure(where_ + ": unknown key " + in_quotes(*first) + "; upgrade edgead?");
}

}  // namespace edgead

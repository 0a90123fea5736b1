#include "json.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "wording.h"

namespace edgead {
namespace {

constexpr int kDeepest = 100;

// As Python's repr() of what json.loads gives, up to about `most` bytes.
void show(const Json& value, size_t most, std::string& text) {
  if (text.size() > most) return;
  if (value.is_null()) {
    text += "None";
  } else if (value.is_boolean()) {
    text += value.get<bool>() ? "True" : "False";
  } else if (value.is_string()) {
    text += in_quotes(value.get_ref<const std::string&>());
  } else if (value.is_number_float()) {
    text += shown(value.get<double>());
  } else if (value.is_object() || value.is_array()) {
    text += value.is_object() ? '{' : '[';
    bool first = true;
    for (auto item = value.begin(); item != value.end(); ++item) {
      if (!first) text += ", ";
      first = false;
      if (value.is_object()) text += in_quotes(item.key()) + ": ";
      show(*item, most, text);
      if (text.size() > most) return;
    }
    text += value.is_object() ? '}' : ']';
  } else {
    text += value.dump();
  }
}

// The first `most` characters of UTF-8.
std::string shortened(const std::string& text, size_t most) {
  size_t end = 0, characters = 0;
  for (; end < text.size(); ++end)
    if ((text[end] & 0xc0) != 0x80 && ++characters > most) break;
  return text.substr(0, end);
}

// A whole number; one that int64 has not is beyond every limit.
int64_t whole_of(const Json& value) {
  const bool beyond = value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX;
  return beyond ? INT64_MAX : value.get<int64_t>();
}

// The code unit of an escape \\uXXXX at text[at], or 0 where there is none.
uint32_t unit_at(const std::string& text, size_t at) {
  if (at + 6 > text.size() || text[at] != '\\' || text[at + 1] != 'u') return 0;
  const std::string digits = text.substr(at + 2, 4);
  if (digits.find_first_not_of("0123456789abcdefABCDEF") != std::string::npos) return 0;
  return static_cast<uint32_t>(std::stoul(digits, nullptr, 16));
}

constexpr uint32_t kHalves = 0xd800;      // .. 0xdfff: halves of characters
constexpr uint32_t kStandIns = 0x10f800;  // .. 0x10ffff, of private use: for those that are alone

// Half a character that stands alone is no text; a private one stands in for it.
std::string with_stand_ins(const std::string& text) {
  std::string found;
  size_t copied = 0;
  for (size_t at = text.find('\\'); at != std::string::npos; at = text.find('\\', at)) {
    const uint32_t unit = unit_at(text, at), next = unit_at(text, at + 6);
    const bool half = unit >= kHalves && unit < 0xe000;
    if (half && unit < 0xdc00 && next >= 0xdc00 && next < 0xe000) {
      at += 12;
    } else if (half) {
      const uint32_t code = kStandIns + (unit - kHalves) - 0x10000;
      found += text.substr(copied, at - copied) +
               format("\\u%04x\\u%04x", 0xd800 + (code >> 10), 0xdc00 + (code & 0x3ff));
      copied = at += 6;
    } else {
      at += 2;
    }
  }
  return found + text.substr(copied);
}

// `text` with the bytes that U+10FC80 to U+10FCFF stand for, in UTF-8 f4 8f b2 80 to f4 8f b3 bf.
std::string with_bytes(std::string text) {
  for (size_t at = text.find("\xf4\x8f"); at != std::string::npos;
       at = text.find("\xf4\x8f", at + 1)) {
    const char third = text[at + 2], last = text[at + 3];
    if (third == '\xb2') text.replace(at, 4, 1, last);
    if (third == '\xb3') text.replace(at, 4, 1, static_cast<char>(last | 0x40));
  }
  return text;
}

}  // namespace

Failure wrong(const std::string& where, const Json& value, const char* expected) {
  std::string text;
  show(value, 400, text);
  return bundle_failure(where + " is " + shortened(text, 60) + "; expected " + expected);
}

Json parse_json(const std::string& text) {
  std::vector<std::set<std::string>> keys;
  std::string problem;
  const auto look = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kDeepest) throw bundle_failure("it is nested too deeply");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      throw bundle_failure("a key appears twice");
    return true;
  };
  try {
    return Json::parse(with_stand_ins(text), look);
  } catch (const Json::exception& error) {
    problem = error.what();  // which quotes what it read, that may be bytes of anything
    for (char& c : problem) c = static_cast<unsigned char>(c) < 127 ? c : '?';
  } catch (const Failure& error) {
    problem = error.what();
  }
  throw bundle_failure("manifest.json is truncated or damaged (" + problem +
                       "); copy the bundle again");
}

bool is_finite_number(const Json& value) {
  return value.is_number() && std::isfinite(value.get<double>());
}

Object::Object(const Json& value, std::string where) : value_(value), where_(std::move(where)) {
  if (!value.is_object()) throw wrong(where_, value, "an object");
}

bool Object::has(const char* key) {
  known_.emplace_back(key);
  return value_.contains(key);
}

const Json& Object::at(const char* key) {
  if (!has(key))
    throw bundle_failure(where_ + ": key " + in_quotes(key) +
                         " is missing; export the bundle again");
  return value_.find(key).value();
}

std::string Object::text(const char* key) {
  const Json& value = at(key);
  if (!value.is_string() || value.get_ref<const std::string&>().empty())
    throw wrong(path(key), value, "a string");
  return with_bytes(value.get<std::string>());
}

int64_t Object::whole(const char* key) {
  const Json& value = at(key);
  if (!value.is_number_integer()) throw wrong(path(key), value, "a whole number");
  return whole_of(value);
}

double Object::number(const char* key) {
  const Json& value = at(key);
  if (!is_finite_number(value)) throw wrong(path(key), value, "a finite number");
  return value.get<double>();
}

bool Object::truth(const char* key) {
  const Json& value = at(key);
  if (!value.is_boolean()) throw wrong(path(key), value, "true or false");
  return value.get<bool>();
}

Size Object::size(const char* key) {
  const Json& value = at(key);
  const auto positive = [](const Json& item) {
    return item.is_number_integer() && whole_of(item) >= 1;
  };
  if (!value.is_array() || value.size() != 2 || !std::all_of(value.begin(), value.end(), positive))
    throw wrong(path(key), value, "[height, width], two positive whole numbers");
  const auto side = [](const Json& item) {  // beyond int32 is beyond every limit
    return static_cast<int32_t>(std::min<int64_t>(whole_of(item), INT32_MAX));
  };
  return {side(value[0]), side(value[1])};
}

std::vector<double> Object::numbers(const char* key) {
  const Json& value = at(key);
  if (!value.is_array() || !std::all_of(value.begin(), value.end(), is_finite_number))
    throw wrong(path(key), value, "a list of finite numbers");
  return value.get<std::vector<double>>();
}

std::vector<double> Object::three(const char* key) {
  const Json& value = at(key);
  if (!value.is_array() || value.size() != 3 ||
      !std::all_of(value.begin(), value.end(), is_finite_number))
    throw wrong(path(key), value, "three finite numbers");
  return value.get<std::vector<double>>();
}

std::vector<std::pair<std::string, std::string>> Object::texts(const char* key) {
  const Json& value = at(key);
  const auto is_text = [](const Json& item) {
    return item.is_string() && !item.get_ref<const std::string&>().empty();
  };
  if (!value.is_object() || !std::all_of(value.begin(), value.end(), is_text))
    throw wrong(path(key), value, "an object of strings");
  std::vector<std::pair<std::string, std::string>> found;
  for (const auto& item : value.items())
    found.emplace_back(with_bytes(item.key()), with_bytes(item.value().get<std::string>()));
  return found;
}

const Json& Object::list(const char* key) {
  const Json& value = at(key);
  if (!value.is_array()) throw wrong(path(key), value, "a list of objects");
  return value;
}

const Json& Object::object(const char* key) {
  const Json& value = at(key);
  if (!value.is_object()) throw wrong(path(key), value, "an object");
  return value;
}

void Object::finish() const {
  std::vector<std::string> unknown;
  for (const auto& item : value_.items())
    if (std::find(known_.begin(), known_.end(), item.key()) == known_.end())
      unknown.push_back(item.key());
  if (unknown.empty()) return;
  const auto first = std::min_element(unknown.begin(), unknown.end());
  throw bundle_failure(where_ + ": unknown key " + in_quotes(*first) + "; upgrade edgead?");
}

}  // namespace edgead

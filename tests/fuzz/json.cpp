// Any text: JSON, or a Failure, as nlohmann's own reader has it.
#include "json.h"

#include <nlohmann/json.hpp>

#include "fuzz.h"

namespace {

using edgead::expect;
using Other = nlohmann::ordered_json;

void compare(const edgead::Json& value, const Other& other) {
  using edgead::Json;
  expect((value.kind == Json::null) == other.is_null(), "null");
  expect((value.kind == Json::truth) == other.is_boolean(), "a truth");
  expect((value.kind == Json::text) == other.is_string(), "a text");
  expect(value.is_number() == other.is_number(), "a number");
  if (value.is_number()) expect(value.number == other.get<double>(), "another number");
  if (value.kind == Json::text) expect(value.word == other.get<std::string>(), "another text");
  expect((value.kind == Json::list) == other.is_array(), "a list");
  expect((value.kind == Json::object) == other.is_object(), "an object");
  if (other.is_structured())
    expect(value.items.size() + value.members.size() == other.size(), "another length");
  for (size_t i = 0; i < value.items.size(); ++i) compare(value.items[i], other[i]);
  for (const auto& [key, member] : value.members) compare(member, other.at(key));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace edgead;
  const std::string text(reinterpret_cast<const char*>(data), size);
  may_refuse([&] {
    const Json value = parse_json(text);
    Object(value, "value").finish();
  });
  if (text.find("\\u") != std::string::npos) return 0;  // halves of characters
  const Other other = Other::parse(text, nullptr, false);
  try {
    const Json value = parse_json(text);
    expect(!other.is_discarded(), "what is not JSON was read");
    compare(value, other);
  } catch (const Failure& failure) {
    const std::string why = failure.what();
    const bool stricter = why.find("twice") != std::string::npos || text.size() > 100;
    expect(other.is_discarded() || stricter, "JSON was not read");
  }
  return 0;
}

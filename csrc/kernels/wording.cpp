#include "wording.h"

#include <charconv>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace edgead {

std::string format(const char* pattern, ...) {
  va_list first, second;
  va_start(first, pattern);
  va_copy(second, first);
  const int length = std::vsnprintf(nullptr, 0, pattern, first);
  va_end(first);
  std::string text(length < 0 ? 0 : static_cast<size_t>(length), '\0');
  std::vsnprintf(text.data(), text.size() + 1, pattern, second);
  va_end(second);
  return text;
}

std::string in_quotes(const std::string& text) {
  const bool single = text.find('\'') != std::string::npos;
  const bool twice = single && text.find('"') == std::string::npos;
  const char mark = twice ? '"' : '\'';
  std::string quoted(1, mark);
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == mark || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\r') {
      quoted += "\\r";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (code < 32 || code == 127) {
      quoted += format("\\x%02x", code);
    } else {
      quoted += c;
    }
  }
  return quoted + mark;
}

std::string shown(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char text[32];
  const auto scientific =
      std::to_chars(text, text + sizeof text, value, std::chars_format::scientific);
  const std::string found(text, scientific.ptr);
  const int exponent = std::atoi(found.c_str() + found.find('e') + 1);
  if (exponent < -4 || exponent >= 16) return found;  // two digits of exponent, as Python's
  const auto fixed = std::to_chars(text, text + sizeof text, value, std::chars_format::fixed);
  const std::string plain(text, fixed.ptr);
  return plain.find('.') == std::string::npos ? plain + ".0" : plain;
}

namespace {

template <class T>
std::string joined(const std::vector<T>& values, const char* brackets, std::string (*show)(T)) {
  std::string text(1, brackets[0]);
  for (size_t i = 0; i < values.size(); ++i) text += (i == 0 ? "" : ", ") + show(values[i]);
  if (values.size() == 1 && brackets[0] == '(') text += ",";
  return text + brackets[1];
}

}  // namespace

std::string listed(const std::vector<int64_t>& values, const char* brackets) {
  return joined<int64_t>(values, brackets, [](int64_t value) { return std::to_string(value); });
}

std::string listed(const std::vector<double>& values, const char* brackets) {
  return joined<double>(values, brackets, shown);
}

}  // namespace edgead

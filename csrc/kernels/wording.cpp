#include "wording.h"

#include <algorithm>
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

namespace {

// What Unicode 14 has beyond ASCII that is not seen in print: controls, blanks, marks that turn the
// direction of writing, private characters. First and last of each range.
constexpr uint32_t kUnseen[][2] = {
    {0x80, 0xa0},       {0xad, 0xad},       {0x600, 0x605},       {0x61c, 0x61c},
    {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},       {0x8e2, 0x8e2},
    {0x1680, 0x1680},   {0x180e, 0x180e},   {0x2000, 0x200f},     {0x2028, 0x202f},
    {0x205f, 0x2064},   {0x2066, 0x206f},   {0x3000, 0x3000},     {0xe000, 0xf8ff},
    {0xfeff, 0xfeff},   {0xfff9, 0xfffb},   {0x110bd, 0x110bd},   {0x110cd, 0x110cd},
    {0x13430, 0x13438}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},   {0xe0001, 0xe0001},
    {0xe0020, 0xe007f}, {0xf0000, 0xffffd}, {0x100000, 0x10fffd},
};

bool is_unseen(uint32_t code) {
  if (code < 128) return code < 32 || code == 127;
  for (const auto& range : kUnseen)
    if (code >= range[0] && code <= range[1]) return true;
  return false;
}

// The character of UTF-8 at `at`, and its bytes; a byte that begins none stands for itself.
uint32_t character(const std::string& text, size_t at, size_t& bytes) {
  const auto byte = [&](size_t i) {
    return i < text.size() ? static_cast<uint32_t>(static_cast<unsigned char>(text[i])) : 0;
  };
  const uint32_t first = byte(at);
  bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
  if (bytes == 1) return first < 128 ? first : 0xfffd;
  uint32_t code = first & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if (byte(at + i) >> 6 != 2) return bytes = 1, 0xfffd;
    code = code << 6 | (byte(at + i) & 63);
  }
  return code;
}

}  // namespace

std::string in_quotes(const std::string& text) {
  const bool single = text.find('\'') != std::string::npos;
  const bool twice = single && text.find('"') == std::string::npos;
  const char mark = twice ? '"' : '\'';
  std::string quoted(1, mark);
  size_t bytes = 1;
  for (size_t at = 0; at < text.size(); at += bytes) {
    const uint32_t code = character(text, at, bytes);
    const char c = text[at];
    if (c == mark || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\r') {
      quoted += "\\r";
    } else if (c == '\t') {
      quoted += "\\t";
    } else if (is_unseen(code)) {
      if (code < 0x100)
        quoted += format("\\x%02x", code);
      else
        quoted += code < 0x10000 ? format("\\u%04x", code) : format("\\U%08x", code);
    } else {
      quoted += text.substr(at, bytes);
    }
  }
  return quoted + mark;
}

std::string in_order(std::vector<std::string> names) {
  std::sort(names.begin(), names.end());
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + in_quotes(name);
  return "[" + text + "]";
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

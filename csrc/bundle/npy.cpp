#include "npy.h"

#include <cstring>

namespace edgead {
namespace {

constexpr size_t kLongestHeader = 10000;  // NumPy's own limit
constexpr int64_t kMostValues = int64_t{1} << 40;

// The header: a dictionary of Python with the keys in alphabetical order, as NumPy writes it.
class Header {
 public:
  explicit Header(std::string text) : text_(std::move(text)) {}

  // Whether `word` comes next; it is passed over.
  bool take(const char* word) {
    skip();
    const size_t length = std::strlen(word);
    if (text_.compare(at_, length, word) != 0) return false;
    at_ += length;
    return true;
  }

  bool take_key(const char* key) { return take(key) && take(":"); }

  bool take_text(std::string& text) {
    if (!take("'")) return false;
    const size_t end = text_.find('\'', at_);
    if (end == std::string::npos) return false;
    text = text_.substr(at_, end - at_);
    at_ = end + 1;
    return true;
  }

  bool take_number(int64_t& number) {
    skip();
    size_t digits = 0;
    for (number = 0; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
      if (++digits > 12) return false;
      number = 10 * number + (text_[at_] - '0');
    }
    return digits > 0;
  }

  bool at_end() {
    skip();
    return at_ == text_.size();
  }

 private:
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }

  std::string text_;
  size_t at_ = 0;
};

bool take_shape(Header& header, std::vector<int64_t>& shape) {
  if (!header.take("(")) return false;
  int64_t values = 1;
  while (!header.take(")")) {
    int64_t side;
    if (!header.take_number(side) || (side > 0 && values > kMostValues / side)) return false;
    values *= side;
    shape.push_back(side);
    if (!header.take(",")) return header.take(")");
  }
  return true;
}

}  // namespace

bool read_npy_header(const std::string& data, Npy& found) {
  if (data.size() < 12 || data.compare(0, 6, "\x93NUMPY") != 0) return false;
  const int version = static_cast<unsigned char>(data[6]);
  if (version < 1 || version > 3) return false;
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(data[i])); };
  const size_t first = version == 1 ? 10 : 12;
  size_t length = byte(8) | byte(9) << 8;
  if (version > 1) length |= byte(10) << 16 | byte(11) << 24;
  if (length > kLongestHeader || first + length > data.size()) return false;
  Header header(data.substr(first, length));
  found = {};
  found.start = first + length;
  bool fits = header.take("{") && header.take_key("'descr'") && header.take_text(found.type) &&
              header.take(",") && header.take_key("'fortran_order'");
  found.fortran_order = fits && header.take("True");
  fits = fits && (found.fortran_order || header.take("False")) && header.take(",") &&
         header.take_key("'shape'") && take_shape(header, found.shape);
  if (fits) header.take(",");
  return fits && header.take("}") && header.at_end();
}

}  // namespace edgead

// Words of sentences, written as Python writes them, so that both doors say the same.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace edgead {

// As printf, of any length.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

// 'text', with its escapes, as repr() has it.
std::string in_quotes(const std::string& text);

// ['a', 'b'], in the order of the alphabet.
std::string in_order(std::vector<std::string> names);

// The shortest text that reads back as the same float64: 0.1, 1e-05, 1e+16, 2.0.
std::string shown(double value);

// [2, 3], or (2, 3).
std::string listed(const std::vector<int64_t>& values, const char* brackets = "[]");
std::string listed(const std::vector<double>& values, const char* brackets = "[]");

}  // namespace edgead

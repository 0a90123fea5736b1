// The SHA-256 of standard input, by every implementation that this processor runs.
#include <cstdio>
#include <iostream>
#include <iterator>

#include "sha256.h"

int main() {
  const std::string data(std::istreambuf_iterator<char>(std::cin), {});
  for (const auto blocks : edgead::all_sha256_blocks())
    std::printf("%s\n", edgead::sha256(data, blocks).c_str());
  // Every length up to four blocks, as one text.
  for (size_t length = 0; length <= 256; ++length)
    for (const auto blocks : edgead::all_sha256_blocks())
      std::printf("%s\n", edgead::sha256(data.substr(0, length), blocks).c_str());
}

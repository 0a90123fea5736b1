#include "sha256.h"

#include <cstring>

#include "sha256_blocks.h"

namespace edgead {
namespace {

uint32_t rotated(uint32_t x, int n) { return x >> n | x << (32 - n); }

// A round, which leaves its state in d and h: the caller turns the names, and nothing moves.
inline void add_round(uint32_t a, uint32_t b, uint32_t c, uint32_t& d, uint32_t e, uint32_t f,
                      uint32_t g, uint32_t& h, uint32_t word) {
  const uint32_t sum = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
  h += sum + ((e & f) ^ (~e & g)) + word;
  d += h;
  h += (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
}

void read_words(const uint8_t* block, uint32_t w[64]) {
  for (int i = 0; i < 16; ++i)
    w[i] = static_cast<uint32_t>(block[4 * i]) << 24 | block[4 * i + 1] << 16 |
           block[4 * i + 2] << 8 | block[4 * i + 3];
  for (int i = 16; i < 64; ++i) {
    const uint32_t a = rotated(w[i - 15], 7) ^ rotated(w[i - 15], 18) ^ w[i - 15] >> 3;
    const uint32_t b = rotated(w[i - 2], 17) ^ rotated(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + a + w[i - 7] + b;
  }
  for (int i = 0; i < 64; ++i) w[i] += kSha256Round[i];
}

void add_plain_blocks(uint32_t state[8], const uint8_t* blocks, size_t count) {
  uint32_t w[64];
  for (; count > 0; --count, blocks += 64) {
    read_words(blocks, w);
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3];
    uint32_t e = state[4], f = state[5], g = state[6], h = state[7];
    for (int i = 0; i < 64; i += 8) {
      add_round(a, b, c, d, e, f, g, h, w[i]);
      add_round(h, a, b, c, d, e, f, g, w[i + 1]);
      add_round(g, h, a, b, c, d, e, f, w[i + 2]);
      add_round(f, g, h, a, b, c, d, e, w[i + 3]);
      add_round(e, f, g, h, a, b, c, d, w[i + 4]);
      add_round(d, e, f, g, h, a, b, c, w[i + 5]);
      add_round(c, d, e, f, g, h, a, b, w[i + 6]);
      add_round(b, c, d, e, f, g, h, a, w[i + 7]);
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d;
    state[4] += e, state[5] += f, state[6] += g, state[7] += h;
  }
}

}  // namespace

const std::vector<Sha256Blocks>& all_sha256_blocks() {
  static const Sha256Blocks native = native_sha256_blocks();
  static const std::vector<Sha256Blocks> all =
      native == nullptr ? std::vector<Sha256Blocks>{add_plain_blocks}
                        : std::vector<Sha256Blocks>{native, add_plain_blocks};
  return all;
}

std::string sha256(const std::string& data) { return sha256(data, all_sha256_blocks().front()); }

std::string sha256(const std::string& data, Sha256Blocks add_blocks) {
  uint32_t state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  const auto* bytes = reinterpret_cast<const uint8_t*>(data.data());
  const size_t whole = data.size() / 64, rest = data.size() % 64;
  add_blocks(state, bytes, whole);
  uint8_t last[128] = {};
  std::memcpy(last, bytes + 64 * whole, rest);
  last[rest] = 0x80;
  const size_t size = rest < 56 ? 64 : 128;
  const uint64_t bits = static_cast<uint64_t>(data.size()) * 8;
  for (int i = 0; i < 8; ++i) last[size - 1 - i] = static_cast<uint8_t>(bits >> 8 * i);
  add_blocks(state, last, size / 64);
  std::string hex;
  for (const uint32_t word : state)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[word >> shift & 15];
  return hex;
}

}  // namespace edgead

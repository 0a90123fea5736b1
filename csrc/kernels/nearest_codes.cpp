// The codes of a memory, made once on the host, in float64.
#include "nearest_codes.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace edgead {
namespace {

constexpr double kUnit = 1.0 / 16777216;  // half a unit in the last place of a float32 near 1

// The same arrays as in the codes, to be filled.
struct Arrays {
  float* mean;
  uint32_t* codes;
  float *length, *step, *off;
};

Arrays lay_out(RowCodes& codes, Arena<256>& arena) {
  const size_t rows = static_cast<size_t>(codes.tiles) * kCodeRows;
  Arrays a{};
  codes.mean = a.mean = arena.take<float>(codes.channels);
  codes.codes = a.codes = arena.take<uint32_t>(rows * codes.chunks * kCodeChannels / 4);
  codes.length = a.length = arena.take<float>(rows);
  codes.step = a.step = arena.take<float>(codes.tiles);
  codes.off = a.off = arena.take<float>(codes.tiles);
  return a;
}

RowCodes sized(int32_t rows, int32_t channels) {
  RowCodes codes{};
  codes.rows = rows, codes.channels = channels;
  codes.tiles = (rows + kCodeRows - 1) / kCodeRows;
  codes.chunks = (channels + kCodeChannels - 1) / kCodeChannels;
  return codes;
}

// How many times larger than another a step may be: channels * 127^2 * ratio / 2 <= kCodeLimit.
double most_ratio(int32_t channels) { return channels <= 8192 ? 16.0 : 4.0; }

// A tile of rows y [n, channels], their codes and what these need.
void encode_tile(const std::vector<double>& y, int32_t tile, int32_t n, float step,
                 const RowCodes& codes, const Arrays& to) {
  uint32_t* words = to.codes + static_cast<size_t>(tile) * 2 * codes.chunks * 128;
  std::fill_n(words, 2 * codes.chunks * 128, 0u);
  double farthest = 0.0;
  for (int32_t row = 0; row < n; ++row) {
    double square = 0.0, rest = 0.0;
    for (int32_t c = 0; c < codes.channels; ++c) {
      const double value = y[static_cast<size_t>(row) * codes.channels + c];
      const double code = std::min(std::max(std::nearbyint(value / step), -127.0), 127.0);
      const double about = code * step;
      square += about * about, rest += (value - about) * (value - about);
      const size_t block = static_cast<size_t>(row / 16) * codes.chunks + c / kCodeChannels;
      const uint32_t byte = static_cast<uint8_t>(static_cast<int8_t>(code));
      words[block * 128 + code_word(row % 16, c % kCodeChannels / 4)] |= byte << c % 4 * 8;
    }
    to.length[tile * kCodeRows + row] = static_cast<float>(square);
    farthest = std::max(farthest, std::sqrt(rest));
  }
  for (int32_t row = n; row < kCodeRows; ++row) to.length[tile * kCodeRows + row] = 1e30f;
  to.step[tile] = step;
  to.off[tile] = static_cast<float>(farthest * (1 + 4 * kUnit)) + 1e-30f;
}

}  // namespace

size_t row_codes_bytes(int32_t rows, int32_t channels) {
  Arena<256> arena{nullptr};
  RowCodes codes = sized(rows, channels);
  lay_out(codes, arena);
  return arena.used;
}

RowCodes row_codes(int32_t rows, int32_t channels, Type type, const void* memory,
                   const float* scale, void* codes_memory) {
  Arena<256> arena{static_cast<char*>(codes_memory)};
  RowCodes codes = sized(rows, channels);
  const Arrays a = lay_out(codes, arena);
  auto value = [&](int32_t row, int32_t c) {
    const size_t at = static_cast<size_t>(row) * channels + c;
    return static_cast<double>(memory_value(type, memory, scale, at, c));
  };
  std::vector<double> sums(channels);
  for (int32_t row = 0; row < rows; ++row)
    for (int32_t c = 0; c < channels; ++c) sums[c] += value(row, c);
  for (int32_t c = 0; c < channels; ++c) a.mean[c] = static_cast<float>(sums[c] / rows);

  double longest = 0.0;
  std::vector<double> largest(codes.tiles);
  for (int32_t row = 0; row < rows; ++row) {
    double square = 0.0;
    for (int32_t c = 0; c < channels; ++c) {
      const double centred = value(row, c) - a.mean[c];
      square += centred * centred;
      double& most = largest[row / kCodeRows];
      most = std::max(most, std::fabs(centred));
    }
    longest = std::max(longest, std::sqrt(square));
  }
  codes.gain = static_cast<float>(1.0 / std::min(std::max(longest, 1e-37), 1e37));
  if (longest == 0.0) codes.gain = 1.0f;
  codes.slack = static_cast<float>((4.0 * channels + 64) * kUnit);
  for (double& most : largest) most *= codes.gain / 127.0;
  const double top = *std::max_element(largest.begin(), largest.end());
  codes.least = static_cast<float>((top > 0.0 ? top : 1.0) / most_ratio(channels));
  std::vector<double> y(static_cast<size_t>(kCodeRows) * channels);
  for (int32_t tile = 0; tile < codes.tiles; ++tile) {
    const int32_t first = tile * kCodeRows, n = std::min(kCodeRows, rows - first);
    for (int32_t row = 0; row < n; ++row)
      for (int32_t c = 0; c < channels; ++c)
        y[static_cast<size_t>(row) * channels + c] =
            codes.gain * (value(first + row, c) - a.mean[c]);
    encode_tile(y, tile, n, std::max(static_cast<float>(largest[tile]), codes.least), codes, a);
    for (int32_t row = 0; row < n; ++row)
      codes.longest = std::max(codes.longest, a.length[first + row]);
  }
  return codes;
}

RowCodes row_codes_moved(const RowCodes& codes, void* memory) {
  Arena<256> arena{static_cast<char*>(memory)};
  RowCodes moved = codes;
  lay_out(moved, arena);
  return moved;
}

}  // namespace edgead

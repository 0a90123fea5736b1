// The index of nearest, made once on the host, in float64.
#include "nearest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "layout.h"

namespace edgead {
namespace {

constexpr double kUnit = 1.0 / 16777216;  // half a unit in the last place of a float32 near 1

int32_t tiles_of(int32_t rows) { return (rows + kNearestTile - 1) / kNearestTile; }

int32_t components_of(int32_t channels) { return std::min(channels, kParts - 1); }

// Where the arrays of an index lie.
struct Arrays {
  float *mean, *basis, *step, *length, *off, *exact, *half;
  uint8_t* codes;
};

Arrays lay_out(int32_t rows, int32_t channels, Search search, NearestIndex& index, Arena<>& arena) {
  const size_t padded = static_cast<size_t>(tiles_of(rows)) * kNearestTile;
  Arrays a{};
  index.rows = rows, index.channels = channels;
  index.parts = (components_of(channels) + 1 + 3) / 4 * 4;
  index.mean = a.mean = arena.take<float>(channels);
  if (search == Search::every) {
    index.exact = a.exact = arena.take<float>(padded * channels);
    index.half = a.half = arena.take<float>(padded);
    return a;
  }
  index.basis = a.basis = arena.take<float>(static_cast<size_t>(channels) * kParts);
  index.codes = a.codes = arena.take<uint8_t>(padded * index.parts);
  index.step = a.step = arena.take<float>(padded);
  index.length = a.length = arena.take<float>(padded);
  index.off = a.off = arena.take<float>(padded);
  return a;
}

// The float32 value that the kernel sees.
float value_of(Type type, const void* memory, const float* scale, size_t at, int32_t channel) {
  if (type == Type::float32) return static_cast<const float*>(memory)[at];
  if (type == Type::float16) return float_from_half(static_cast<const uint16_t*>(memory)[at]);
  return static_cast<const int8_t*>(memory)[at] * scale[channel];
}

// The largest that an eigenvalue of V V^T is away from 1: Gershgorin's bound.
double defect_of(const float* basis, int32_t components, int32_t channels) {
  double largest = 0.0;
  for (int32_t i = 0; i < components; ++i) {
    double sum = 0.0;
    for (int32_t j = 0; j < components; ++j) {
      double product = i == j ? -1.0 : 0.0;
      for (int32_t c = 0; c < channels; ++c)
        product += static_cast<double>(basis[i * channels + c]) * basis[j * channels + c];
      sum += std::fabs(product);
    }
    largest = std::max(largest, sum);
  }
  return largest;
}

// F of a row y: the components and the length of the rest. `rest` is scratch.
void parts_of(const float* basis, int32_t components, int32_t channels,
              const std::vector<double>& y, std::vector<double>& rest, std::vector<double>& parts) {
  rest = y;
  for (int32_t i = 0; i < components; ++i) {
    double sum = 0.0;
    for (int32_t c = 0; c < channels; ++c) sum += basis[i * channels + c] * y[c];
    for (int32_t c = 0; c < channels; ++c) rest[c] -= sum * basis[i * channels + c];
    parts[i] = sum;
  }
  double square = 0.0;
  for (double value : rest) square += value * value;
  parts[components] = std::sqrt(square);
}

// F as bytes: parts ~ step * (code - 128).
void encode(const std::vector<double>& parts, int32_t row, int32_t words, Arrays& a) {
  double largest = 0.0, square = 0.0, off = 0.0;
  for (double part : parts) largest = std::max(largest, std::fabs(part));
  const float step = static_cast<float>(largest / 127);
  uint8_t* codes = a.codes + static_cast<size_t>(row / kNearestTile) * words * kNearestTile * 4;
  for (int32_t i = 0; i < words * 4; ++i) {
    const double part = i < static_cast<int32_t>(parts.size()) ? parts[i] : 0.0;
    const double code =
        step > 0.0f ? std::min(std::max(std::nearbyint(part / step), -127.0), 127.0) : 0.0;
    codes[(i / 4 * kNearestTile + row % kNearestTile) * 4 + i % 4] =
        static_cast<uint8_t>(static_cast<int32_t>(code) + 128);
    square += code * step * code * step;
    off += (part - code * step) * (part - code * step);
  }
  const double rounded = std::sqrt(off) * (1 + 1e-6) + 1e-30;
  a.step[row] = step;
  a.off[row] = static_cast<float>(rounded);
  // 16 roundings of sums of this size, in the kernel's comparison.
  a.length[row] = static_cast<float>(square * (1 - 16 * kUnit) - rounded * rounded * (1 + 1e-6));
}

}  // namespace

size_t nearest_index_bytes(int32_t rows, int32_t channels, Search search) {
  Arena<> arena{nullptr};
  NearestIndex index{};
  lay_out(rows, channels, search, index, arena);
  return arena.used;
}

NearestIndex nearest_index(int32_t rows, int32_t channels, Type type, Search search,
                           const void* memory, const float* scale, const float* mean,
                           const float* basis, void* index_memory) {
  Arena<> arena{static_cast<char*>(index_memory)};
  NearestIndex index{};
  Arrays a = lay_out(rows, channels, search, index, arena);
  index.memory = memory, index.scale = scale;
  std::copy(mean, mean + channels, a.mean);
  const int32_t components = components_of(channels), padded = tiles_of(rows) * kNearestTile;

  // The longest feature gets the length 1: no square leaves float32, whatever the unit is.
  double longest = 0.0;
  auto centred = [&](int32_t row, int32_t c) {
    const size_t at = static_cast<size_t>(row) * channels + c;
    return static_cast<double>(value_of(type, memory, scale, at, c)) - mean[c];
  };
  for (int32_t row = 0; row < rows; ++row) {
    double square = 0.0;
    for (int32_t c = 0; c < channels; ++c) square += centred(row, c) * centred(row, c);
    longest = std::max(longest, square);
  }
  longest = std::sqrt(longest);
  index.gain = static_cast<float>(1.0 / std::min(std::max(longest, 1e-37), 1e37));
  if (longest == 0.0) index.gain = 1.0f;
  // A sum of `channels` products is wrong by as many roundings of the product of both lengths.
  index.slack = static_cast<float>((4.0 * channels + 64) * kUnit);

  if (search == Search::every) {
    index.stretch = 1.0f;
    for (int32_t row = 0; row < padded; ++row) {
      const size_t at = static_cast<size_t>(row / kNearestTile) * channels * kNearestTile;
      double square = 0.0;
      for (int32_t c = 0; c < channels; ++c) {
        const float value = row < rows ? static_cast<float>(index.gain * centred(row, c)) : 0.0f;
        a.exact[at + static_cast<size_t>(c) * kNearestTile + row % kNearestTile] = value;
        square += static_cast<double>(value) * value;
      }
      a.half[row] = row < rows ? static_cast<float>(square / 2 * (1 - index.slack))
                               : std::numeric_limits<float>::infinity();
    }
    return index;
  }

  const double defect = defect_of(basis, components, channels);
  index.leak = static_cast<float>(defect * 1.01);
  index.stretch = static_cast<float>(std::sqrt(1 + defect + defect * defect) * (1 + 1e-6));
  std::fill(a.basis, a.basis + static_cast<size_t>(channels) * kParts, 0.0f);
  for (int32_t c = 0; c < channels; ++c)
    for (int32_t i = 0; i < components; ++i)
      a.basis[static_cast<size_t>(c) * kParts + i] = basis[i * channels + c];
  std::vector<double> y(channels), rest(channels), parts(components + 1);
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t c = 0; c < channels; ++c) y[c] = index.gain * centred(row, c);
    parts_of(basis, components, channels, y, rest, parts);
    encode(parts, row, index.parts / 4, a);
  }
  std::fill(parts.begin(), parts.end(), 0.0);
  for (int32_t row = rows; row < padded; ++row) {
    encode(parts, row, index.parts / 4, a);
    a.length[row] = std::numeric_limits<float>::infinity();
  }
  return index;
}

size_t nearest_workspace_bytes(const NearestParams& params) {
  Arena<> arena{nullptr};
  nearest_workspace_of(params, arena);
  return arena.used;
}

}  // namespace edgead

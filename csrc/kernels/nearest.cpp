// The index of nearest, made once on the host, in float64.
#include "nearest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "layout.h"

namespace edgead {
namespace {

constexpr double kUnit = 1.0 / 16777216;  // half a unit in the last place of a float32 near 1

int32_t tiles_of(int32_t rows) { return (rows + kNearestTile - 1) / kNearestTile; }

int32_t components_of(int32_t channels) { return std::min(channels, kParts - 1); }

// The same arrays as in the index, to be filled.
struct Codes {
  uint8_t* codes;
  float *step, *length, *off;
};

struct Arrays {
  float *mean, *basis, *exact, *half;
  int32_t* order;
  Codes places, centres;
};

Codes lay_out(int32_t tiles, int32_t parts, bool shared, NearestCodes& codes, Arena<>& arena) {
  const size_t count = static_cast<size_t>(tiles) * kNearestTile;
  Codes c{};
  codes.codes = c.codes = arena.take<uint8_t>(count * parts);
  codes.step = c.step = arena.take<float>(tiles);
  codes.length = c.length = arena.take<float>(count);
  codes.off = c.off = arena.take<float>(shared ? tiles : count);
  return c;
}

Arrays lay_out(int32_t rows, int32_t channels, Search search, NearestIndex& index, Arena<>& arena) {
  const int32_t tiles = tiles_of(rows);
  const size_t padded = static_cast<size_t>(tiles) * kNearestTile;
  Arrays a{};
  index.rows = rows, index.channels = channels;
  index.parts = (components_of(channels) + 1 + 3) / 4 * 4;
  index.mean = a.mean = arena.take<float>(channels);
  index.order = a.order = arena.take<int32_t>(padded);
  if (search == Search::every) {
    index.exact = a.exact = arena.take<float>(padded * channels);
    index.half = a.half = arena.take<float>(padded);
    return a;
  }
  index.basis = a.basis = arena.take<float>(static_cast<size_t>(channels) * kParts);
  a.places = lay_out(tiles, index.parts, true, index.places, arena);
  a.centres = lay_out(tiles_of(tiles), index.parts, false, index.centres, arena);
  return a;
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
              const std::vector<double>& y, std::vector<double>& rest, double* parts) {
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

// F of `n` <= kNearestTile features, [n, count], as a tile of bytes: parts ~ step * (code - 128).
// radius [n] is added to what each is off; null: one `off` for all. Those after the last never
// count.
void encode(const std::vector<double>& parts, int32_t count, int32_t n, const double* radius,
            int32_t tile, int32_t words, const Codes& to) {
  double largest = 0.0, farthest = 0.0;
  for (double part : parts) largest = std::max(largest, std::fabs(part));
  const float step = static_cast<float>(largest / 127);
  to.step[tile] = step;
  std::vector<double> squares(n), offs(n);
  uint8_t* codes = to.codes + static_cast<size_t>(tile) * words * kNearestTile * 4;
  std::fill_n(codes, words * kNearestTile * 4, static_cast<uint8_t>(128));
  for (int32_t p = 0; p < n; ++p) {
    double off = 0.0;
    for (int32_t i = 0; i < count; ++i) {
      const double part = parts[static_cast<size_t>(p) * count + i];
      const double code =
          step > 0.0f ? std::min(std::max(std::nearbyint(part / step), -127.0), 127.0) : 0.0;
      codes[(i / 4 * kNearestTile + p) * 4 + i % 4] =
          static_cast<uint8_t>(static_cast<int32_t>(code) + 128);
      squares[p] += code * step * code * step;
      off += (part - code * step) * (part - code * step);
    }
    offs[p] = (std::sqrt(off) + (radius ? radius[p] : 0.0)) * (1 + 1e-6) + 1e-30;
    farthest = std::max(farthest, offs[p]);
  }
  for (int32_t p = 0; p < kNearestTile; ++p) {
    const double off = p < n && radius ? offs[p] : farthest;
    // 16 roundings of sums of this size, in the kernel's comparison.
    const double length = p < n ? squares[p] * (1 - 16 * kUnit) - off * off * (1 + 1e-6) : INFINITY;
    to.length[tile * kNearestTile + p] = static_cast<float>(length);
    to.off[radius ? tile * kNearestTile + p : tile] = static_cast<float>(off);
  }
}

// Halves the places again and again, across the direction in which they vary most, until tiles are
// left. F [rows, count].
void sort_into_tiles(const std::vector<double>& parts, int32_t count, int32_t* first,
                     int32_t* last) {
  const int32_t n = static_cast<int32_t>(last - first);
  if (n <= kNearestTile) return;
  std::vector<double> mean(count), along(count), next(count), at(n);
  auto part = [&](int32_t place) { return &parts[static_cast<size_t>(first[place]) * count]; };
  for (int32_t p = 0; p < n; ++p)
    for (int32_t i = 0; i < count; ++i) mean[i] += part(p)[i] / n;
  double farthest = 0.0;
  for (int32_t p = 0; p < n; ++p) {
    double square = 0.0;
    for (int32_t i = 0; i < count; ++i) square += std::pow(part(p)[i] - mean[i], 2);
    if (square <= farthest) continue;
    farthest = square;
    for (int32_t i = 0; i < count; ++i) along[i] = part(p)[i] - mean[i];
  }
  for (int32_t turn = 0; turn < 5; ++turn) {  // the power method
    std::fill(next.begin(), next.end(), 0.0);
    for (int32_t p = 0; p < n; ++p) {
      at[p] = 0.0;
      for (int32_t i = 0; i < count; ++i) at[p] += (part(p)[i] - mean[i]) * along[i];
      for (int32_t i = 0; i < count; ++i) next[i] += at[p] * (part(p)[i] - mean[i]);
    }
    double square = 0.0;
    for (double value : next) square += value * value;
    if (square == 0.0 || turn == 4) break;
    for (int32_t i = 0; i < count; ++i) along[i] = next[i] / std::sqrt(square);
  }
  std::vector<std::pair<double, int32_t>> sorted(n);
  for (int32_t p = 0; p < n; ++p) sorted[p] = {at[p], first[p]};
  const int32_t half = tiles_of(n) / 2 * kNearestTile;
  std::nth_element(sorted.begin(), sorted.begin() + half, sorted.end());
  for (int32_t p = 0; p < n; ++p) first[p] = sorted[p].second;
  sort_into_tiles(parts, count, first, first + half);
  sort_into_tiles(parts, count, first + half, last);
}

// Each tile of F [rows, count], and the centres of all tiles.
void encode_tiles(const std::vector<double>& parts, int32_t count, int32_t rows, int32_t words,
                  const Arrays& a) {
  const int32_t tiles = tiles_of(rows);
  std::vector<double> centres(static_cast<size_t>(tiles) * count), radii(tiles);
  for (int32_t tile = 0; tile < tiles; ++tile) {
    const int32_t first = tile * kNearestTile, n = std::min(kNearestTile, rows - first);
    std::vector<double> held;
    for (int32_t p = first; p < first + n; ++p) {
      const double* row = &parts[static_cast<size_t>(a.order[p]) * count];
      held.insert(held.end(), row, row + count);
    }
    encode(held, count, n, nullptr, tile, words, a.places);
    double* centre = &centres[static_cast<size_t>(tile) * count];
    for (int32_t i = 0; i < n * count; ++i) centre[i % count] += held[i] / n;
    for (int32_t p = 0; p < n; ++p) {
      double square = 0.0;
      for (int32_t i = 0; i < count; ++i) square += std::pow(held[p * count + i] - centre[i], 2);
      radii[tile] = std::max(radii[tile], std::sqrt(square));
    }
  }
  for (int32_t first = 0; first < tiles; first += kNearestTile) {
    const int32_t n = std::min(kNearestTile, tiles - first);
    const auto from = centres.begin() + static_cast<size_t>(first) * count;
    encode({from, from + n * count}, count, n, &radii[first], first / kNearestTile, words,
           a.centres);
  }
}

}  // namespace

float memory_value(Type type, const void* memory, const float* scale, size_t at, int32_t channel) {
  if (type == Type::float32) return static_cast<const float*>(memory)[at];
  if (type == Type::float16) return float_from_half(static_cast<const uint16_t*>(memory)[at]);
  return static_cast<const int8_t*>(memory)[at] * scale[channel];
}

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
    return static_cast<double>(memory_value(type, memory, scale, at, c)) - mean[c];
  };
  for (int32_t row = 0; row < rows; ++row) {
    double square = 0.0;
    for (int32_t c = 0; c < channels; ++c) square += centred(row, c) * centred(row, c);
    longest = std::max(longest, square);
  }
  longest = std::sqrt(longest);
  for (int32_t place = 0; place < padded; ++place) a.order[place] = place;
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
  for (int32_t c = 0; c < channels; ++c)
    for (int32_t i = 0; i < kParts; ++i)
      a.basis[static_cast<size_t>(c) * kParts + i] =
          i < components ? basis[static_cast<size_t>(i) * channels + c] : 0.0f;
  const int32_t count = components + 1, words = index.parts / 4;
  std::vector<double> y(channels), rest(channels), parts(static_cast<size_t>(rows) * count);
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t c = 0; c < channels; ++c) y[c] = index.gain * centred(row, c);
    parts_of(basis, components, channels, y, rest, &parts[static_cast<size_t>(row) * count]);
  }
  sort_into_tiles(parts, count, a.order, a.order + rows);
  encode_tiles(parts, count, rows, words, a);
  return index;
}

size_t nearest_workspace_bytes(const NearestParams& params) {
  Arena<> arena{nullptr};
  nearest_workspace_of(params, arena);
  return arena.used;
}

}  // namespace edgead

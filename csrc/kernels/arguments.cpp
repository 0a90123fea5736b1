#include "arguments.h"

#include <algorithm>
#include <cmath>

#include "wording.h"

namespace edgead {

const Words kTypes{"float32", "float16", "int8"};
const Words kLayouts{"NCHW", "NHWC"};
const Words kDistances{"cosine", "l1", "l2"};
const Words kFusions{"sum", "product"};
const Words kPoolings{"max", "mean", "top_k"};
const Words kSearches{"pruned", "every"};

namespace {

constexpr const char* kFine = "";

// Nothing that compares is a NaN.
bool between(double low, double value, double high) { return value >= low && value <= high; }

// A value that a kernel has in float32, which rounds the limits of its rule outwards.
double widened(float value, double low, double high) {
  if (value == static_cast<float>(low)) return low;
  return value == static_cast<float>(high) ? high : value;
}

bool all_finite(const std::vector<double>& values) {
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

bool all_between(double low, const std::vector<double>& values, double high) {
  return std::all_of(values.begin(), values.end(), [&](double v) { return between(low, v, high); });
}

// Whether the product of sides, each at least 1, is at most `most`.
bool fits(const std::vector<int64_t>& sides, int64_t most) {
  for (const int64_t side : sides) {
    if (side < 1 || side > most) return false;
    most /= side;
  }
  return true;
}

// The first of several rules that is broken, as a sentence.
std::string first_of(std::initializer_list<std::string> sentences) {
  for (const std::string& sentence : sentences)
    if (!sentence.empty()) return sentence;
  return kFine;
}

std::string sentence(const std::string& name, const std::string& given,
                     const std::string& expected) {
  return expected.empty() ? kFine : name + " is " + given + ", expected " + expected;
}

// Of an enumeration, which C can fill with any number.
template <class Enum>
std::string problem_of_word(const char* name, Enum value, size_t count) {
  const auto number = static_cast<int32_t>(value);
  if (number >= 0 && static_cast<size_t>(number) < count) return kFine;
  return format("%s is %d, expected one of an enumeration, 0 to %d", name, number,
                static_cast<int>(count) - 1);
}

std::string problem_of_size(int32_t height, int32_t width) {
  const std::vector<int64_t> sides{height, width};
  return sentence("size", listed(sides, "()"), expected_size(sides));
}

// The queries of nearest and whiten are of two types, as the features of anomaly_map and an image.
std::string problem_of_array(Type type, Layout layout) {
  return first_of(
      {problem_of_word("type", type, 2), problem_of_word("layout", layout, kLayouts.size())});
}

}  // namespace

std::string expected_word(const std::string& word, const Words& words) {
  std::string expected = "one of ";
  for (const char* each : words) {
    if (word == each) return kFine;
    expected += (each == words.front() ? "" : ", ") + std::string(each);
  }
  return expected;
}

std::string expected_size(const std::vector<int64_t>& sides) {
  if (sides.size() == 2 && std::min(sides[0], sides[1]) >= 1 &&
      std::max(sides[0], sides[1]) <= kMaxSide)
    return kFine;
  return "(height, width), each 1 to " + std::to_string(kMaxSide);
}

std::string expected_mean(const std::vector<double>& mean) {
  if (mean.size() != 3 || !all_finite(mean)) return "three finite numbers for R, G, B";
  return all_between(-1e15, mean, 1e15) ? kFine : "three numbers of at most 1e15";
}

std::string expected_std(const std::vector<double>& std) {
  if (std.size() != 3 || !all_finite(std)) return "three finite numbers for R, G, B";
  return all_between(kLeast, std, kMost) ? kFine : "three numbers above 0, 1e-20 to 1e20";
}

std::string expected_bit_depth(int64_t bits) {
  if (bits >= kBitDepths[0] && bits <= kBitDepths[1]) return kFine;
  return format(
      "a whole number from %d to %d, the bits that the camera gives in uint16; uint8 frames need "
      "none",
      kBitDepths[0], kBitDepths[1]);
}

std::string expected_weights(const std::vector<double>& weights, int64_t most) {
  if (!all_finite(weights)) return "finite numbers";
  const auto above = [](double weight) { return weight > 0; };
  const auto below = [](double weight) { return weight < 0; };
  if (weights.size() > static_cast<size_t>(most) ||
      std::any_of(weights.begin(), weights.end(), below) ||
      std::none_of(weights.begin(), weights.end(), above))
    return "1 to " + std::to_string(most) + " numbers >= 0, not all 0";
  const auto counts = [](double weight) { return weight == 0 || between(kLeast, weight, kMost); };
  return std::all_of(weights.begin(), weights.end(), counts) ? kFine : "0 or 1e-20 to 1e20 each";
}

std::string expected_blur_sigma(double sigma) {
  return between(0, sigma, 1000) ? kFine : "0 to 1000 pixels of the map";
}

std::string expected_top_k(double share) {
  return share > 0 && share <= 1 ? kFine : "a share of the pixels above 0, at most 1";
}

std::string expected_shape(const std::vector<int64_t>& shape) {
  if (shape.size() != 3 || *std::min_element(shape.begin(), shape.end()) < 1)
    return "(channels, height, width), >= 1";
  return fits(shape, kMaxValues) ? kFine : "at most " + std::to_string(kMaxValues) + " values";
}

std::string expected_memory(int64_t rows, int64_t channels) {
  if (rows < 1 || channels < 1) return "at least one row and one channel";
  if (channels <= kMaxChannels && fits({rows, channels}, kMaxValues)) return kFine;
  return "at most " + std::to_string(kMaxChannels) + " channels and " + std::to_string(kMaxValues) +
         " values";
}

std::string expected_scale(const std::vector<double>& scale, int64_t channels) {
  const bool one_each = scale.size() == 1 || static_cast<int64_t>(scale.size()) == channels;
  if (one_each && all_between(kTiny, scale, kHuge)) return kFine;
  return "a number above 0 for a memory of int8, or " + std::to_string(channels) +
         ", one for each channel, 1e-30 to 1e30";
}

std::string expected_neighbours(int64_t neighbours) {
  if (neighbours >= 1 && neighbours < kMaxNearest) return kFine;
  return format("a whole number from 1 to %d", kMaxNearest - 1);
}

std::string expected_temperature(double temperature) {
  return between(kTiny, temperature, kHuge) ? kFine : "a number above 0, 1e-30 to 1e30";
}

std::string expected_side(int64_t side) {
  return side >= 1 ? kFine : "a whole number of positions, 1 or more";
}

std::string expected_epsilon(double epsilon) {
  return between(1e-12, epsilon, 1e6) ? kFine : "a number of 1e-12 to 1e6";
}

std::string expected_factors(const std::vector<int64_t>& factors, int64_t channels, int64_t height,
                             int64_t width, int64_t side) {
  const auto across = [&](int64_t size) { return (size - 1) / side + 1; };
  const int64_t regions = across(height) * across(width);
  if (factors.size() == 3 && factors[0] == regions && factors[2] == channels) return kFine;
  return format(
      "(%lld, outputs, %lld): one for each region of %lld x %lld of %lld x %lld positions",
      static_cast<long long>(regions), static_cast<long long>(channels),
      static_cast<long long>(side), static_cast<long long>(side), static_cast<long long>(height),
      static_cast<long long>(width));
}

std::string expected_overlap(int64_t overlap, int64_t height, int64_t width) {
  const int64_t most = std::min(height, width) / 2;
  if (overlap >= 2 && overlap <= most) return kFine;
  return "a whole number of pixels from 2 to " + std::to_string(most) +
         ", half of the tile's shorter side";
}

std::string problem_of_frame(int64_t height, int64_t width) {
  if (std::min(height, width) >= 1 && std::max(height, width) <= kMaxSide) return kFine;
  return format("the frame is %lld x %lld (height x width), expected 1 to %lld pixels a side",
                static_cast<long long>(height), static_cast<long long>(width),
                static_cast<long long>(kMaxSide));
}

std::string problem_of_value(uint32_t highest, int32_t bits) {
  const uint32_t full = (1u << bits) - 1u;
  if (highest <= full) return kFine;
  return format(
      "the frame has the value %u and is declared to have %d bits, at most %u: declare what the "
      "camera gives (bit_depth, --bit-depth; 16 where white is 65535), or give the frame as the "
      "camera made it, not scaled",
      highest, bits, full);
}

namespace {

std::string problem_of_samples(const PreprocessParams& p) {
  if (p.channels != 1 && p.channels != 3)
    return format("the frame has %d channels, expected 1 or 3", p.channels);
  if (p.sample_bytes != 1 && p.sample_bytes != 2)
    return format("a sample has %d bytes, expected 1 or 2", p.sample_bytes);
  if (p.sample_bytes == 1 && p.bit_depth != 8)
    return format("bit_depth is %d, expected 8 of samples of one byte", p.bit_depth);
  if (p.sample_bytes == 1) return kFine;
  return sentence("bit_depth", std::to_string(p.bit_depth), expected_bit_depth(p.bit_depth));
}

std::string problem_of_channels(const PreprocessParams& p) {
  for (int c = 0; c < 3; ++c) {
    if (p.order[c] < 0 || p.order[c] >= p.channels)
      return format("order is %d for one of R, G, B, expected a channel of the frame, 0 to %d",
                    p.order[c], p.channels - 1);
    if (!std::isfinite(p.scale[c]) || !std::isfinite(p.bias[c]))
      return "scale or bias is not finite, expected 1 / (16384 full std) and -mean / std";
  }
  return kFine;
}

std::string problem_of_levels(const AnomalyMapParams& p) {
  if (p.levels < 1 || p.levels > kMaxLevels)
    return format("%d pairs, expected 1 to %d", p.levels, kMaxLevels);
  std::vector<double> weights;
  for (int32_t k = 0; k < p.levels; ++k) {
    const AnomalyMapLevel& level = p.level[k];
    const std::vector<int64_t> shape{level.channels, level.height, level.width};
    const std::string problem =
        sentence("shape of pair " + std::to_string(k), listed(shape, "()"), expected_shape(shape));
    if (!problem.empty()) return problem;
    weights.push_back(level.weight);
  }
  return sentence("weights", listed(weights, "()"), expected_weights(weights, kMaxLevels));
}

// Of the weights, or of the blend, of nearest.
std::string problem_of_neighbours(const NearestParams& p) {
  if (p.k < 1 || p.k > kMaxNearest)
    return format("%d of the nearest are looked for, expected 1 to %d", p.k, kMaxNearest);
  if (p.k > p.rows)
    return format(
        "weights are %d and the memory has %d features, expected at most as many "
        "weights: give fewer, or a larger memory",
        p.k, p.rows);
  if (p.blended == 0) {
    std::vector<double> weights;
    for (int32_t i = 0; i < p.k; ++i) weights.push_back(widened(p.weight[i], kLeast, kMost));
    return sentence("weights", listed(weights, "()"), expected_weights(weights, kMaxNearest));
  }
  if (p.blended != p.k && p.blended != p.k - 1)
    return format("%d of %d that are looked for are blended, expected all or one less", p.blended,
                  p.k);
  return sentence("the temperature of a blend", shown(p.temperature),
                  expected_temperature(widened(p.temperature, kTiny, kHuge)));
}

}  // namespace

std::string problem_of(const PreprocessParams& p) {
  return first_of({problem_of_frame(p.height, p.width), problem_of_samples(p),
                   problem_of_size(p.out_height, p.out_width), problem_of_channels(p),
                   problem_of_array(p.type, p.layout)});
}

std::string problem_of(const AnomalyMapParams& p) {
  const std::string problem = first_of(
      {problem_of_size(p.height, p.width), problem_of_levels(p), problem_of_array(p.type, p.layout),
       problem_of_word("distance", p.distance, kDistances.size()),
       problem_of_word("fusion", p.fusion, kFusions.size()),
       problem_of_word("pooling", p.pooling, kPoolings.size()),
       sentence("blur_sigma", shown(p.sigma), expected_blur_sigma(p.sigma))});
  if (!problem.empty() || p.pooling != Pooling::top_k) return problem;
  if (p.top_count >= 1 && p.top_count <= static_cast<int64_t>(p.height) * p.width) return kFine;
  return format("top_count is %d, expected 1 to the pixels of the map", p.top_count);
}

std::string problem_of(const NearestParams& p) {
  const std::vector<int64_t> memory{p.rows, p.channels};
  const std::string problem =
      first_of({sentence("the memory", "[rows, channels] " + listed(memory),
                         expected_memory(p.rows, p.channels)),
                problem_of_neighbours(p), problem_of_array(p.query_type, p.layout),
                problem_of_word("memory_type", p.memory_type, kTypes.size()),
                problem_of_word("search", p.search, kSearches.size())});
  if (!problem.empty()) return problem;
  if (!fits({p.positions, p.channels}, kMaxValues))
    return format(
        "the queries have %d positions and the memory has %d channels, expected at least "
        "one and at most %lld values",
        p.positions, p.channels, static_cast<long long>(kMaxValues));
  if (p.width >= 0 && (p.width == 0 || p.positions % p.width == 0)) return kFine;
  return format("width is %d, expected that of a grid of %d positions, or 0", p.width, p.positions);
}

std::string problem_of(const WhitenParams& p) {
  const std::vector<int64_t> mean{p.channels, p.height, p.width};
  if (!fits({p.outputs, p.channels}, kMaxValues))
    return format(
        "factors have %d outputs of %d channels, expected at least one and at most %lld "
        "values",
        p.outputs, p.channels, static_cast<long long>(kMaxValues));
  const double epsilon = widened(p.epsilon, 1e-12, 1e6);
  return first_of({sentence("mean", "of shape " + listed(mean, "()"), expected_shape(mean)),
                   sentence("side", std::to_string(p.side), expected_side(p.side)),
                   sentence("epsilon", shown(epsilon), expected_epsilon(epsilon)),
                   problem_of_array(p.type, p.layout)});
}

}  // namespace edgead

// edgead_native all | half | anomaly_map | preprocess | nearest | whiten | threads | random |
// planted BUG Silent and 0 when all is well.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "nearest_case.h"
#include "planted.h"
#include "run.h"
#include "whiten_case.h"

namespace edgead {
namespace {

void expect(bool holds, const char* claim, double value) {
  if (!holds) fail("%s does not hold for %.17g", claim, value);
}

// Every half, and around every border between two of them: with monotony, that is all floats.
void half() {
  for (uint32_t i = 0; i < 65536; ++i) {
    const uint16_t bits = static_cast<uint16_t>(i);
    const double value = half_value(bits);
    const float given = float_from_half(bits);
    expect(std::isnan(value) ? std::isnan(given) : given == value, "float_from_half", value);
    expect(std::signbit(given) == (bits >> 15 != 0), "float_from_half keeps the sign", value);
    const uint16_t back = half_from_float(given);
    expect(std::isnan(value) ? std::isnan(half_value(back)) : back == bits, "round trip", value);
    if (!std::isfinite(value) || (bits & 0x7fff) == 0x7bff) continue;
    const double next = half_value(static_cast<uint16_t>(bits + 1));
    const float middle = static_cast<float>((value + next) / 2);  // exact: one more bit
    for (float f : {middle, std::nextafterf(middle, INFINITY), std::nextafterf(middle, -INFINITY)})
      expect(half_from_float(f) == half_nearest(f), "half_from_float", f);
  }
  for (float f :
       {65519.996f, 65520.0f, 1e30f, INFINITY, 1e-45f, 2.9802322e-8f, 2.9802326e-8f, 0.0f})
    for (float sign : {1.0f, -1.0f})
      expect(half_from_float(sign * f) == half_nearest(sign * f), "half_from_float", sign * f);
}

struct Size {
  int32_t height, width;
};

const Size kSizes[] = {{1, 1}, {7, 5}, {33, 129}, {3, 1000}};

// Levels whose features are smaller, larger, and of odd shapes; channels around multiples of four.
const std::vector<AnomalyMapLevel> kLevels[] = {
    {{1, 1, 1, 1.0}},
    {{3, 7, 5, 0.5}, {17, 4, 9, 2.0}},
    {{24, 16, 16, 1.0}, {40, 8, 8, 0.0}, {6, 3, 31, 1.0}},
    {{4, 37, 70, 1.0}, {9, 2, 3, 1.0}},
};

// A frame of kept pixels with holes, or one single pixel.
std::vector<uint8_t> roi_of(const Size& size, uint64_t seed) {
  Random random(seed);
  std::vector<uint8_t> roi(static_cast<size_t>(size.height) * size.width, 0);
  if (seed % 3)
    for (uint8_t& pixel : roi) pixel = random() % 3 ? 0 : 255;
  roi[random() % roi.size()] = 1;
  return roi;
}

void anomaly_map() {
  uint64_t seed = 0;
  MapCase c;
  AnomalyMapParams& p = c.params;
  for (Type type : {Type::float32, Type::float16})
    for (Layout layout : {Layout::nchw, Layout::nhwc})
      for (Distance distance : {Distance::cosine, Distance::l1, Distance::l2})
        for (Fusion fusion : {Fusion::sum, Fusion::product})
          for (Pooling pooling : {Pooling::max, Pooling::mean, Pooling::top_k})
            for (bool align_corners : {false, true})
              for (int32_t rest = 0; rest < 8; ++rest) {
                p = {};
                p.type = type, p.layout = layout, p.distance = distance, p.fusion = fusion;
                p.pooling = pooling, p.align_corners = align_corners;
                // Each kind meets all sizes and all levels; over the kinds they meet in all pairs.
                const uint64_t kind = seed / 8;
                const Size size = kSizes[(kind + rest) % 4];
                const std::vector<AnomalyMapLevel>& levels = kLevels[(kind / 4 + rest) % 4];
                p.levels = static_cast<int32_t>(levels.size());
                std::copy(levels.begin(), levels.end(), p.level);
                p.height = size.height, p.width = size.width;
                p.sigma = seed % 3 ? 0.0 : 1.3;
                p.has_roi = rest >= 4;
                c.roi = p.has_roi ? roi_of(size, seed / 2) : std::vector<uint8_t>();
                const int64_t kept = p.has_roi
                                         ? c.roi.size() - std::count(c.roi.begin(), c.roi.end(), 0)
                                         : static_cast<int64_t>(size.height) * size.width;
                p.top_count = static_cast<int32_t>(std::max<int64_t>(1, kept / (1 + seed % 50)));
                c.batch = 1 + seed % 2;
                c.bad = seed % 11 == 0;
                c.offset = seed % 5, c.seed = seed++;
                run(c);
              }
}

// Memory orders that frames come in: packed, padded, BGRx, mirrored, upside down, every other
// column, planes.
void set_strides(PreprocessParams& p, int32_t kind) {
  const int64_t sample = p.sample_bytes;
  p.channel_stride = sample;
  p.pixel_stride = sample * (kind == 2 ? 4 : p.channels);
  if (kind == 5) p.pixel_stride *= 2;
  p.row_stride = p.pixel_stride * p.width + (kind == 1 ? 7 : 0);
  if (kind == 3) p.pixel_stride = -p.pixel_stride;
  if (kind == 4) p.row_stride = -p.row_stride;
  if (kind == 6)
    p.pixel_stride = sample, p.row_stride = sample * p.width,
    p.channel_stride = p.row_stride * p.height;
}

// White in the filter's 16 bits.
int32_t full_of(const PreprocessParams& p) {
  return ((1 << p.bit_depth) - 1) << (16 - p.bit_depth);
}

void preprocess() {
  const Size pairs[][2] = {{{1, 1}, {1, 1}},      {{1, 1}, {17, 16}},    {{7, 5}, {33, 129}},
                           {{33, 129}, {7, 5}},   {{3, 1000}, {32, 48}}, {{64, 48}, {3, 1000}},
                           {{40, 600}, {16, 64}}, {{5, 1700}, {9, 20}}};
  uint64_t seed = 0;
  FrameCase c;
  PreprocessParams& p = c.params;
  for (const auto& pair : pairs)
    for (Type type : {Type::float32, Type::float16})
      for (Layout layout : {Layout::nchw, Layout::nhwc})
        for (int32_t channels : {1, 3})
          for (int32_t bytes : {1, 2})
            for (int32_t kind = 0; kind < 7; ++kind) {
              p = {};
              p.type = type, p.layout = layout, p.channels = channels, p.sample_bytes = bytes;
              p.bit_depth =
                  bytes == 1 ? 8
                             : 16 - static_cast<int32_t>(seed % 8);  // samples above it are bounded
              p.height = pair[0].height, p.width = pair[0].width;
              p.out_height = pair[1].height, p.out_width = pair[1].width;
              set_strides(p, kind);
              for (int32_t i = 0; i < 3; ++i) {
                p.order[i] = channels == 1 ? 0 : seed % 2 ? i : 2 - i;
                p.scale[i] = static_cast<float>(1.0 / (16384.0 * full_of(p) * 0.2));
                p.bias[i] = -2.1f + 0.3f * i;
              }
              c.offset = seed % 7, c.seed = seed++;
              run(c);
            }
}

void nearest() {
  // Rows and channels below, at and over a vector, a tile, a chunk, kParts, a tile of centres.
  const Size sizes[] = {{1, 1}, {2, 3}, {31, 4}, {33, 64}, {257, 63}, {300, 152}, {1100, 5}};
  uint64_t seed = 0;
  NearestCase c;
  NearestParams& p = c.params;
  for (Type query : {Type::float32, Type::float16})
    for (Layout layout : {Layout::nchw, Layout::nhwc})
      for (Type memory : {Type::float32, Type::float16, Type::int8})
        for (Search search : {Search::pruned, Search::every})
          for (int32_t rest = 0; rest < kSpreads; ++rest) {
            p = {};
            const Size size = sizes[(seed + rest) % 7];
            p.rows = size.height, p.channels = size.width;
            p.width = 1 + seed % 9, p.positions = p.width * (1 + seed % 7);
            p.k = std::min<int32_t>(1 + seed % kMaxNearest, p.rows);
            for (int32_t i = 0; i < p.k; ++i) p.weight[i] = i == 0 || seed % 3 ? 1.0f : 0.0f;
            p.query_type = query, p.layout = layout, p.memory_type = memory, p.search = search;
            if (seed % 3 == 1) p.blended = std::max(p.k - 1, 1), p.temperature = 0.3f * p.channels;
            c.spread = static_cast<Spread>(rest);
            c.basis = seed % 4 ? 1.0 : 0.7;
            c.roi.assign(seed % 2 ? p.positions : 0, 1);
            for (size_t i = 1; i < c.roi.size(); i += 3) c.roi[i] = 0;
            c.batch = 1 + seed % 2, c.bad = seed % 5 == 0 ? 3 : 0;
            c.offset = seed % 5, c.seed = seed++;
            run(c);
          }
}

void whiten() {
  // Positions, channels and outputs below, at and over a vector, a block, a panel.
  const Size sizes[] = {{1, 1}, {3, 5}, {4, 16}, {9, 10}, {2, 33}};
  const int32_t counts[][2] = {{1, 1}, {2, 5}, {16, 15}, {33, 33}, {40, 70}, {130, 64}};
  uint64_t seed = 0;
  WhitenCase c;
  WhitenParams& p = c.params;
  for (Type type : {Type::float32, Type::float16})
    for (Layout layout : {Layout::nchw, Layout::nhwc})
      for (bool triangular : {false, true})
        for (bool normal : {false, true})
          for (const Size& size : sizes)
            for (const auto& count : counts) {
              p.height = size.height, p.width = size.width;
              p.channels = count[0], p.outputs = count[1];
              const int32_t sides[] = {1, 2, 4, 5, 33};
              p.side = std::min(sides[seed % 5], std::max(size.height, size.width));
              p.triangular = triangular, p.channel_normal = normal, p.epsilon = 1e-5f;
              p.type = type, p.layout = layout;
              c.roi = seed % 4 == 0 ? roi_of(size, seed) : std::vector<uint8_t>();
              c.batch = 1 + seed % 2, c.bad = seed % 7 == 0 ? 3 : 0;
              c.offset = seed % 5, c.seed = seed++;
              run(c);
            }
}

void random_cases() {
  Random random(1);
  for (int i = 0; i < 400; ++i) {
    uint8_t bytes[80];
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
    run_bytes(bytes, sizeof bytes);
  }
}

}  // namespace
}  // namespace edgead

int main(int argc, char** argv) {
  if (edgead::all_kernels().empty() || edgead::all_nearest_kernels().empty())
    edgead::fail("no instruction set at all");
  const std::string asked = argc > 1 ? argv[1] : "";
  if (asked == "planted" && argc > 2) {
    edgead::planted(argv[2]);
    return 0;
  }
  const std::pair<const char*, void (*)()> checks[] = {
      {"half", edgead::half},
      {"anomaly_map", edgead::anomaly_map},
      {"preprocess", edgead::preprocess},
      {"nearest", edgead::nearest},
      {"whiten", edgead::whiten},
      {"threads", [] { edgead::threads(false); }},
      {"random", edgead::random_cases},
  };
  bool known = false;
  for (const auto& [name, check] : checks)
    if (asked == "all" || asked == name) check(), known = true;
  if (!known) edgead::fail("usage: edgead_native all | half | anomaly_map | .., see main.cpp");
  return 0;
}

// Any bytes become a small valid case of one of the kernels, as the entry points in edgead/ let
// through.
#include <algorithm>

#include "nearest_case.h"
#include "run.h"
#include "whiten_case.h"

namespace edgead {
namespace {

// Deals out choices from the bytes of the fuzzer; when they are used up, the first choice.
class Choices {
 public:
  Choices(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  int32_t below(int32_t n) {
    uint32_t value = byte();
    if (n > 256) value = value << 8 | byte();
    return static_cast<int32_t>(value % static_cast<uint32_t>(n));
  }
  int32_t from(int32_t low, int32_t high) { return low + below(high - low + 1); }
  template <class T, size_t N>
  T of(const T (&values)[N]) {
    return values[below(N)];
  }
  template <class E>
  E kind(int32_t n) {
    return static_cast<E>(below(n));
  }
  // Most sides are small; some are longer than a vector, a tile or a chunk.
  int32_t side() { return below(4) ? from(1, 12) : from(1, 90); }

 private:
  uint8_t byte() { return at_ < size_ ? data_[at_++] : 0; }

  const uint8_t* data_;
  size_t size_, at_ = 0;
};

MapCase map_case(Choices& choose) {
  MapCase c;
  AnomalyMapParams& p = c.params;
  p.type = choose.kind<Type>(2), p.layout = choose.kind<Layout>(2);
  p.distance = choose.kind<Distance>(3), p.fusion = choose.kind<Fusion>(2);
  p.pooling = choose.kind<Pooling>(3), p.align_corners = choose.below(2);
  p.levels = choose.below(8) ? choose.from(1, 3) : choose.from(1, kMaxLevels);
  for (int32_t k = 0; k < p.levels; ++k) {
    const int32_t channels = choose.below(4) ? choose.from(1, 9) : choose.from(1, 70);
    const int32_t height = std::min(choose.side(), 40), width = choose.side();
    p.level[k] = {channels, height, width, choose.below(5) / 2.0};
  }
  p.level[0].weight += 0.5;  // not all of them are 0
  p.height = choose.side(), p.width = choose.side();
  const double sigmas[] = {0.0, 0.1, 0.6, 1.5, 4.0, 40.0};
  p.sigma = choose.of(sigmas);
  int32_t kept = p.height * p.width;
  if (choose.below(2)) {
    p.has_roi = true;
    c.roi.resize(kept);
    Random random(choose.below(65536));
    const int32_t one_in = choose.from(1, 40);
    for (uint8_t& pixel : c.roi) pixel = random() % one_in ? 0 : whole(random, 1, 255);
    c.roi[random() % c.roi.size()] = 1;
    kept = static_cast<int32_t>(c.roi.size() - std::count(c.roi.begin(), c.roi.end(), 0));
  }
  p.top_count = 1 + choose.below(65536) % kept;
  c.batch = choose.from(1, 3);
  const double scales[] = {1.0, 1e-3, 30.0};
  c.scale = choose.of(scales);
  c.bad = choose.below(6) ? 0 : choose.from(1, 3);
  c.offset = choose.below(16);
  c.seed = choose.below(65536);
  return c;
}

FrameCase frame_case(Choices& choose) {
  FrameCase c;
  PreprocessParams& p = c.params;
  p.type = choose.kind<Type>(2), p.layout = choose.kind<Layout>(2);
  p.height = choose.side(), p.width = choose.below(8) ? choose.side() : choose.from(500, 1700);
  p.out_height = choose.side(), p.out_width = choose.side();
  p.channels = choose.below(2) ? 3 : 1;
  p.sample_bytes = choose.from(1, 2);
  p.bit_depth = p.sample_bytes == 1 ? 8 : choose.from(9, 16);
  // Channels inside of pixels inside of rows, or planes; gaps and signs as they come.
  const int64_t gap = choose.below(3) * choose.from(1, 5);
  const bool planes = choose.below(3) == 0;
  if (planes) {
    p.pixel_stride = p.sample_bytes + gap;
    p.row_stride = p.pixel_stride * p.width + choose.below(9);
    p.channel_stride = p.row_stride * p.height;
  } else {
    p.channel_stride = p.sample_bytes * choose.from(1, 2);
    p.pixel_stride = p.channel_stride * (p.channels - 1) + p.sample_bytes + gap;
    p.row_stride = p.pixel_stride * p.width + choose.below(9);
  }
  if (choose.below(4) == 0) p.row_stride = -p.row_stride;
  if (choose.below(4) == 0) p.pixel_stride = -p.pixel_stride;
  if (choose.below(4) == 0) p.channel_stride = -p.channel_stride;
  const int32_t orders[][3] = {{0, 1, 2}, {2, 1, 0}};
  const int32_t* order = orders[choose.below(2)];
  const double full = ((1 << p.bit_depth) - 1) << (16 - p.bit_depth);
  for (int32_t i = 0; i < 3; ++i) {
    const double mean = choose.below(8) / 8.0, std = choose.from(1, 8) / 8.0;
    p.order[i] = p.channels == 3 ? order[i] : 0;
    p.scale[i] = static_cast<float>(1.0 / (16384.0 * full * std));
    p.bias[i] = static_cast<float>(-mean / std);
  }
  c.offset = choose.below(16);
  c.seed = choose.below(65536);
  return c;
}

NearestCase nearest_case(Choices& choose) {
  NearestCase c;
  NearestParams& p = c.params;
  const int32_t height = choose.from(1, 9);
  p.width = choose.from(1, 12), p.positions = height * p.width;
  p.channels = choose.below(4) ? choose.from(1, 20) : choose.from(1, 150);
  p.rows = choose.below(4) ? choose.from(1, 40) : choose.from(1, 600);
  p.k = std::min(choose.from(1, kMaxNearest), p.rows);
  for (int32_t i = 0; i < p.k; ++i) p.weight[i] = static_cast<float>(choose.below(4)) / 2;
  p.weight[choose.below(p.k)] += 0.5f;  // not all of them are 0
  if (choose.below(3) == 0) {
    p.blended = p.k < p.rows && p.k > 1 ? p.k - 1 : p.k;
    const double shares[] = {0.05, 0.5, 5.0};
    p.temperature = static_cast<float>(p.channels * choose.of(shares));
  }
  p.query_type = choose.kind<Type>(2), p.layout = choose.kind<Layout>(2);
  p.memory_type = choose.kind<Type>(3), p.search = choose.kind<Search>(2);
  c.spread = choose.kind<Spread>(kSpreads);
  const double scales[] = {1.0, 0.5, 3.0, 0.0};
  c.basis = choose.of(scales);
  if (choose.below(2)) {
    Random random(choose.below(65536));
    c.roi.resize(p.positions);
    for (uint8_t& kept : c.roi) kept = static_cast<uint8_t>(random() % 3);
  }
  c.batch = choose.from(1, 2);
  c.bad = choose.below(6) ? 0 : choose.from(1, 9);
  c.offset = choose.below(16);
  c.seed = choose.below(65536);
  return c;
}

WhitenCase whiten_case(Choices& choose) {
  WhitenCase c;
  WhitenParams& p = c.params;
  p.height = choose.from(1, 12), p.width = choose.from(1, 12);
  p.channels = choose.below(4) ? choose.from(1, 40) : choose.from(1, 150);
  p.outputs = choose.below(2) ? p.channels : choose.from(1, 70);
  p.side = choose.from(1, std::max(p.height, p.width));
  p.triangular = choose.below(2), p.channel_normal = choose.below(2);
  p.epsilon = choose.below(2) ? 1e-5f : 1.0f;
  p.type = choose.kind<Type>(2), p.layout = choose.kind<Layout>(2);
  if (choose.below(2)) {
    Random random(choose.below(65536));
    c.roi.resize(p.height * p.width);
    for (uint8_t& kept : c.roi) kept = static_cast<uint8_t>(random() % 3);
  }
  c.batch = choose.from(1, 2);
  c.bad = choose.below(6) ? 0 : choose.from(1, 9);
  c.offset = choose.below(16);
  c.seed = choose.below(65536);
  return c;
}

}  // namespace

void run_bytes(const uint8_t* data, size_t size) {
  Choices choose(data, size);
  const int32_t kernel = choose.below(4);
  if (kernel == 0) return run(frame_case(choose));
  if (kernel == 3) return run(whiten_case(choose));
  kernel == 1 ? run(map_case(choose)) : run(nearest_case(choose));
}

}  // namespace edgead

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  edgead::run_bytes(data, size);
  return 0;
}

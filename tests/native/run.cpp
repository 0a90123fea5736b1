#include "run.h"

#include <algorithm>
#include <cmath>

namespace edgead {

size_t size_of(Type type) { return type == Type::float32 ? 4 : type == Type::float16 ? 2 : 1; }

double put(Type type, char* memory, size_t i, double value, float scale) {
  if (type == Type::float32) {
    const float single = static_cast<float>(value);
    std::memcpy(memory + 4 * i, &single, sizeof single);
    return single;
  }
  if (type == Type::float16) {
    const uint16_t half = half_nearest(value);
    std::memcpy(memory + 2 * i, &half, sizeof half);
    return half_value(half);
  }
  const double code = std::min(std::max(std::nearbyint(value / scale), -128.0), 127.0);
  memory[i] = static_cast<char>(static_cast<int8_t>(code));
  return static_cast<float>(code) * scale;  // rounded, as the manual says
}

namespace {

// Rounds to the type that memory will hold.
double representable(Type type, double value) {
  return type == Type::float16 ? half_value(half_nearest(value)) : static_cast<float>(value);
}

// Where [n, c, i] of planes of `plane` positions lies.
size_t place(Layout layout, int64_t n, int64_t c, int64_t i, int64_t channels, int64_t plane) {
  return layout == Layout::nhwc ? (n * plane + i) * channels + c : (n * channels + c) * plane + i;
}

}  // namespace

std::string MapCase::name() const {
  const AnomalyMapParams& p = params;
  std::string text = "anomaly_map";
  auto add = [&](const char* word, double value) {
    char piece[64];
    std::snprintf(piece, sizeof piece, " %s %g", word, value);
    text += piece;
  };
  for (int32_t k = 0; k < p.levels; ++k) {
    add("level", p.level[k].channels), add("x", p.level[k].height), add("x", p.level[k].width);
    add("weight", p.level[k].weight);
  }
  add("map", p.height), add("x", p.width), add("distance", static_cast<int>(p.distance));
  add("fusion", static_cast<int>(p.fusion)), add("pooling", static_cast<int>(p.pooling));
  add("top", p.top_count), add("corners", p.align_corners), add("sigma", p.sigma);
  add("type", static_cast<int>(p.type)), add("layout", static_cast<int>(p.layout));
  add("roi", !roi.empty()), add("batch", batch), add("scale", scale), add("bad", bad);
  add("offset", static_cast<double>(offset)), add("seed", static_cast<double>(seed));
  return text;
}

MapInputs::MapInputs(const MapCase& c) {
  const AnomalyMapParams& p = c.params;
  Random random(c.seed);
  std::normal_distribution<double> normal;
  for (int32_t k = 0; k < p.levels; ++k) {
    const int64_t channels = p.level[k].channels;
    const int64_t plane = static_cast<int64_t>(p.level[k].height) * p.level[k].width;
    const size_t size = static_cast<size_t>(c.batch * channels * plane);
    for (int side = 0; side < 2; ++side) {
      Feature feature(size);
      for (double& value : feature) value = representable(p.type, c.scale * normal(random));
      for (int32_t i = 0; i < c.bad; ++i)
        feature[random() % size] = i % 2 ? INFINITY : std::nan("");
      held[side].push_back(
          std::make_unique<Block>(size * size_of(p.type), c.offset % 16 * size_of(p.type)));
      for (int64_t n = 0; n < c.batch; ++n)
        for (int64_t ch = 0; ch < channels; ++ch)
          for (int64_t i = 0; i < plane; ++i)
            put(p.type, held[side][k]->data(), place(p.layout, n, ch, i, channels, plane),
                feature[place(Layout::nchw, n, ch, i, channels, plane)]);
      values[side].push_back(std::move(feature));
    }
  }
}

std::vector<const void*> MapInputs::pointers(int side) const {
  std::vector<const void*> result;
  for (const auto& block : held[side]) result.push_back(block->data());
  return result;
}

// The memory in which the plan was made, and that of the roi, are gone before the plan is used.
MapPlan::MapPlan(const MapCase& c) : memory(anomaly_map_plan_bytes(c.params)) {
  Block roi(c.roi.size()), made(memory.bytes());
  std::copy(c.roi.begin(), c.roi.end(), roi.as<uint8_t>());
  plan = anomaly_map_plan(c.params, c.roi.empty() ? nullptr : roi.as<uint8_t>(), made.data());
  std::memcpy(memory.data(), made.data(), memory.bytes());
  plan = anomaly_map_plan_moved(plan, memory.data());
}

MapOutputs::MapOutputs(const MapCase& c)
    : map(sizeof(float) * c.batch * c.params.height * c.params.width, c.offset % 16 * 4),
      score(sizeof(float) * c.batch, c.offset % 16 * 4) {}

void MapOutputs::check(const MapCase& c, const MapTruth& truth, const char* set) const {
  // One rounding to float32 is 2^-24 of the value. Bands have weights >= 0 that sum to w_k, sums
  // over channels are taken in parts: errors grow with neither. Cosine is a difference from 1, so
  // its error is absolute; each factor of a product brings its own. 40 roundings are generous.
  double largest = 1.0;
  for (double value : truth.map)
    if (std::isfinite(value)) largest = std::max(largest, std::fabs(value));
  const double tolerance = 40 * std::ldexp(1.0, -24) * largest * c.params.levels;
  auto same = [&](const Block& block, const std::vector<double>& expected, const char* what) {
    for (size_t i = 0; i < expected.size(); ++i) {
      float given;
      std::memcpy(&given, block.data() + 4 * i, sizeof given);
      if (!std::isfinite(expected[i]) && !std::isfinite(given)) continue;
      if (std::isfinite(expected[i]) && c.bad && !std::isfinite(given)) continue;
      if (!(std::fabs(given - expected[i]) <= tolerance))
        fail("%s: %s[%zu] is %.9g, expected %.9g +- %.1g\n%s", set, what, i, given, expected[i],
             tolerance, c.name().c_str());
    }
  };
  same(map, truth.map, "map");
  same(score, truth.score, "score");
  const size_t pixels = static_cast<size_t>(c.params.height) * c.params.width;
  for (size_t i = 0; !c.roi.empty() && i < truth.map.size(); ++i) {
    float given;
    std::memcpy(&given, map.data() + 4 * i, sizeof given);
    if (!c.roi[i % pixels] && !(given == 0.0f))
      fail("%s: map[%zu] is ignored and %.9g\n%s", set, i, given, c.name().c_str());
  }
}

void run(const MapCase& c) {
  const MapInputs inputs(c);
  const std::vector<const void*> reference = inputs.pointers(0), restored = inputs.pointers(1);
  const MapTruth truth =
      anomaly_map_truth(c.params, inputs.values[0], inputs.values[1], c.roi, c.batch);
  const MapPlan plan(c);
  for (const Kernels* set : all_kernels()) {
    MapOutputs outputs(c);
    Block workspace(anomaly_map_workspace_bytes(c.params));
    set->anomaly_map(plan.plan, reference.data(), restored.data(), c.batch, outputs.map.as<float>(),
                     outputs.score.as<float>(), workspace.data());
    outputs.check(c, truth, set->name);
  }
}

std::string FrameCase::name() const {
  const PreprocessParams& p = params;
  char text[240];
  std::snprintf(text, sizeof text,
                "preprocess %d x %d x %d of %d bits, strides %lld %lld %lld -> %d x %d, type %d "
                "layout %d offset %zu seed %llu",
                p.height, p.width, p.channels, p.bit_depth, static_cast<long long>(p.row_stride),
                static_cast<long long>(p.pixel_stride), static_cast<long long>(p.channel_stride),
                p.out_height, p.out_width, static_cast<int>(p.type), static_cast<int>(p.layout),
                offset, static_cast<unsigned long long>(seed));
  return text;
}

Frame::Frame(const FrameCase& c) {
  const PreprocessParams& p = c.params;
  int64_t highest = lowest = 0;
  const int64_t reach[3] = {(p.height - 1) * p.row_stride, (p.width - 1) * p.pixel_stride,
                            (p.channels - 1) * p.channel_stride};
  for (int64_t r : reach) lowest += std::min<int64_t>(r, 0), highest += std::max<int64_t>(r, 0);
  block = std::make_unique<Block>(static_cast<size_t>(highest - lowest) + p.sample_bytes, c.offset);
  Random random(c.seed);
  for (size_t i = 0; i < block->bytes(); ++i) {
    const uint64_t value = random();  // a quarter is black, a quarter white
    const unsigned char extreme = value & 1 ? 0xff : 0;
    block->data()[i] = static_cast<char>(value & 2 ? extreme : value >> 8);
  }
}

Axes::Axes(const PreprocessParams& p)
    : memory{{Block(sizeof(int32_t) * p.out_height), Block(sizeof(int32_t) * p.out_height),
              Block(sizeof(uint16_t) * p.out_height * preprocess_taps(p.height, p.out_height))},
             {Block(sizeof(int32_t) * p.out_width), Block(sizeof(int32_t) * p.out_width),
              Block(sizeof(uint16_t) * p.out_width * preprocess_taps(p.width, p.out_width))}} {
  auto axis = [&](int32_t in, int32_t out, Block* m) {
    return preprocess_axis(in, out, m[0].as<int32_t>(), m[1].as<int32_t>(), m[2].as<uint16_t>());
  };
  vertical = axis(p.height, p.out_height, memory[0]);
  horizontal = axis(p.width, p.out_width, memory[1]);
}

size_t image_bytes(const PreprocessParams& p) {
  return size_of(p.type) * 3 * p.out_height * p.out_width;
}

void check_image(const FrameCase& c, const std::vector<float>& truth, const Block& image,
                 const char* set) {
  const PreprocessParams& p = c.params;
  const int64_t plane = static_cast<int64_t>(p.out_height) * p.out_width;
  for (int64_t channel = 0; channel < 3; ++channel)
    for (int64_t i = 0; i < plane; ++i) {
      const float expected = truth[channel * plane + i];
      const size_t at = place(p.layout, 0, channel, i, 3, plane) * size_of(p.type);
      const uint16_t half = half_nearest(expected);
      const bool narrow = p.type == Type::float16;
      if (std::memcmp(image.data() + at, narrow ? static_cast<const void*>(&half) : &expected,
                      size_of(p.type)))
        fail("%s: channel %d pixel %d is not %.9g, expected the same bits\n%s", set,
             static_cast<int>(channel), static_cast<int>(i), expected, c.name().c_str());
    }
}

void run(const FrameCase& c) {
  const PreprocessParams& p = c.params;
  const Frame frame(c);
  const Axes axes(p);
  const std::vector<float> truth = preprocess_truth(p, frame.first());
  for (const Kernels* set : all_kernels()) {
    Block image(image_bytes(p), c.seed % 16 * size_of(p.type));
    Block workspace(preprocess_workspace_bytes(p));
    set->preprocess(p, axes.vertical, axes.horizontal, frame.first(), image.data(),
                    workspace.data());
    check_image(c, truth, image, set->name);
  }
}

}  // namespace edgead

#include "whiten_case.h"

#include <algorithm>
#include <cmath>

#include "run.h"

namespace edgead {

namespace {

size_t positions_of(const WhitenParams& p) { return static_cast<size_t>(p.height) * p.width; }

}  // namespace

std::string WhitenCase::name() const {
  const WhitenParams& p = params;
  char text[320];
  std::snprintf(text, sizeof text,
                "whiten %d x %d, %d channels, %d outputs, side %d, triangular %d, normal %d, type "
                "%d layout %d, roi %d, batch %d, bad %d, offset %zu, seed %llu",
                p.height, p.width, p.channels, p.outputs, p.side, p.triangular, p.channel_normal,
                static_cast<int>(p.type), static_cast<int>(p.layout), !roi.empty(), batch, bad,
                offset, static_cast<unsigned long long>(seed));
  return text;
}

WhitenInputs::WhitenInputs(const WhitenCase& c) {
  const WhitenParams& p = c.params;
  Random random(c.seed);
  const size_t channels = p.channels, positions = positions_of(p), count = c.batch * positions;
  const size_t regions = static_cast<size_t>(whiten_regions(p.height, p.side)) *
                         static_cast<size_t>(whiten_regions(p.width, p.side));
  auto block = [&](size_t n, size_t size) {
    return std::make_unique<Block>(n * size, c.offset % 16 * size);
  };
  feature = block(count * channels, size_of(p.type));
  mean = block(channels * positions, sizeof(float));
  factor = block(regions * p.outputs * channels, sizeof(float));
  for (size_t i = 0; i < channels * positions; ++i)
    mean->as<float>()[i] = static_cast<float>(uniform(random, -2.0, 4.0));
  // A triangular factor has numbers where nothing is to be read: they would show.
  for (size_t i = 0; i < regions * p.outputs * channels; ++i)
    factor->as<float>()[i] = static_cast<float>(uniform(random, -1.0, 1.0));
  for (size_t i = 0; i < count; ++i)
    for (size_t ch = 0; ch < channels; ++ch) {
      double value = uniform(random, -3.0, 5.0);
      if (c.bad && random() % (count * channels) < static_cast<size_t>(c.bad))
        value = random() % 2 ? INFINITY : std::nan("");
      const size_t n = i / positions, at = i % positions;
      const size_t place =
          p.layout == Layout::nhwc ? i * channels + ch : (n * channels + ch) * positions + at;
      features.push_back(put(p.type, feature->data(), place, value));
    }
}

WhitenIndexMemory::WhitenIndexMemory(const WhitenCase& c, const WhitenInputs& inputs)
    : memory(whiten_index_bytes(c.params)) {
  Block roi(c.roi.size());
  std::copy(c.roi.begin(), c.roi.end(), roi.as<uint8_t>());
  index = whiten_index(c.params, inputs.mean->as<float>(), inputs.factor->as<float>(),
                       c.roi.empty() ? nullptr : roi.as<uint8_t>(), memory.data());
}

void check_whiten(const WhitenCase& c, const WhitenTruth& truth, const Block& distance,
                  const char* set) {
  for (size_t i = 0; i < truth.distance.size(); ++i) {
    float given;
    std::memcpy(&given, distance.data() + 4 * i, sizeof given);
    const double expected = truth.distance[i];
    if (std::isfinite(expected) ? std::fabs(given - expected) <= truth.doubt[i]
                                : !std::isfinite(given))
      continue;
    fail("%s: distance[%zu] is %.9g, expected %.9g\n%s", set, i, given, expected, c.name().c_str());
  }
}

void run(const WhitenCase& c) {
  const WhitenParams& p = c.params;
  const WhitenInputs inputs(c);
  const WhitenTruth truth = whiten_truth(p, inputs.features, inputs.mean->as<float>(),
                                         inputs.factor->as<float>(), c.roi, c.batch);
  const WhitenIndexMemory ready(c, inputs);
  for (const Kernels* set : all_kernels()) {
    Block distance(sizeof(float) * c.batch * positions_of(p), c.offset % 16 * 4);
    Block workspace(whiten_workspace_bytes(p));
    set->whiten(p, ready.index, inputs.feature->data(), c.batch, distance.as<float>(),
                workspace.data());
    check_whiten(c, truth, distance, set->name);
  }
}

}  // namespace edgead

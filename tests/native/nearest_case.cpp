#include "nearest_case.h"

#include <algorithm>
#include <cmath>

#include "run.h"

namespace edgead {

namespace {

// A value of row or query i, channel c.
double drawn(Spread spread, Random& random, int32_t i, int32_t c) {
  std::normal_distribution<double> normal;
  const double value = normal(random);
  switch (spread) {
    case Spread::noise:
      return value;
    case Spread::falling:
      return 3.0 * value / std::pow(1 + c, 0.7);
    case Spread::equal:
      return std::sin(c) + (i < 0 ? value : 0.0);
    case Spread::far:
      return 1000.0 + 0.01 * value;
    case Spread::outlier:
      return i == 0 ? 5000.0 * value : value;
    case Spread::whole:
      return whole(random, -1, 1);
    case Spread::small:
      return 1e-3 * value;
    case Spread::grouped:  // whole tiles can be left out
      return 3.0 * std::sin((std::abs(i) % 7 + 1) * (c + 1)) + value;
  }
  return value;
}

}  // namespace

std::string NearestCase::name() const {
  const NearestParams& p = params;
  char text[320];
  std::snprintf(text, sizeof text,
                "nearest %d positions (width %d) x %d channels, %d rows, k %d, blended %d at %g, "
                "query type %d layout "
                "%d, memory type %d, search %d, roi %d, batch %d, spread %d, basis %g, bad %d, "
                "offset %zu, seed %llu",
                p.positions, p.width, p.channels, p.rows, p.k, p.blended, p.temperature,
                static_cast<int>(p.query_type), static_cast<int>(p.layout),
                static_cast<int>(p.memory_type), static_cast<int>(p.search), !roi.empty(), batch,
                static_cast<int>(spread), basis, bad, offset,
                static_cast<unsigned long long>(seed));
  return text;
}

NearestInputs::NearestInputs(const NearestCase& c) {
  const NearestParams& p = c.params;
  Random random(c.seed);
  const size_t channels = p.channels, count = static_cast<size_t>(c.batch) * p.positions;
  auto block = [&](size_t n, size_t size) {
    return std::make_unique<Block>(n * size, c.offset % 16 * size);
  };
  query = block(count * channels, size_of(p.query_type));
  rows = block(p.rows * channels, size_of(p.memory_type));
  scale = block(p.memory_type == Type::int8 ? channels : 0, sizeof(float));
  guess = block(static_cast<size_t>(p.positions) * p.k, sizeof(int32_t));
  std::vector<float> steps(channels, 1.0f);
  for (size_t i = 0; i < scale->bytes() / sizeof(float); ++i)
    scale->as<float>()[i] = steps[i] = static_cast<float>(uniform(random, 0.01, 0.05));
  for (int32_t i = 0; i < p.rows; ++i)
    for (size_t ch = 0; ch < channels; ++ch)
      memory.push_back(put(p.memory_type, rows->data(), i * channels + ch,
                           drawn(c.spread, random, i, static_cast<int32_t>(ch)), steps[ch]));
  for (size_t i = 0; i < count; ++i) {
    const bool copy = random() % 4 == 0;  // of a row, as far as its type can hold one
    const size_t row = random() % p.rows;
    for (size_t ch = 0; ch < channels; ++ch) {
      double value =
          copy ? memory[row * channels + ch]
               : drawn(c.spread, random, -1 - static_cast<int32_t>(i), static_cast<int32_t>(ch));
      if (c.bad && random() % (count * channels) < static_cast<size_t>(c.bad))
        value = random() % 2 ? INFINITY : std::nan("");
      const size_t n = i / p.positions, at = i % p.positions;
      const size_t place =
          p.layout == Layout::nhwc ? i * channels + ch : (n * channels + ch) * p.positions + at;
      queries.push_back(put(p.query_type, query->data(), place, value, 1.0f));
    }
  }
  for (int32_t i = 0; i < p.positions * p.k; ++i)
    guess->as<int32_t>()[i] = random() % 2 ? whole(random, -3, p.rows + 3) : -1;
  // Any origin and basis will do; this one is a part of the identity.
  for (size_t ch = 0; ch < channels; ++ch) mean.push_back(static_cast<float>(memory[ch]));
  const size_t components = std::min<size_t>(channels, kParts - 1);
  for (size_t i = 0; i < components; ++i)
    for (size_t ch = 0; ch < channels; ++ch)
      basis.push_back(i == ch ? static_cast<float>(c.basis) : 0.0f);
}

NearestIndexMemory::NearestIndexMemory(const NearestCase& c, const NearestInputs& inputs)
    : memory(nearest_index_bytes(c.params.rows, c.params.channels, c.params.search)) {
  const NearestParams& p = c.params;
  index = nearest_index(p.rows, p.channels, p.memory_type, p.search, inputs.rows->data(),
                        p.memory_type == Type::int8 ? inputs.scale->as<float>() : nullptr,
                        inputs.mean.data(), inputs.basis.data(), memory.data());
}

void check_nearest(const NearestCase& c, const std::vector<double>& truth, const Block& distance,
                   const char* set, const std::vector<double>& slack) {
  // A sum of so many squares >= 0 is off by so many roundings; the weights add kMaxNearest.
  const double share = (c.params.channels + 3 + kMaxNearest) * std::ldexp(1.0, -24);
  for (size_t i = 0; i < truth.size(); ++i) {
    float given;
    std::memcpy(&given, distance.data() + 4 * i, sizeof given);
    const double expected = truth[i];
    if (std::isnan(expected) ? std::isnan(given) : given == expected) continue;
    const double off = slack.empty() ? 0.0 : slack[i];
    if (!(std::fabs(given - expected) <= share * expected + c.params.channels * 1e-38 + off))
      fail("%s: distance[%zu] is %.9g, expected %.9g\n%s", set, i, given, expected,
           c.name().c_str());
  }
}

void run(const NearestCase& c) {
  const NearestParams& p = c.params;
  const NearestInputs inputs(c);
  std::vector<double> slack;
  const std::vector<double> truth =
      nearest_truth(p, inputs.queries, inputs.memory, c.roi, c.batch, &slack);
  const NearestIndexMemory ready(c, inputs);
  Block roi(c.roi.size());
  std::copy(c.roi.begin(), c.roi.end(), roi.as<uint8_t>());
  for (const NearestKernel* set : all_nearest_kernels()) {
    Block distance(sizeof(float) * c.batch * p.positions, c.offset % 16 * 4);
    Block guess(inputs.guess->bytes()), workspace(nearest_workspace_bytes(p));
    std::memcpy(guess.data(), inputs.guess->data(), guess.bytes());
    set->run(p, ready.index, inputs.query->data(), c.batch,
             c.roi.empty() ? nullptr : roi.as<uint8_t>(), distance.as<float>(), guess.as<int32_t>(),
             workspace.data());
    check_nearest(c, truth, distance, set->name, slack);
    for (int32_t i = 0; i < p.positions * p.k; ++i)
      if (guess.as<int32_t>()[i] < -1 || guess.as<int32_t>()[i] >= p.rows)
        fail("%s: row %d of the memory\n%s", set->name, guess.as<int32_t>()[i], c.name().c_str());
  }
}

}  // namespace edgead

#include "signals.h"

#include <algorithm>
#include <cmath>

#include "raise.h"

namespace edgead {

std::shared_ptr<const OpenedSignals> open_signals(
    const BundleFiles& bundle, const std::function<void(const ReadMemory&)>& check) {
  auto opened = std::make_shared<OpenedSignals>();
  for (const Memory& memory : bundle.manifest().memories) {
    ReadMemory read = read_memory(bundle, memory);
    if (check) check(read);
    opened->each.push_back(open_memory(std::move(read)));
  }
  for (const Whitening& whitening : bundle.manifest().whitenings)
    opened->each.push_back(open_whitening(read_whitening(bundle, whitening)));
  opened->own_levels = bundle.manifest().own_levels;
  return opened;
}

Signals::Signals(std::shared_ptr<const OpenedSignals> opened) : opened_(std::move(opened)) {
  size_t most = 0;
  for (const auto& signal : opened_->each) {
    const std::vector<float> empty(signal->positions());
    parts_.push_back({signal->session(), empty, signal->shown.empty() ? decltype(empty)() : empty});
    if (!signal->shown.empty()) shown_.push_back(parts_.back().counted.data());
    if (!signal->scored.empty()) scored_.resize(signal->positions());
    most = std::max(most, signal->positions());
  }
  zeros_.resize(most);
}

void Signals::run(const std::vector<const void*>& features) {
  std::fill(scored_.begin(), scored_.end(), 0.0f);
  for (size_t i = 0; i < parts_.size(); ++i) {
    const OpenedSignal& signal = *opened_->each[i];
    Part& part = parts_[i];
    part.session->run(static_cast<const float*>(features[i]), part.distance.data());
    for (size_t at = 0; at < part.counted.size(); ++at)
      part.counted[at] = part.distance[at] * signal.shown[at];
    for (size_t at = 0; at < signal.scored.size(); ++at)
      scored_[at] += part.distance[at] * signal.scored[at];
  }
  if (opened_->own_levels) raise();
}

void Signals::raise() {
  size_t positions = 0;  // the same in all that the map is told of
  for (const Part& part : parts_) positions = std::max(positions, part.counted.size());
  double roots = 0;
  for (size_t at = 0; at < positions; ++at) {
    float sum = 0;
    for (const Part& part : parts_)
      if (!part.counted.empty()) sum += part.counted[at];
    roots += static_cast<double>(std::sqrt(sum));
  }
  const auto& [lowest, highest] = *opened_->own_levels;
  const float factor = raise_factor(roots, static_cast<int32_t>(positions),
                                    static_cast<float>(lowest), static_cast<float>(highest));
  for (Part& part : parts_)
    for (float& distance : part.counted) distance *= factor;
  for (float& sum : scored_) sum *= factor;
}

}  // namespace edgead

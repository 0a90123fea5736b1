#include "signals.h"

#include <algorithm>

namespace edgead {

std::shared_ptr<const OpenedSignals> open_signals(
    const BundleFiles& bundle, const std::function<void(const ReadMemory&)>& check) {
  auto opened = std::make_shared<OpenedSignals>();
  for (const Memory& memory : bundle.manifest().memories) {
    ReadMemory read = read_memory(bundle, memory);
    if (check) check(read);
    opened->push_back(open_memory(std::move(read)));
  }
  for (const Whitening& whitening : bundle.manifest().whitenings)
    opened->push_back(open_whitening(read_whitening(bundle, whitening)));
  return opened;
}

Signals::Signals(std::shared_ptr<const OpenedSignals> opened) : opened_(std::move(opened)) {
  size_t most = 0;
  for (const auto& signal : *opened_) {
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
    const OpenedSignal& signal = *(*opened_)[i];
    Part& part = parts_[i];
    part.session->run(static_cast<const float*>(features[i]), part.distance.data());
    for (size_t at = 0; at < part.counted.size(); ++at)
      part.counted[at] = part.distance[at] * signal.shown[at];
    for (size_t at = 0; at < signal.scored.size(); ++at)
      scored_[at] += part.distance[at] * signal.scored[at];
  }
}

}  // namespace edgead

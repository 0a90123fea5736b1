#include "detector.h"

#include "failure.h"
#include "ignore_mask.h"

namespace edgead {
namespace {

// Which pixels of the map of a whole frame count; empty: all.
std::vector<uint8_t> roi_of(const Bundle& bundle, const std::vector<uint8_t>& ignored, Size map) {
  if (ignored.empty()) return {};
  try {
    return region_of_interest(ignored, bundle.manifest().ignore->frame_size, map);
  } catch (const Failure& failure) {
    throw bundle_failure("bundle " + bundle.path() + ": " + failure.what());
  }
}

Ranked ranked_peaks(const Manifest& manifest) {
  const OwnCalibration held = manifest.calibration_of_float32();
  // With max pooling of the map its peak is its score, so both share one tolerance.
  const bool is_score =
      static_cast<Pooling>(manifest.map.pooling) == Pooling::max && !manifest.scored_size();
  return Ranked(held.peaks, is_score ? held.ties.score : held.ties.map);
}

Ranked ranked_scores(const Manifest& manifest) {
  const OwnCalibration held = manifest.calibration_of_float32();
  return Ranked(held.scores, held.ties.score);
}

}  // namespace

Detector::Detector(const std::string& path, double rate, int32_t threads)
    : Detector(Bundle(path), rate, threads) {}

Detector::Detector(const Bundle& bundle, double rate, int32_t threads)
    : manifest_(bundle.manifest()),
      bundle_sha256_(bundle.sha256()),
      scores_(ranked_scores(manifest_)),
      peaks_(ranked_peaks(manifest_)),
      limits_(limits_of(rate != 0 ? rate : manifest_.calibration.false_reject_rate)) {
  served_ = {open_openvino(bundle, threads), nullptr, nullptr, nullptr};
  std::vector<uint8_t> roi;
  if (!manifest_.tiling)
    roi = roi_of(bundle, bundle.ignored(), manifest_.map.size);
  else if (manifest_.ignore)
    served_.ignored =
        std::make_shared<const Ignored>(Ignored{bundle.ignored(), manifest_.ignore->frame_size});
  served_.plan = std::make_shared<const MapPlan>(manifest_.map, levels_of(manifest_), roi);
  if (const auto size = manifest_.scored_size()) {
    const std::vector<AnomalyMapLevel> alone{{1, size->first, size->second, 1}};
    served_.score_plan = std::make_shared<const MapPlan>(manifest_.map, alone, roi);
  }
  qualify(bundle, engine(), *pipeline());
}

Limits Detector::limits_of(double rate) const {
  return {rate, scores_.threshold(rate), peaks_.threshold(rate)};
}

Limits Detector::limits() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return limits_;
}

void Detector::set_rate(double rate) {
  const Limits limits = limits_of(rate);
  const std::lock_guard<std::mutex> lock(mutex_);
  limits_ = limits;
}

std::unique_ptr<Pipeline> Detector::pipeline() const {
  return std::make_unique<Pipeline>(manifest_, served_);
}

}  // namespace edgead

#include "detector.h"

#include "failure.h"
#include "ignore_mask.h"
#include "libcrypto.h"
#include "wording.h"

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

Ranked ranked_peaks(const Manifest& manifest, const std::string& precision) {
  const OwnCalibration held = manifest.calibration_of(precision);
  return Ranked(held.peaks, manifest.peak_ties(held), manifest.calibration.parts);
}

Ranked ranked_scores(const Manifest& manifest, const std::string& precision) {
  const OwnCalibration held = manifest.calibration_of(precision);
  return Ranked(held.scores, held.ties.score, manifest.calibration.parts);
}

Served served_of(const Bundle& bundle, const Asked& asked) {
  const Manifest& manifest = bundle.manifest();
  Served served{open_engine(bundle, asked), nullptr, nullptr, nullptr};
  check_golden_maps(bundle);
  std::vector<uint8_t> roi;
  if (!manifest.tiling)
    roi = roi_of(bundle, bundle.ignored(), manifest.map.size);
  else if (manifest.ignore)
    served.ignored =
        std::make_shared<const Ignored>(Ignored{bundle.ignored(), manifest.ignore->frame_size});
  served.plan = std::make_shared<const MapPlan>(manifest.map, manifest.levels(), roi);
  if (const auto size = manifest.scored_size()) {
    const std::vector<AnomalyMapLevel> alone{{1, size->first, size->second, 1}};
    served.score_plan = std::make_shared<const MapPlan>(manifest.map, alone, roi);
  }
  return served;
}

std::optional<Signed> signed_of(const Bundle& bundle, const std::optional<TrustedKeys>& trusted) {
  if (!trusted) return std::nullopt;
  try {
    return check_signatures(bundle.signatures(), bundle.sha256(), &*trusted, libcrypto_fits);
  } catch (const Failure& failure) {
    if (failure.status != EDGEAD_ERROR_SIGNATURE) throw;
    throw Failure(failure.status, "bundle " + bundle.path() + " " + failure.what());
  }
}

double checked_rate(const Manifest& manifest, double rate) {
  const Calibration& held = manifest.calibration;
  const Ranked ranked(held.scores, 0, held.parts);
  return check_false_reject_rate(rate != 0 ? rate : held.false_reject_rate, ranked.size(),
                                 ranked.counted());
}

}  // namespace

Detector::Detector(Folder folder, double rate, const Asked& asked, const Log& log,
                   const std::optional<TrustedKeys>& trusted)
    : Detector(Bundle(std::move(folder)), rate, asked, log, trusted) {}

Detector::Detector(const Bundle& bundle, double rate, const Asked& asked, const Log& log,
                   const std::optional<TrustedKeys>& trusted)
    : log_(log),
      signed_(signed_of(bundle, trusted)),  // before anything of it is used
      manifest_(bundle.manifest()),
      bundle_sha256_(bundle.sha256()),
      limits_{checked_rate(manifest_, rate), 0, 0},  // before what takes long
      served_(served_of(bundle, asked)),
      scores_(ranked_scores(manifest_, engine().precision)),
      peaks_(ranked_peaks(manifest_, engine().precision)) {
  qualify(bundle, engine(), *pipeline());
  limits_ = limits_of(limits_.rate);
  kernels_ = engine().kernels();
  if (log_.wants(EDGEAD_LOG_INFO)) log_.say(EDGEAD_LOG_INFO, opened(bundle));
}

// What serves, in a sentence.
std::string Detector::opened(const Bundle& bundle) const {
  return format(
      "bundle %s (%.12s): all %zu files have their digests, %zu golden frames are reproduced by %s "
      "(%s, %s, kernels %s); false-reject rate %g, threshold %g%s",
      bundle.path().c_str(), bundle_sha256_.c_str(), manifest_.files.size(),
      manifest_.golden.size(), engine().device.c_str(), engine().version.c_str(),
      engine().precision.c_str(), kernels_.c_str(), limits_.rate, limits_.threshold,
      signed_ ? format("; signed by %s, counter %lld", signed_->by.c_str(),
                       static_cast<long long>(signed_->counter))
                    .c_str()
              : "");
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
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    limits_ = limits;
  }
  if (log_.wants(EDGEAD_LOG_INFO))
    log_.say(EDGEAD_LOG_INFO, format("bundle %s: false-reject rate %g, threshold %g",
                                     manifest_.name.c_str(), limits.rate, limits.threshold));
}

std::unique_ptr<Pipeline> Detector::pipeline() const {
  return std::make_unique<Pipeline>(manifest_, served_);
}

}  // namespace edgead

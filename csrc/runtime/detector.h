// A bundle that is served: verified, compiled, qualified; edgead/detector.py.
#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "calibration.h"
#include "log.h"
#include "pipeline.h"
#include "signature.h"

namespace edgead {

// What follows from the allowed false-reject rate.
struct Limits {
  double rate, threshold, map_threshold;
};

class Detector {
 public:
  // rate: 0 for the bundle's. trusted: keys, one of which must have signed it; empty: the
  // signature is not looked at.
  Detector(Folder folder, double rate, const Asked& asked, const Log& log,
           const std::optional<TrustedKeys>& trusted);

  const Manifest& manifest() const { return manifest_; }
  const Engine& engine() const { return *served_.engine; }
  const std::string& kernels() const { return kernels_; }
  const std::string& bundle_sha256() const { return bundle_sha256_; }
  const std::optional<Signed>& signed_by() const { return signed_; }  // where that was asked for
  const Ranked& ranked() const { return scores_; }

  Limits limits() const;
  void set_rate(double rate);
  const Log& log() const { return log_; }
  std::unique_ptr<Pipeline> pipeline() const;

 private:
  Detector(const Bundle& bundle, double rate, const Asked& asked, const Log& log,
           const std::optional<TrustedKeys>& trusted);
  Limits limits_of(double rate) const;
  std::string opened(const Bundle& bundle) const;

  Log log_;
  std::optional<Signed> signed_;
  Manifest manifest_;
  std::string bundle_sha256_;
  mutable std::mutex mutex_;  // of limits_
  Limits limits_;
  Served served_;
  Ranked scores_, peaks_;  // of the engine's precision
  std::string kernels_;    // of the engine, once it is qualified
};

// Failure for golden maps that are smaller than the manifest says: before memory is taken for one.
void check_golden_maps(const Bundle& bundle);

// Scores the golden frames; Failure when one is over the tolerance. edgead/serving/qualification.py
void qualify(const Bundle& bundle, const Engine& engine, Pipeline& pipeline);

}  // namespace edgead

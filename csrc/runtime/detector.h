// A bundle that is served: verified, compiled, qualified; edgead/detector.py.
#pragma once
#include <memory>
#include <mutex>
#include <string>

#include "calibration.h"
#include "log.h"
#include "pipeline.h"

namespace edgead {

// What follows from the allowed false-reject rate.
struct Limits {
  double rate, threshold, map_threshold;
};

// How a bundle is opened.
struct Asked {
  double rate;      // 0: the bundle's
  int32_t threads;  // of one inference; 0: the engine's choice
  Log log;
};

class Detector {
 public:
  Detector(Folder folder, const Asked& asked);

  const Manifest& manifest() const { return manifest_; }
  const Engine& engine() const { return *served_.engine; }
  const std::string& bundle_sha256() const { return bundle_sha256_; }
  const Ranked& ranked() const { return scores_; }
  const char* kernels() const { return kernels_; }  // their instruction set

  Limits limits() const;
  void set_rate(double rate);
  const Log& log() const { return log_; }
  std::unique_ptr<Pipeline> pipeline() const;

 private:
  Detector(const Bundle& bundle, const Asked& asked);
  Limits limits_of(double rate) const;
  std::string opened(const Bundle& bundle) const;

  Log log_;
  const char* kernels_ = all_kernels().front()->name;
  Manifest manifest_;
  std::string bundle_sha256_;
  Ranked scores_, peaks_;
  mutable std::mutex mutex_;  // of limits_
  Limits limits_;
  Served served_;
};

// Scores the golden frames; Failure when one is over the tolerance. edgead/serving/qualification.py
void qualify(const Bundle& bundle, const Engine& engine, Pipeline& pipeline);

}  // namespace edgead

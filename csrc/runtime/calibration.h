// From a score to a promise: split-conformal p-values; edgead/calibration.py is this for Python,
// and adds no rule.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace edgead {

// Scores of n calibration images plus a tolerance, ascending: those within the tolerance below a
// score count as ties. No score is NaN. Images of one part share the weight of one: n is then the
// number of parts (Lee, Barber, Willett, arXiv 2306.06342: hierarchical conformal prediction).
class Ranked {
 public:
  // parts: which part each image shows, by any numbers; empty: each one of its own.
  Ranked(const std::vector<double>& scores, double tolerance,
         const std::vector<int64_t>& parts = {});

  // (1 + sum over parts of the share of its images that are at least `score`) / (n + 1).
  // Failure for a score that is NaN.
  double p_value(double score) const;
  // The smallest t such that exactly the scores above it have p_value <= rate; a rate of
  // check_false_reject_rate.
  double threshold(double rate) const;
  int64_t size() const { return size_; }
  // What n counts, for messages: "images", or "parts" where one shows several.
  const char* counted() const;

 private:
  double rate_above(size_t rank) const;

  int64_t size_;
  std::vector<double> values_;
  std::vector<double> tails_;  // for each rank and the end: what the values from there on weigh
};

// The lowest false-reject rate that n calibration images can promise; that, or 5 % where they can.
double best_false_reject_rate(int64_t n);
double default_false_reject_rate(int64_t n);

// `rate`, where n calibration images, or what else is `counted`, can promise it; else a Failure
// that says which they can.
double check_false_reject_rate(double rate, int64_t n, const std::string& counted = "images");

// The lowest rate of four digits that is not under `best`: one that can be typed as it is.
std::string typed_rate(double best);

// How many calibration images promise `rate`: the smallest n with 1 / (n + 1) <= rate.
double images_needed(double rate);

}  // namespace edgead

#include "calibration.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdlib>

#include "failure.h"
#include "wording.h"

namespace edgead {
namespace {

double best_rate(double n) { return 1.0 / (n + 1.0); }

Failure calibration_failure(const std::string& sentence) {
  return Failure(EDGEAD_ERROR_CALIBRATION, sentence);
}

}  // namespace

Ranked::Ranked(const std::vector<double>& scores, double tolerance) : values_(scores) {
  if (values_.empty())
    throw calibration_failure("there are no calibration scores; export with calibration images");
  for (double& value : values_) value += tolerance;
  std::sort(values_.begin(), values_.end());
}

double Ranked::p_value(double score) const {
  if (std::isnan(score)) throw calibration_failure("a score that is NaN has no p-value");
  const auto first = std::lower_bound(values_.begin(), values_.end(), score);
  return static_cast<double>(1 + (values_.end() - first)) / static_cast<double>(size() + 1);
}

double Ranked::threshold(double rate) const {
  check_false_reject_rate(rate, size());
  const double all = static_cast<double>(size() + 1);
  // The largest count j with p = j / (n + 1) <= rate, compared as p_value compares it.
  int64_t low = 0, high = size();
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (static_cast<double>(middle) / all <= rate) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return values_[static_cast<size_t>(size() - low)];
}

double best_false_reject_rate(int64_t n) { return best_rate(static_cast<double>(n)); }

double default_false_reject_rate(int64_t n) { return std::max(0.05, best_false_reject_rate(n)); }

std::string typed_rate(double best) {
  const std::string text = format("%.4g", best);
  const double typed = std::strtod(text.c_str(), nullptr);
  if (typed >= best) return text;
  return format("%.4g", typed + std::pow(10.0, std::floor(std::log10(best)) - 3));
}

double images_needed(double rate) {
  const double n = std::max(1.0, std::ceil(1.0 / std::max(rate, DBL_MIN)) - 1.0);
  if (n > 4503599627370496.0) return n;  // 2^52, whose neighbours float64 does not tell apart
  for (const double k : {std::max(1.0, n - 1.0), n})
    if (best_rate(k) <= rate) return k;
  return n + 1.0;
}

double check_false_reject_rate(double rate, int64_t n) {
  if (!(rate > 0.0 && rate < 1.0))
    throw calibration_failure("false-reject rate " + shown(rate) +
                              ": expected a number between 0 and 1");
  const double best = best_false_reject_rate(n);
  if (rate < best)
    throw calibration_failure(format(
        "false-reject rate %g is more than %lld calibration images can promise: the best "
        "possible is %s; %g needs %.15g images",
        rate, static_cast<long long>(n), typed_rate(best).c_str(), rate, images_needed(rate)));
  return rate;
}

}  // namespace edgead

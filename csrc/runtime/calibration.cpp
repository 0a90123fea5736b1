#include "calibration.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstdlib>
#include <map>
#include <utility>

#include "failure.h"
#include "wording.h"

namespace edgead {
namespace {

double best_rate(double n) { return 1.0 / (n + 1.0); }

Failure calibration_failure(const std::string& sentence) {
  return Failure(EDGEAD_ERROR_CALIBRATION, sentence);
}

}  // namespace

Ranked::Ranked(const std::vector<double>& scores, double tolerance,
               const std::vector<int64_t>& parts)
    : size_(static_cast<int64_t>(scores.size())) {
  if (scores.empty())
    throw calibration_failure("there are no calibration scores; export with calibration images");
  std::map<int64_t, int64_t> images;  // of each part
  for (const int64_t part : parts) ++images[part];
  if (!parts.empty()) size_ = static_cast<int64_t>(images.size());
  std::vector<std::pair<double, int64_t>> ranked;  // a value, and how many images its part has
  for (size_t i = 0; i < scores.size(); ++i)
    ranked.emplace_back(scores[i] + tolerance, parts.empty() ? 1 : images[parts[i]]);
  std::sort(ranked.begin(), ranked.end());
  for (const auto& [value, _] : ranked) values_.push_back(value);
  // Whole numbers of images, by how many their part has, so that the sum rounds once for each of
  // these numbers, and not at all where every image is a part of its own.
  tails_.assign(ranked.size() + 1, 0.0);
  std::map<int64_t, int64_t> counts;
  for (size_t rank = ranked.size(); rank-- > 0;) {
    ++counts[ranked[rank].second];
    for (const auto& [of, count] : counts)
      tails_[rank] += static_cast<double>(count) / static_cast<double>(of);
  }
}

const char* Ranked::counted() const {
  return size_ == static_cast<int64_t>(values_.size()) ? "images" : "parts";
}

// The p-value of a score that is above all values below `rank`, and no other.
double Ranked::rate_above(size_t rank) const {
  return (1.0 + tails_[rank]) / static_cast<double>(size_ + 1);
}

double Ranked::p_value(double score) const {
  if (std::isnan(score)) throw calibration_failure("a score that is NaN has no p-value");
  const auto first = std::lower_bound(values_.begin(), values_.end(), score);
  return rate_above(static_cast<size_t>(first - values_.begin()));
}

double Ranked::threshold(double rate) const {
  check_false_reject_rate(rate, size(), counted());
  // The first rank whose value has only scores of p <= rate above it, compared as p_value does.
  size_t low = 0, high = values_.size() - 1;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (rate_above(middle + 1) <= rate) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return values_[low];
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

double check_false_reject_rate(double rate, int64_t n, const std::string& counted) {
  if (!(rate > 0.0 && rate < 1.0))
    throw calibration_failure("false-reject rate " + shown(rate) +
                              ": expected a number between 0 and 1");
  const double best = best_false_reject_rate(n);
  if (rate < best)
    throw calibration_failure(
        format("false-reject rate %g is more than %lld calibration %s can promise: the best "
               "possible is %s; %g needs %.15g %s",
               rate, static_cast<long long>(n), counted.c_str(), typed_rate(best).c_str(), rate,
               images_needed(rate), counted.c_str()));
  return rate;
}

}  // namespace edgead

#include "golden_check.h"

#include <algorithm>
#include <cmath>

#include "wording.h"

namespace edgead {

double growth(double value, double usual) {
  return usual > 0 ? std::max(1.0, std::abs(value) / usual) : 1.0;
}

GoldenCheck compare_golden(const Manifest& manifest, const Golden& golden,
                           const Tolerance& tolerance, double score, const float* map,
                           const std::vector<float>& expected) {
  const Calibration& calibration = manifest.calibration;
  const auto largest = [](const std::vector<double>& values) {
    return *std::max_element(values.begin(), values.end());
  };
  const double usual_peak = largest(calibration.peaks);
  GoldenCheck found{golden.image, score, golden.score, std::abs(score - golden.score), 0,
                    tolerance};
  double worst = -1, grown = 1;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double gap = std::abs(static_cast<double>(map[i]) - expected[i]);
    const double at = growth(expected[i], usual_peak);
    if (gap / at <= worst) continue;
    worst = gap / at, grown = at, found.map_difference = gap;
    if (std::isnan(gap)) break;  // nothing is worse
  }
  found.tolerance.score *= growth(golden.score, largest(calibration.scores));
  found.tolerance.map *= grown;
  return found;
}

std::vector<std::string> causes_of_difference(const std::string& precision) {
  std::vector<std::string> causes{
      "either the engine computes differently here: export the bundle again with the OpenVINO of "
      "this machine, or install the one it was made with",
      "or settings in manifest.json were changed: copy the bundle again"};
  if (precision != "float32")
    causes.insert(causes.begin(),
                  precision + " has too few bits for this model: serve it in float32");
  return causes;
}

std::string problem_of_golden(const std::vector<GoldenCheck>& checks, const std::string& engine,
                              const std::string& precision, const std::string& path) {
  const GoldenCheck* worst = nullptr;
  size_t failed = 0;
  for (const GoldenCheck& check : checks) {
    if (check.passed()) continue;
    ++failed;
    if (worst == nullptr || check.score_difference > worst->score_difference) worst = &check;
  }
  if (worst == nullptr) return "";
  std::string causes;
  for (const std::string& cause : causes_of_difference(precision))
    causes += (causes.empty() ? "" : "; ") + cause;
  return engine + " does not reproduce " + std::to_string(failed) + " of " +
         std::to_string(checks.size()) + " golden frames of " + path + ": " + worst->image +
         format(
             " scores %.7g instead of %.7g (off by %.3g, allowed %.3g), its map is off by up to "
             "%.3g (allowed %.3g): ",
             worst->score, worst->expected_score, worst->score_difference, worst->tolerance.score,
             worst->map_difference, worst->tolerance.map) +
         causes;
}

}  // namespace edgead

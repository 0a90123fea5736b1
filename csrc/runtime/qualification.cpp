#include <algorithm>
#include <cmath>

#include "detector.h"
#include "failure.h"
#include "wording.h"

namespace edgead {
namespace {

constexpr const char* kCauses =
    "either the engine computes differently here: export the bundle again with the OpenVINO of "
    "this machine, or install the one it was made with; or settings in manifest.json were changed: "
    "copy the bundle again";

std::string causes(const std::string& precision) {
  if (precision == "float32") return kCauses;
  return precision + " has too few bits for this model: serve it in float32; " + kCauses;
}

// How many times a tolerance counts at an expected value: once up to the largest of the
// calibration images, beyond it in proportion, as rounding grows.
double growth(double value, double usual) {
  return usual > 0 ? std::max(1.0, std::abs(value) / usual) : 1.0;
}

struct Check {
  const Golden* golden;
  double score, score_difference, map_difference;
  Tolerance tolerance;

  bool passed() const {
    return score_difference <= tolerance.score && map_difference <= tolerance.map;
  }
};

// Of the map of a golden frame: of its tiles together, where it is tiled.
Size map_size(const Bundle& bundle, const Golden& golden, const Image& image) {
  const Manifest& manifest = bundle.manifest();
  if (!manifest.tiling) return manifest.map.size;
  try {
    return plan_tiles(*manifest.tiling, image.size, manifest.map.size).map_size();
  } catch (const Failure& failure) {
    throw bundle_failure("bundle " + bundle.path() + ": " + golden.image + ": " + failure.what());
  }
}

Check check(const Bundle& bundle, const Golden& golden, const Tolerance& tolerance,
            Pipeline& pipeline) {
  const Manifest& manifest = bundle.manifest();
  const Image image = bundle.read_image(golden.image);
  const std::vector<float> expected = bundle.read_map(golden.map, map_size(bundle, golden, image));
  Check found{&golden, 0, 0, 0, tolerance};
  Times times;
  try {
    found.score = pipeline.run(frame_of(image), times);
  } catch (const Failure& failure) {
    if (failure.status == EDGEAD_ERROR_DEVICE)
      throw device_failure("golden frame " + golden.image + ": " + failure.what());
    throw bundle_failure("bundle " + bundle.path() + ": " + golden.image + ": " + failure.what());
  }
  const Calibration& held = manifest.calibration;
  const double usual_score = *std::max_element(held.scores.begin(), held.scores.end());
  const float* map = pipeline.map().values;
  const double usual_peak = *std::max_element(held.peaks.begin(), held.peaks.end());
  double worst = -1, grown = 1;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double gap = std::abs(static_cast<double>(map[i]) - expected[i]);
    const double at = growth(expected[i], usual_peak);
    if (gap / at <= worst) continue;
    worst = gap / at, grown = at, found.map_difference = gap;
    if (std::isnan(gap)) break;  // nothing is worse
  }
  found.score_difference = std::abs(found.score - golden.score);
  found.tolerance.score *= growth(golden.score, usual_score);
  found.tolerance.map *= grown;
  return found;
}

}  // namespace

void check_golden_maps(const Bundle& bundle) {
  const Size least = bundle.manifest().map.size;
  for (const Golden& golden : bundle.manifest().golden) {
    const std::vector<int64_t> shape = bundle.read_array(golden.map).shape;
    if (shape.size() == 2 && shape[0] >= least.first && shape[1] >= least.second) continue;
    bundle.read_map(golden.map, map_size(bundle, golden, bundle.read_image(golden.image)));
  }
}

void qualify(const Bundle& bundle, const Engine& engine, Pipeline& pipeline) {
  const auto& golden = bundle.manifest().golden;
  const Tolerance tolerance = bundle.manifest().tolerance_of(engine.precision);
  std::vector<Check> failed;
  for (const Golden& each : golden) {
    const Check found = check(bundle, each, tolerance, pipeline);
    if (!found.passed()) failed.push_back(found);
  }
  if (failed.empty()) return;
  const Check& worst = *std::max_element(failed.begin(), failed.end(), [](auto& a, auto& b) {
    return a.score_difference < b.score_difference;
  });
  throw Failure(
      EDGEAD_ERROR_QUALIFICATION,
      engine.device + " (" + engine.version + ", " + engine.precision + ") does not reproduce " +
          std::to_string(failed.size()) + " of " + std::to_string(golden.size()) +
          " golden frames of " + bundle.path() + ": " + worst.golden->image +
          format(" scores %.7g instead of %.7g (off by %.3g, allowed %.3g), its map is off by up "
                 "to %.3g (allowed %.3g): ",
                 worst.score, worst.golden->score, worst.score_difference, worst.tolerance.score,
                 worst.map_difference, worst.tolerance.map) +
          causes(engine.precision));
}

}  // namespace edgead

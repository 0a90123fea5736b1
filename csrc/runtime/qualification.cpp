#include "detector.h"
#include "failure.h"
#include "golden_check.h"

namespace edgead {
namespace {

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

GoldenCheck check(const Bundle& bundle, const Golden& golden, const Tolerance& tolerance,
                  Pipeline& pipeline) {
  const Image image = bundle.read_image(golden.image);
  const std::vector<float> expected = bundle.read_map(golden.map, map_size(bundle, golden, image));
  double score = 0;
  Times times;
  try {
    score = pipeline.run(frame_of(image), times);
  } catch (const Failure& failure) {
    if (failure.status == EDGEAD_ERROR_DEVICE)
      throw device_failure("golden frame " + golden.image + ": " + failure.what());
    throw bundle_failure("bundle " + bundle.path() + ": " + golden.image + ": " + failure.what());
  }
  return compare_golden(bundle.manifest(), golden, tolerance, score, pipeline.map().values,
                        expected);
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
  const Tolerance tolerance = bundle.manifest().tolerance_of(engine.precision);
  std::vector<GoldenCheck> checks;
  for (const Golden& golden : bundle.manifest().golden)
    checks.push_back(check(bundle, golden, tolerance, pipeline));
  const std::string name = engine.device + " (" + engine.version + ", " + engine.precision + ")";
  const std::string problem = problem_of_golden(checks, name, engine.precision, bundle.path());
  if (!problem.empty()) throw Failure(EDGEAD_ERROR_QUALIFICATION, problem);
}

}  // namespace edgead

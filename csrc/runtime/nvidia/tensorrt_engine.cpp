// TensorRT on the first NVIDIA GPU: this machine's own plan, tensors by their names, a batch of
// one; edgead/nvidia/engine.py. It has not been run on a GPU.
#include "device_stages.h"
#include "engine.h"
#include "plan_cache.h"
#include "sha256.h"
#include "wording.h"

namespace edgead {
namespace {

constexpr const char* kPrecision = "float16";  // when nothing else is asked for

std::string precision_of(const Asked& asked) {
  return asked.precision.empty() ? kPrecision : asked.precision;
}

bool is_there(const Manifest& manifest, const std::string& precision) {
  return manifest.models.count(precision) == 1;
}

CachedPlan own_plan(const Bundle& bundle, const Device& device, const std::string& precision) {
  const std::string onnx = bundle.read(bundle.manifest().models.at(precision));
  const PlanAsked asked{tensorrt_version(), device.word(), sha256(onnx), precision};
  const PlanCache cache;
  if (auto found = cache.find(asked)) return *found;
  const PlanCache::Lock lock(cache, asked.key());
  if (auto found = cache.find(asked)) return *found;  // another process has built it meanwhile
  const BuiltPlan built = build_plan(onnx, bundle.manifest().tensors(), precision);
  return cache.store(asked, bundle.manifest().name, built);
}

std::shared_ptr<const OnGpu> bring(const Bundle& bundle, const std::string& precision) {
  const Manifest& manifest = bundle.manifest();
  auto gpu = std::make_shared<OnGpu>();
  const auto device = std::make_shared<const Device>();
  device->run("opening a detector", [&] {
    const CachedPlan plan = own_plan(bundle, *device, precision);
    gpu->plan =
        std::make_shared<const LoadedPlan>(device, plan.data, plan.path, manifest.tensors());
    gpu->held = hold_signals(bundle, *device);
  });
  gpu->device = device;
  gpu->input = manifest.input;
  gpu->tiled = manifest.tiling.has_value();
  for (const Pair& pair : manifest.pairs) {
    gpu->reference.push_back(pair.reference);
    gpu->restored.push_back(pair.restored);
  }
  for (const Signal& signal : manifest.signals()) gpu->features.push_back(signal.features);
  return gpu;
}

class TensorRTEngine : public Engine {
 public:
  TensorRTEngine(const Bundle& bundle, const Asked& asked) {
    precision = precision_of(asked);
    if (!is_there(bundle.manifest(), precision))
      throw bundle_failure("bundle " + bundle.path() + " has no " + precision +
                           " graph: export or learn it again with that precision; a GPU computes "
                           "in what the graph says");
    gpu_ = bring(bundle, precision);
    device = gpu_->device->text();
    version = tensorrt_text();
  }

  std::unique_ptr<Stages> stages(const Served& served) override {
    return device_stages(gpu_, served, capture_);
  }

  std::string kernels() const override {
    const std::string refusal = capture_->refusal();
    return refusal.empty() ? "cuda" : "cuda, without a CUDA graph: " + refusal;
  }

 private:
  std::shared_ptr<const OnGpu> gpu_;
  std::shared_ptr<Capture> capture_ = std::make_shared<Capture>();
};

}  // namespace

std::unique_ptr<Engine> open_tensorrt(const Bundle& bundle, const Asked& asked) {
  return std::make_unique<TensorRTEngine>(bundle, asked);
}

std::string obstacle_of_gpu(const Bundle& bundle, const Asked& asked) {
  try {
    const Device device;
  } catch (const Failure& failure) {
    return failure.what();
  }
  const std::string precision = precision_of(asked);
  if (is_there(bundle.manifest(), precision)) return "";
  return "the bundle has no " + precision + " graph: export or learn it again with it";
}

}  // namespace edgead

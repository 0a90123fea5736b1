// Which engines are here, and which one serves; edgead/serving/choice.py.
#include <iterator>
#include <set>

#include "engine.h"
#include "failure.h"
#include "wording.h"

namespace edgead {
namespace {

struct Known {
  const char* name;
  void (*check)();
};

constexpr Known kEngines[] = {
#ifdef EDGEAD_OPENVINO
    {"openvino", check_openvino},
#endif
#ifdef EDGEAD_TENSORRT
    {"tensorrt", [] {}},  // libedgead is linked with it
#endif
};

[[maybe_unused]] Failure not_built_in(const char* device, const char* engine, const char* option) {
  return device_failure(
      format("device \"%s\": this libedgead was built without %s: build it with "
             "-D%s=ON, or ask for another device",
             device, engine, option));
}

std::unique_ptr<Engine> on_cpu([[maybe_unused]] const Bundle& bundle,
                               [[maybe_unused]] const Asked& asked) {
#ifdef EDGEAD_OPENVINO
  return open_openvino(bundle, asked);
#else
  throw not_built_in("cpu", "OpenVINO", "EDGEAD_OPENVINO");
#endif
}

}  // namespace

Asked asked_of(int32_t threads, const char* precision, const char* device) {
  const std::set<std::string> precisions{"float32", "float16", "bfloat16", "int8"};
  if (precision != nullptr && precisions.count(precision) == 0)
    throw input_failure("precision " + in_quotes(precision) +
                        ": expected one of float32, float16, bfloat16, int8, or NULL");
  const std::set<std::string> devices{"cpu", "gpu", "auto"};
  if (device != nullptr && devices.count(device) == 0)
    throw input_failure("device " + in_quotes(device) +
                        ": expected \"cpu\", \"gpu\", \"auto\", or NULL for the CPU");
  if (threads < 0)
    throw input_failure(
        format("threads is %d, expected 1 or more, or 0 for the engine's choice", threads));
  return {threads, precision == nullptr ? "" : precision, device == nullptr ? "cpu" : device};
}

const char* engine_name(size_t index) {
  return index < std::size(kEngines) ? kEngines[index].name : nullptr;
}

void check_engine(size_t index) {
  if (index >= std::size(kEngines))
    throw input_failure(
        format("engine is %zu, expected a number below %zu, how many this libedgead has", index,
               std::size(kEngines)));
  kEngines[index].check();
}

std::unique_ptr<Engine> open_engine(const Bundle& bundle, const Asked& asked) {
  if (asked.device == "cpu") return on_cpu(bundle, asked);
#ifdef EDGEAD_TENSORRT
  if (asked.device == "gpu") return open_tensorrt(bundle, asked);
  const std::string obstacle = obstacle_of_gpu(bundle, asked);
  if (obstacle.empty()) {
    auto engine = open_tensorrt(bundle, asked);
    engine->chosen = "auto: a GPU that can serve";
    return engine;
  }
#else
  if (asked.device == "gpu") throw not_built_in("gpu", "TensorRT", "EDGEAD_TENSORRT");
  const std::string obstacle = "this libedgead was built without TensorRT";
#endif
  auto engine = on_cpu(bundle, asked);
  engine->chosen = "auto: no GPU: " + obstacle;
  return engine;
}

}  // namespace edgead

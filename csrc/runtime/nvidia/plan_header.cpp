#include "plan_header.h"

#include "tensorrt_log.h"
#include "wording.h"

namespace edgead {

std::string said_by_header(const std::string& plan) {
  constexpr size_t kVersion = 24, kBytes = 32;
  if (plan.size() < kBytes) return format(" (it has %zu bytes, fewer than a header)", plan.size());
  const std::string magic = plan.substr(0, 4);
  if (magic == "vtrt") return " (it is a plan of TensorRT-RTX)";
  if (magic != "ftrt") return " (it is not a plan of TensorRT)";
  const auto byte = [&](size_t i) { return static_cast<int>(static_cast<unsigned char>(plan[i])); };
  const int major = byte(kVersion);
  const bool old = plan.substr(4, 4) != std::string(4, '\0');  // of another layout
  if (old || major < 8 || major > 40) return "";               // these bytes are no version
  const std::string version = format("%d.%d.%d", major, byte(kVersion + 1), byte(kVersion + 2));
  return version == tensorrt_version() ? "" : " (its header says TensorRT " + version + ")";
}

}  // namespace edgead

#include "pooling.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "failure.h"
#include "wording.h"

namespace edgead {

double pool(const float* values, const uint8_t* roi, size_t count, Pooling pooling, double share,
            float* scratch) {
  size_t kept = 0;
  double sum = 0;
  float largest = -std::numeric_limits<float>::infinity();
  bool is_number = true;  // nothing is sorted that is not
  for (size_t i = 0; i < count; ++i) {
    if (roi != nullptr && roi[i] == 0) continue;
    scratch[kept++] = values[i];
    sum += values[i];
    largest = std::max(largest, values[i]);
    is_number &= !std::isnan(values[i]);
  }
  if (!is_number || kept == 0) return std::numeric_limits<double>::quiet_NaN();
  if (pooling == Pooling::max) return largest;
  if (pooling == Pooling::mean) return sum / static_cast<double>(kept);
  const auto top = static_cast<size_t>(anomaly_map_top_count(share, static_cast<int64_t>(kept)));
  std::nth_element(scratch, scratch + top - 1, scratch + kept, std::greater<float>());
  std::sort(scratch, scratch + top, std::greater<float>());  // so that one order is summed
  sum = 0;
  for (size_t i = 0; i < top; ++i) sum += scratch[i];
  return sum / static_cast<double>(top);
}

void check_score(double score, const std::string& device, const std::string& version) {
  if (std::isfinite(score)) return;
  throw device_failure(device + " (" + version + ") gave features that are not finite (score " +
                       shown(score) +
                       "); the frame was valid, so the engine or its memory is at fault: run "
                       "edgead verify, export the bundle again if that fails");
}

}  // namespace edgead

// The map at the size of the frame, and the regions in it; edgead/result.py.
#pragma once
#include <vector>

#include "edgead.h"
#include "pipeline.h"

namespace edgead {

// Brings a map to the frame row by row, half-pixel bilinear. Between kept pixels only: an ignored
// one is 0 and draws nothing beside it down.
class Heatmap {
 public:
  Heatmap(const MapView& map, Size frame);

  // One row of the frame, [width]. Takes no memory.
  void row(int32_t y, float* heat) const;

 private:
  MapView map_;
  Size frame_;
};

// 8-connected areas above the threshold, highest peak first. A map that exceeds it has at least
// one: where the heatmap flattens it away, the pixel of the map's peak.
std::vector<edgead_region> regions_of(const MapView& map, Size frame, double threshold);

}  // namespace edgead

// The map at the size of the frame; edgead/result.py.
#pragma once
#include "manifest.h"

namespace edgead {

struct MapView {
  const float* values;
  Size size;
  const uint8_t* roi;  // 0 where a pixel does not count; null: all count
};

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

}  // namespace edgead

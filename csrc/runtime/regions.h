// The regions of a heatmap above a threshold; edgead/result.py.
#pragma once
#include <vector>

#include "edgead.h"
#include "heatmap.h"

namespace edgead {

// Finds 8-connected areas while it reads the heatmap from top to bottom; keeps only what two of its
// rows touch, so that its memory follows from the width of the frame alone.
class RegionSearch {
 public:
  // Takes memory where the width is another one.
  void prepare(int32_t width);

  // Writes the areas of the highest peaks, at most `capacity`, the highest first; returns how many
  // there are. A map that exceeds the threshold has at least one: where the heatmap flattens it
  // away, the pixel of the map's peak. Takes no memory.
  size_t run(const MapView& map, Size frame, double threshold, edgead_region* regions,
             size_t capacity);

 private:
  // Pixels start .. end of a row, and the place of their area in areas_.
  struct Run {
    int32_t start, end;
    size_t area;
  };
  // Its `reserved` is the column where it was first seen, in its top row.
  struct Area {
    edgead_region region;
    size_t parent;  // itself, or one that it was joined to
    size_t moved;   // place in the next row's areas
  };

  void add_row(int32_t y, float threshold);
  void end_row();
  void finish(const edgead_region& region);
  size_t root(size_t i);
  void join(size_t a, size_t b);

  std::vector<float> heat_;  // of a row
  std::vector<Run> last_, now_;
  std::vector<Area> areas_, next_;
  edgead_region* found_ = nullptr;  // a heap, the one to be dropped first in front
  size_t capacity_ = 0, kept_ = 0, count_ = 0;
};

}  // namespace edgead

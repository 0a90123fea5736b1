// Tiles: a frame much larger than the network's image is seen piece by piece; edgead/tiling.py.
#pragma once
#include <cstdint>
#include <vector>

#include "manifest.h"

namespace edgead {

// The tiles along one direction.
struct TileAxis {
  int32_t length;                           // pixels of the stitched map
  std::vector<int32_t> starts;              // of the tiles in the frame
  std::vector<int32_t> offsets;             // of their maps in the stitched map
  std::vector<std::vector<float>> weights;  // of each map's pixels; those of all tiles sum to 1
};

// Where the tiles of frames of one size are, and how their maps become one.
struct TilePlan {
  TileAxis rows, columns;
  Size map_size() const { return {rows.length, columns.length}; }
};

// Failure (input) for a frame that is smaller than a tile. tile_map: size of the map of a tile.
TilePlan plan_tiles(const Tiling& tiling, Size frame, Size tile_map);

}  // namespace edgead

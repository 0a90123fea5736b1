// Tiles: a frame much larger than the network's image is seen piece by piece. edgead/tiling.py is
// this for Python.
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

// Tiles of `tile` pixels, seen by `pixels` >= 2 of a map, over `frame` >= `tile`. They are spread
// evenly on the grid of the map, so that the overlap is at least the one asked for. Frame and map
// agree exactly where one's pixel is a whole number of the other's; else, and at the last tile of a
// frame that the grid does not divide, to within a pixel of either.
TileAxis plan_axis(int64_t frame, int64_t tile, int64_t overlap, int64_t pixels);

// Where the tiles of frames of one size are, and how their maps become one.
struct TilePlan {
  TileAxis rows, columns;
  Size map_size() const { return {rows.length, columns.length}; }
};

// Failure (input) for a frame that is smaller than a tile. tile_map: size of the map of a tile.
TilePlan plan_tiles(const Tiling& tiling, Size frame, Size tile_map);

// A tile: where it begins in the frame, where its map does in the stitched map, and its weights.
struct Tile {
  int32_t top, left, y, x, height, width;  // height, width: of its map
  const float *down, *across;              // [height], [width]
};
Tile tile_at(const TilePlan& plan, size_t row, size_t column);

// Whether roi, of the stitched map of `width`, keeps a pixel of a tile; null keeps all.
bool keeps(const Tile& tile, const uint8_t* roi, size_t width);

// Blends the map of a tile, values [height, width], into the stitched one of `width`.
void stitch(const Tile& tile, const float* values, float* stitched, size_t width);

}  // namespace edgead

// Frames, whole or in tiles, with the buffers of one thread; edgead/cpu/pipeline.py.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "pooling.h"
#include "stages.h"
#include "tiling.h"

namespace edgead {

struct MapView {
  const float* values;
  Size size;
  const uint8_t* roi;  // 0 where a pixel does not count; null: all count
};

class Pipeline {
 public:
  Pipeline(const Manifest& manifest, const Served& served);

  // Makes ready for frames like this one; takes memory where the last one was of another kind.
  const Geometry& prepare(const edgead_frame& frame);
  // The score of a frame; the map is in map(). Takes no memory but what prepare() takes.
  double run(const edgead_frame& frame, Times& times);

  MapView map() const;
  // Of the last frame that was scored: (height, width).
  const std::optional<Size>& scored() const { return scored_; }

 private:
  // What frames of one size need beside the stages.
  struct Tiles {
    TilePlan plan;
    std::vector<uint8_t> roi;                 // of the stitched map; empty: all
    std::vector<float> map, scored, scratch;  // stitched
    // Whether a pixel of the tile counts.
    bool keeps(size_t row, size_t column) const;
    // Blends the map of a tile into the stitched one.
    void add(size_t row, size_t column, const float* values, std::vector<float>& stitched) const;
  };

  double run_tiles(const edgead_frame& frame, const Geometry& geometry, Times& times);
  const uint8_t* roi() const;

  Input input_;
  Map map_;
  std::optional<Tiling> tiling_;
  Served served_;
  std::unique_ptr<Stages> stages_;
  std::optional<Geometry> geometry_;
  std::unique_ptr<Tiles> tiles_;
  std::optional<Size> scored_;
};

// A golden frame as one of the C API.
edgead_frame frame_of(const Image& image);

}  // namespace edgead

// Frames, whole or in tiles, with the buffers of one thread; edgead/cpu/pipeline.py.
#pragma once
#include <memory>
#include <optional>
#include <vector>

#include "heatmap.h"
#include "pooling.h"
#include "regions.h"
#include "stages.h"
#include "tiling.h"

namespace edgead {

class Pipeline {
 public:
  Pipeline(const Manifest& manifest, const Served& served);

  // Makes ready for frames like this one; where the last one was of another kind, it takes memory
  // and the map goes. Returns whether it was.
  bool prepare(const edgead_frame& frame);
  // The score of a frame; the map is in map(). Takes no memory but what prepare() takes.
  double run(const edgead_frame& frame, Times& times);

  MapView map() const;
  // The regions of the last frame that was scored, as RegionSearch writes them. Takes no memory.
  size_t regions(double threshold, edgead_region* regions, size_t capacity);
  // The map goes.
  void forget() { scored_.reset(); }
  // Of the last frame that was scored: (height, width).
  const std::optional<Size>& scored() const { return scored_; }

 private:
  // What frames of one size need beside the stages.
  struct Tiles {
    TilePlan plan;
    std::vector<uint8_t> roi;                 // of the stitched map; empty: all
    std::vector<float> map, scored, scratch;  // stitched
  };

  std::unique_ptr<Tiles> tiles_of(const Geometry& geometry) const;
  // `data` is the first sample of a frame of seen_.
  double run_tiles(const void* data, Times& times);
  const uint8_t* roi() const;

  Input input_;
  Map map_;
  std::optional<Tiling> tiling_;
  Served served_;
  std::unique_ptr<Stages> stages_;
  std::optional<Geometry> geometry_;  // of the caller's frames
  Geometry seen_{};                   // of the frames that the stages see
  std::vector<uint32_t> converted_;   // those, where they are not the caller's
  RegionSearch search_;
  std::unique_ptr<Tiles> tiles_;
  std::optional<Size> scored_;
};

// A golden frame as one of the C API.
edgead_frame frame_of(const Image& image);

}  // namespace edgead

// Checks of frames: which are refused, and what the kernel is told about the others.
#pragma once
#include "edgead.h"
#include "manifest.h"
#include "preprocess.h"

namespace edgead {

// What of a frame decides on the filter; its memory may be another one each time.
struct Geometry {
  int32_t height, width;
  int64_t stride;
  int32_t format, bit_depth;

  bool operator==(const Geometry& other) const {
    return height == other.height && width == other.width && stride == other.stride &&
           format == other.format && bit_depth == other.bit_depth;
  }
};

// Failure for what no frame can be. declared: bit depth that the bundle declares, 0 for none.
Geometry geometry_of(const edgead_frame& frame, int32_t declared);

// Failure for no memory, samples at odd addresses, or a value above the bit depth.
void check_samples(const edgead_frame& frame, const Geometry& geometry);

// From a pixel to the next in a row.
int64_t pixel_bytes(const Geometry& geometry);

PreprocessParams preprocess_params(const Geometry& geometry, const Input& input);

}  // namespace edgead

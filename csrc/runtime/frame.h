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
  int64_t chroma_stride;  // of NV12, else 0
  int32_t color_space;

  bool operator==(const Geometry& other) const {
    return height == other.height && width == other.width && stride == other.stride &&
           format == other.format && bit_depth == other.bit_depth &&
           chroma_stride == other.chroma_stride && color_space == other.color_space;
  }
};

// Failure for what no frame can be. declared: bit depth that the bundle declares, 0 for none.
Geometry geometry_of(const edgead_frame& frame, int32_t declared);

// Failure for no memory, samples at odd addresses, or a value above the bit depth.
void check_samples(const edgead_frame& frame, const Geometry& geometry);

// From a pixel to the next in a row.
int64_t pixel_bytes(const Geometry& geometry);

// Whether the kernel cannot read such a frame where it lies, but only what rgbx_from() makes of it.
bool is_converted(const Geometry& geometry);

// Of what rgbx_from() makes.
Geometry rgbx_of(const Geometry& geometry);

// NV12 as R G B 0 or B G R 0, [height, width], without gaps.
void colors_from(const edgead_frame& frame, const Geometry& geometry, bool blue_first,
                 uint32_t* pixels);

// NV12 as RGBX, [height, width], without gaps.
void rgbx_from(const edgead_frame& frame, const Geometry& geometry, uint32_t* pixels);

PreprocessParams preprocess_params(const Geometry& geometry, const Input& input);

}  // namespace edgead

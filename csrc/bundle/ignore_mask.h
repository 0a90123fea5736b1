// The ignore mask, brought from the frame it was drawn on to the map.
// edgead/bundle/ignore_mask.py is this for Python.
#pragma once
#include <cstdint>
#include <vector>

#include "manifest.h"

namespace edgead {

// Failure (input) for a mask that marks nothing, or lies outside its frame.
void check_ignore_mask(const IgnoreMask& mask);

// Failure (input) for a frame of another size than the mask was drawn on.
void check_frame_size(const IgnoreMask& mask, Size frame);

// Which pixels of the frame are ignored, [height, width] of 0 and 1. image: the decoded
// mask.image, [height, width, channels] of 8 or 16 bits as bytes of its samples; null for none.
struct MaskImage {
  const uint8_t* samples;
  Size size;
  int32_t pixel_bytes;
};
std::vector<uint8_t> ignored_pixels(const IgnoreMask& mask, const MaskImage* image);

// The region of interest of a map [size]: 1 where a pixel is kept. Failure when nothing is.
std::vector<uint8_t> region_of_interest(const std::vector<uint8_t>& ignored, Size frame, Size map);

}  // namespace edgead

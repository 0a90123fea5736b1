#include "frame.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "arguments.h"
#include "failure.h"
#include "wording.h"

namespace edgead {
namespace {

struct FormatRow {
  const char* name;
  int32_t channels, samples, sample_bytes;  // samples: of a pixel in memory
  int32_t order[3];                         // the frame's channel for R, G, B
};

// By edgead_format, from 1.
const FormatRow kFormats[] = {
    {"GRAY8", 1, 1, 1, {0, 0, 0}}, {"GRAY16", 1, 1, 2, {0, 0, 0}}, {"BGR", 3, 3, 1, {2, 1, 0}},
    {"RGB", 3, 3, 1, {0, 1, 2}},   {"BGRX", 3, 4, 1, {2, 1, 0}},   {"RGBX", 3, 4, 1, {0, 1, 2}},
    {"BGR16", 3, 3, 2, {2, 1, 0}}, {"RGB16", 3, 3, 2, {0, 1, 2}},
};
constexpr int32_t kFormatCount = sizeof kFormats / sizeof *kFormats;

const FormatRow& row_of(int32_t format) { return kFormats[format - 1]; }

int64_t row_bytes(const Geometry& g) {
  const FormatRow& row = row_of(g.format);
  return static_cast<int64_t>(g.width) * row.samples * row.sample_bytes;
}

}  // namespace

Geometry geometry_of(const edgead_frame& frame, int32_t declared) {
  if (frame.format < 1 || frame.format > kFormatCount)
    throw input_failure(format("the frame's format is %d, expected an edgead_format, 1 to %d",
                               frame.format, kFormatCount));
  refuse(problem_of_frame(frame.height, frame.width));
  const FormatRow& row = row_of(frame.format);
  Geometry g{frame.height, frame.width, frame.stride, frame.format, 8};
  const long long bytes = row_bytes(g);
  if (frame.stride > -bytes && frame.stride < bytes)
    throw input_failure(
        format("the frame's stride is %lld bytes and a row of %d pixels %s has "
               "%lld: give the bytes from a row to the next, negative where rows "
               "lie bottom up",
               static_cast<long long>(frame.stride), frame.width, row.name, bytes));
  // So that no offset of a sample overflows.
  if (frame.stride > (INT64_C(1) << 40) || frame.stride < -(INT64_C(1) << 40))
    throw input_failure(format("the frame's stride is %lld bytes, expected at most 2^40",
                               static_cast<long long>(frame.stride)));
  if (row.sample_bytes == 1) {
    if (frame.bit_depth != 0 && frame.bit_depth != 8)
      throw input_failure(
          format("the frame's bit_depth is %d and its format %s, which has 8 bits: "
                 "give 0, or a format of 16 bits",
                 frame.bit_depth, row.name));
    return g;
  }
  if (frame.stride % 2 != 0)
    throw input_failure(format("the frame's stride is %lld bytes, expected an even number for %s",
                               static_cast<long long>(frame.stride), row.name));
  if (frame.bit_depth != 0 && (frame.bit_depth < 9 || frame.bit_depth > 16))
    throw input_failure(
        format("the frame's bit_depth is %d, expected 9 to 16, the bits that the "
               "camera gives, or 0 for what the bundle declares",
               frame.bit_depth));
  g.bit_depth = frame.bit_depth != 0 ? frame.bit_depth : declared != 0 ? declared : 16;
  return g;
}

void check_samples(const edgead_frame& frame, const Geometry& g) {
  if (frame.data == nullptr)
    throw input_failure("the frame's data is NULL, expected its first sample");
  if (row_of(g.format).sample_bytes == 1) return;
  if (reinterpret_cast<uintptr_t>(frame.data) % 2 != 0)
    throw input_failure("the frame's data is at an odd address, expected an even one for 16 bits");
  if (g.bit_depth == 16) return;
  const int64_t count = row_bytes(g) / 2;
  uint16_t highest = 0;
  for (int32_t y = 0; y < g.height; ++y) {
    const auto* row =
        reinterpret_cast<const uint16_t*>(static_cast<const char*>(frame.data) + y * g.stride);
    for (int64_t x = 0; x < count; ++x) highest = std::max(highest, row[x]);
  }
  refuse(problem_of_value(highest, g.bit_depth));
}

int64_t pixel_bytes(const Geometry& g) {
  return static_cast<int64_t>(row_of(g.format).samples) * row_of(g.format).sample_bytes;
}

PreprocessParams preprocess_params(const Geometry& g, const Input& input) {
  const FormatRow& row = row_of(g.format);
  PreprocessParams p{};
  p.height = g.height, p.width = g.width, p.channels = row.channels;
  p.sample_bytes = row.sample_bytes, p.bit_depth = g.bit_depth;
  p.row_stride = g.stride;
  p.pixel_stride = pixel_bytes(g);
  p.channel_stride = row.channels == 1 ? 0 : row.sample_bytes;
  p.out_height = input.size.first, p.out_width = input.size.second;
  for (int c = 0; c < 3; ++c) p.order[c] = row.order[c];
  preprocess_normalise(p, input.mean.data(), input.std.data());
  p.type = Type::float32;
  p.layout = Layout::nchw;
  return p;
}

}  // namespace edgead

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
  int32_t bits;                             // of a sample; 0: as the frame says
  int32_t order[3];                         // the frame's channel for R, G, B
};

// By edgead_format, from 1. Of NV12 the plane of Y.
const FormatRow kFormats[] = {
    {"GRAY8", 1, 1, 1, 8, {0, 0, 0}},   {"GRAY16", 1, 1, 2, 0, {0, 0, 0}},
    {"BGR", 3, 3, 1, 8, {2, 1, 0}},     {"RGB", 3, 3, 1, 8, {0, 1, 2}},
    {"BGRX", 3, 4, 1, 8, {2, 1, 0}},    {"RGBX", 3, 4, 1, 8, {0, 1, 2}},
    {"BGR16", 3, 3, 2, 0, {2, 1, 0}},   {"RGB16", 3, 3, 2, 0, {0, 1, 2}},
    {"GRAY10", 1, 1, 2, 10, {0, 0, 0}}, {"GRAY12", 1, 1, 2, 12, {0, 0, 0}},
    {"NV12", 1, 1, 1, 8, {0, 0, 0}},
};
constexpr int64_t kMaxStride = INT64_C(1) << 40;
constexpr int32_t kFormatCount = sizeof kFormats / sizeof *kFormats;

const FormatRow& row_of(int32_t format) { return kFormats[format - 1]; }

int64_t row_bytes(const Geometry& g) {
  const FormatRow& row = row_of(g.format);
  return static_cast<int64_t>(g.width) * row.samples * row.sample_bytes;
}

long long shown_stride(int64_t stride) { return static_cast<long long>(stride); }

void check_stride(const char* name, int64_t stride, const Geometry& g) {
  const FormatRow& row = row_of(g.format);
  const long long bytes = row_bytes(g);
  if (stride > -bytes && stride < bytes)
    throw input_failure(
        format("the frame's %s is %lld bytes and a row of %d pixels %s has %lld: give the bytes "
               "from a row to the next, negative where rows lie bottom up",
               name, shown_stride(stride), g.width, row.name, bytes));
  // So that no offset of a sample overflows.
  if (stride > kMaxStride || stride < -kMaxStride)
    throw input_failure(
        format("the frame's %s is %lld bytes, expected at most 2^40", name, shown_stride(stride)));
  if (row.sample_bytes == 2 && stride % 2 != 0)
    throw input_failure(format("the frame's %s is %lld bytes, expected an even number for %s", name,
                               shown_stride(stride), row.name));
}

int32_t bits_of(const edgead_frame& frame, int32_t declared) {
  const FormatRow& row = row_of(frame.format);
  const int32_t given = frame.bit_depth;
  if (row.bits != 0) {
    if (given != 0 && given != row.bits)
      throw input_failure(
          format("the frame's bit_depth is %d and its format %s, which has %d bits: give 0, or a "
                 "format of 16 bits",
                 given, row.name, row.bits));
    return row.bits;
  }
  if (given != 0 && (given < 9 || given > 16))
    throw input_failure(
        format("the frame's bit_depth is %d, expected 9 to 16, the bits that the "
               "camera gives, or 0 for what the bundle declares",
               given));
  return given != 0 ? given : declared != 0 ? declared : 16;
}

void check_planes(const edgead_frame& frame, Geometry& g) {
  if (frame.height % 2 != 0 || frame.width % 2 != 0)
    throw input_failure(
        format("the frame is %d x %d (height x width), expected even numbers for NV12",
               frame.height, frame.width));
  if (frame.color_space < EDGEAD_BT601 || frame.color_space > EDGEAD_BT709_FULL)
    throw input_failure(
        format("the frame's color_space is %d, expected an edgead_color_space, %d to %d",
               frame.color_space, EDGEAD_BT601, EDGEAD_BT709_FULL));
  g.chroma_stride = frame.chroma_stride != 0 ? frame.chroma_stride : frame.stride;
  check_stride("chroma_stride", g.chroma_stride, g);
  if (frame.chroma == nullptr && frame.stride < 0)
    throw input_failure(
        format("the frame's stride is %lld bytes and its chroma NULL: where rows lie bottom up, "
               "give the first row of U V",
               shown_stride(frame.stride)));
  g.color_space = frame.color_space;
}

// What only frames of two planes have.
void check_one_plane(const edgead_frame& frame) {
  if (frame.chroma == nullptr && frame.chroma_stride == 0 && frame.color_space == 0) return;
  throw input_failure(
      format("the frame has chroma, chroma_stride or color_space and the format %s: expected them "
             "0, they are NV12's",
             row_of(frame.format).name));
}

}  // namespace

Geometry geometry_of(const edgead_frame& frame, int32_t declared) {
  if (frame.format < 1 || frame.format > kFormatCount)
    throw input_failure(format("the frame's format is %d, expected an edgead_format, 1 to %d",
                               frame.format, kFormatCount));
  if (frame.reserved != 0)
    throw input_failure(format("the frame's reserved is %d, expected 0", frame.reserved));
  refuse(problem_of_frame(frame.height, frame.width));
  Geometry g{frame.height, frame.width, frame.stride, frame.format, 0, 0, 0};
  check_stride("stride", g.stride, g);
  g.bit_depth = bits_of(frame, declared);
  if (frame.format == EDGEAD_NV12) {
    check_planes(frame, g);
  } else {
    check_one_plane(frame);
  }
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

// The index of whiten, made once on the host.
#include "whiten.h"

#include <algorithm>

namespace edgead {
namespace {

struct Arrays {
  int32_t *place, *region;
  float *mean, *panels;
};

int64_t panel_floats_of(const WhitenParams& p) {
  int64_t floats = 0;
  for (int32_t o = 0; o < p.outputs; o += kWhitenPanel)
    floats += static_cast<int64_t>(p.channels - whiten_first(p, o)) * kWhitenPanel;
  return floats;
}

// Calls at(region, positions, count) for each block of each region's positions that are kept.
template <class At>
void for_each_block(const WhitenParams& p, const uint8_t* roi, At at) {
  int32_t region = 0;
  for (int32_t top = 0; top < p.height; top += p.side)
    for (int32_t left = 0; left < p.width; left += p.side, ++region) {
      int32_t positions[kWhitenBlock], count = 0;
      for (int32_t y = top; y < std::min(top + p.side, p.height); ++y)
        for (int32_t x = left; x < std::min(left + p.side, p.width); ++x) {
          if (roi != nullptr && !roi[y * p.width + x]) continue;
          positions[count++] = y * p.width + x;
          if (count == kWhitenBlock) at(region, positions, count), count = 0;
        }
      if (count > 0) at(region, positions, count);
    }
}

Arrays lay_out(const WhitenParams& p, const uint8_t* roi, WhitenIndex& index, Arena<>& arena) {
  index.blocks = 0;
  for_each_block(p, roi, [&](int32_t, const int32_t*, int32_t) { ++index.blocks; });
  const size_t blocks = index.blocks;
  const size_t regions = static_cast<size_t>(whiten_regions(p.height, p.side)) *
                         static_cast<size_t>(whiten_regions(p.width, p.side));
  index.panel_floats = panel_floats_of(p);
  Arrays a{};
  index.place = a.place = arena.take<int32_t>(blocks * kWhitenBlock);
  index.region = a.region = arena.take<int32_t>(blocks);
  index.mean = a.mean = arena.take<float>(blocks * p.channels * kWhitenBlock);
  index.panels = a.panels = arena.take<float>(regions * index.panel_floats);
  return a;
}

// One factor [outputs, channels] as panels; returns the end of what it wrote.
float* put_panels(const WhitenParams& p, const float* factor, float* to) {
  for (int32_t o = 0; o < p.outputs; o += kWhitenPanel)
    for (int32_t c = whiten_first(p, o); c < p.channels; ++c)
      for (int32_t i = o; i < o + kWhitenPanel; ++i) {
        const bool read = i < p.outputs && c >= whiten_first(p, i);
        *to++ = read ? factor[static_cast<size_t>(i) * p.channels + c] : 0.0f;
      }
  return to;
}

}  // namespace

// (Without a region of interest there are most blocks.)
bool whiten_triangular(const float* factor, size_t regions, int32_t outputs, int32_t channels) {
  for (size_t row = 0; row < regions * static_cast<size_t>(outputs); ++row, factor += channels)
    for (size_t c = 0; c < std::min<size_t>(row % outputs, channels); ++c)
      if (factor[c] != 0) return false;
  return true;
}

size_t whiten_index_bytes(const WhitenParams& params) {
  WhitenIndex index{};
  Arena<> arena{nullptr};
  lay_out(params, nullptr, index, arena);
  return arena.used;
}

WhitenIndex whiten_index(const WhitenParams& p, const float* mean, const float* factor,
                         const uint8_t* roi, void* index_memory) {
  WhitenIndex index{};
  Arena<> arena{static_cast<char*>(index_memory)};
  const Arrays a = lay_out(p, roi, index, arena);
  int32_t block = 0;
  for_each_block(p, roi, [&](int32_t region, const int32_t* positions, int32_t count) {
    a.region[block] = region;
    float* to = a.mean + static_cast<size_t>(block) * p.channels * kWhitenBlock;
    for (int32_t i = 0; i < kWhitenBlock; ++i) {
      a.place[block * kWhitenBlock + i] = i < count ? positions[i] : -1;
      for (int32_t c = 0; c < p.channels; ++c)
        to[c * kWhitenBlock + i] =
            i < count ? mean[static_cast<size_t>(c) * p.height * p.width + positions[i]] : 0.0f;
    }
    ++block;
  });
  float* panels = a.panels;
  const int32_t regions = whiten_regions(p.height, p.side) * whiten_regions(p.width, p.side);
  for (int32_t r = 0; r < regions; ++r)
    panels = put_panels(p, factor + static_cast<size_t>(r) * p.outputs * p.channels, panels);
  return index;
}

size_t whiten_workspace_bytes(const WhitenParams& params) {
  return sizeof(float) * params.channels * kWhitenBlock;
}

}  // namespace edgead

// nv12_pixels HEIGHT WIDTH STRIDE CHROMA_STRIDE COLOR_SPACE: NV12 in, RGBX out. Each plane is in
// memory of exactly its size, so that a sanitizer sees what lies beside it.
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "frame.h"

int main(int, char** arguments) {
  const auto number = [&](int i) { return std::atoi(arguments[i]); };
  const edgead::Geometry g{number(1), number(2), number(3), EDGEAD_NV12, 8, number(4), number(5)};
  const auto bytes = [&](int32_t rows, int64_t stride) {
    return static_cast<size_t>((rows - 1) * stride + g.width);
  };
  std::vector<uint8_t> light(bytes(g.height, g.stride));
  std::vector<uint8_t> chroma(bytes(g.height / 2, g.chroma_stride));
  std::vector<uint32_t> pixels(static_cast<size_t>(g.height) * g.width);
  if (std::fread(light.data(), light.size(), 1, stdin) != 1) return 1;
  if (std::fread(chroma.data(), chroma.size(), 1, stdin) != 1) return 1;
  edgead_frame frame = edgead_frame_default();
  frame.data = light.data(), frame.chroma = chroma.data();
  edgead::rgbx_from(frame, g, pixels.data());
  return std::fwrite(pixels.data(), pixels.size() * 4, 1, stdout) == 1 ? 0 : 1;
}

// A memory as bytes, for nearest_cuda: all channels of each row, in the order in which tensor cores
// take them, and how far off they are.
//
// With y = gain * (x - mean), in which the longest row has the length 1, a row is about
// y^ = step * codes, step of its tile, and off at most `off` from y; a query likewise. So
//   | gain * |q - m| - |q^ - m^| | <= off(q) + off(m),   |q^ - m^|^2 = |q^|^2 + |m^|^2 - 2 q^ m^
// and the product of codes is exact in 32 bits. `slack` is the share of |q^|^2 + |m^|^2 that the
// float32 arithmetic around it may take.
#pragma once
#include "nearest.h"

namespace edgead {

constexpr int32_t kCodeRows = 32;            // rows of a tile
constexpr int32_t kCodeChannels = 32;        // channels that are multiplied at once: a chunk
constexpr float kCodeLimit = 1073741824.0f;  // |m^|^2 over twice both steps is at most 2^30

struct RowCodes {
  int32_t rows, channels, tiles, chunks;
  float gain, slack;
  float longest;          // the largest |m^|^2
  float least;            // step of a query's codes at least: keeps kCodeLimit
  const float* mean;      // [channels]
  const uint32_t* codes;  // [tiles, 2, chunks, 32, 4]; code_word() says which
  const float* length;    // [tiles, kCodeRows] |m^|^2; of what lies beyond the last row 1e30
  const float* step;      // [tiles]
  const float* off;       // [tiles]
};

// In 16 rows and a chunk: where the four bytes from channel 4 * word on of a row are. The lane that
// multiplies them has the two words of rows `row` and `row` + 8 in its 16 bytes.
EDGEAD_HOST_DEVICE static inline int32_t code_word(int32_t row, int32_t word) {
  return (row % 8 * 4 + word % 4) * 4 + row / 8 * 2 + word / 4;
}

size_t row_codes_bytes(int32_t rows, int32_t channels);

// On the host: memory [rows, channels] of `type`, scale [channels] (int8 only), both finite.
RowCodes row_codes(int32_t rows, int32_t channels, Type type, const void* memory,
                   const float* scale, void* codes_memory);

// The codes after their memory was copied to `memory`, such as a device's.
RowCodes row_codes_moved(const RowCodes& codes, void* memory);

}  // namespace edgead

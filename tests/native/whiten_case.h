// One case of whiten: make its inputs, run it in watched memory, hold it against truth.h.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kernels.h"
#include "support.h"
#include "truth.h"

namespace edgead {

struct WhitenCase {
  WhitenParams params{};
  std::vector<uint8_t> roi;  // [height, width], empty when there is none
  int32_t batch = 1;
  int32_t bad = 0;  // about this many feature values become NaN or infinite
  uint64_t seed = 0;
  size_t offset = 0;  // elements by which arrays are away from a 64-byte boundary

  std::string name() const;
};

// The arrays of a case, as numbers and in memory of exactly the size they have.
struct WhitenInputs {
  explicit WhitenInputs(const WhitenCase& c);

  std::vector<double> features;  // [batch, positions, channels]
  std::unique_ptr<Block> feature, mean, factor;
};

// The index of a case, in memory of exactly the size it asks for.
struct WhitenIndexMemory {
  WhitenIndexMemory(const WhitenCase& c, const WhitenInputs& inputs);

  Block memory;
  WhitenIndex index;
};

void check_whiten(const WhitenCase& c, const WhitenTruth& truth, const Block& distance,
                  const char* set);
void run(const WhitenCase& c);

}  // namespace edgead

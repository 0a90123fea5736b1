// One case of nearest: make its inputs, run it in watched memory, hold it against truth.h.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kernels.h"
#include "support.h"
#include "truth.h"

namespace edgead {

// What the rows and queries are like: enough of each for a search with bounds to go wrong.
enum class Spread : int32_t { noise, falling, equal, far, outlier, whole, small, grouped };
constexpr int32_t kSpreads = 8;

struct NearestCase {
  NearestParams params{};
  std::vector<uint8_t> roi;  // [positions], empty when there is none
  int32_t batch = 1;
  Spread spread = Spread::noise;
  double basis = 1.0;  // scale of the basis: with another than 1 it is not orthonormal
  int32_t bad = 0;     // this many query values become NaN or infinite
  uint64_t seed = 0;
  size_t offset = 0;  // elements by which arrays are away from a 64-byte boundary

  std::string name() const;
};

// The arrays of a case, as numbers and in memory of exactly the size they have.
struct NearestInputs {
  explicit NearestInputs(const NearestCase& c);

  std::vector<double> queries;  // [batch, positions, channels]
  std::vector<double> memory;   // [rows, channels]
  std::unique_ptr<Block> query, rows, scale, guess;
  std::vector<float> mean, basis;
};

// The index of a case, in memory of exactly the size it asks for.
struct NearestIndexMemory {
  NearestIndexMemory(const NearestCase& c, const NearestInputs& inputs);

  Block memory;
  NearestIndex index;
};

void check_nearest(const NearestCase& c, const std::vector<double>& truth, const Block& distance,
                   const char* set, const std::vector<double>& slack = {});
void run(const NearestCase& c);

}  // namespace edgead

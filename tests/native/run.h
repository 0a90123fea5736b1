// One case of a kernel: make its inputs, run it in watched memory, hold it against truth.h.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kernels.h"
#include "support.h"
#include "truth.h"

namespace edgead {

size_t size_of(Type type);

// Stores a value as an element of `type`, int8 in steps of `scale`, and returns what was stored.
double put(Type type, char* memory, size_t i, double value, float scale = 1.0f);

struct MapCase {
  AnomalyMapParams params{};
  std::vector<uint8_t> roi;  // [height, width], empty when there is none
  int32_t batch = 1;
  double scale = 1.0;  // of the features' values
  int32_t bad = 0;     // this many feature values become NaN or infinite
  uint64_t seed = 0;
  size_t offset = 0;  // elements by which features and map are away from a 64-byte boundary

  std::string name() const;
};

// The features of a case, as numbers and in memory.
struct MapInputs {
  explicit MapInputs(const MapCase& c);
  std::vector<const void*> pointers(int side) const;

  std::vector<Feature> values[2];               // reference, restored
  std::vector<std::unique_ptr<Block>> held[2];  // of exactly the size they have
};

// The plan of a case, in memory of exactly the size it asks for.
struct MapPlan {
  explicit MapPlan(const MapCase& c);

  Block memory;
  AnomalyMapPlan plan;
};

// Map and score of a case.
struct MapOutputs {
  explicit MapOutputs(const MapCase& c);
  void check(const MapCase& c, const MapTruth& truth, const char* set) const;

  Block map, score;
};

void run(const MapCase& c);

struct FrameCase {
  PreprocessParams params{};
  uint64_t seed = 0;
  size_t offset = 0;  // bytes by which the frame starts after a 64-byte boundary

  std::string name() const;
};

// The frame of a case: the bytes from its first to its last sample, and no more.
struct Frame {
  explicit Frame(const FrameCase& c);
  const char* first() const { return block->data() - lowest; }  // sample [0, 0, 0]

  int64_t lowest;  // bytes from sample [0, 0, 0] to the sample that lies first in memory
  std::unique_ptr<Block> block;
};

// Both axes of a case, in memory of exactly the size they ask for.
struct Axes {
  explicit Axes(const PreprocessParams& p);

  Block memory[2][3];
  PreprocessAxis vertical, horizontal;
};

size_t image_bytes(const PreprocessParams& p);
void check_image(const FrameCase& c, const std::vector<float>& truth, const Block& image,
                 const char* set);
void run(const FrameCase& c);

// A case out of any bytes, and run() of it: what libFuzzer calls.
void run_bytes(const uint8_t* data, size_t size);

}  // namespace edgead

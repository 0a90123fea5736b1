// The kernels' formulas once more, in float64 and one output at a time, written from the manuals
// in preprocess.h, anomaly_map.h, nearest.h and whiten.h, and from nothing else of csrc/.
#pragma once
#include <cstdint>
#include <vector>

#include "anomaly_map.h"
#include "nearest.h"
#include "preprocess.h"
#include "whiten.h"

namespace edgead {

// The value of an IEEE binary16, and the binary16 nearest to a value (ties to even).
double half_value(uint16_t bits);
uint16_t half_nearest(double value);

// A feature of one level, [batch, channels, height, width], whatever its layout in memory.
using Feature = std::vector<double>;

struct MapTruth {
  std::vector<double> map;    // [batch, height, width]
  std::vector<double> score;  // [batch]
};

// roi: [height, width], empty when there is none.
MapTruth anomaly_map_truth(const AnomalyMapParams& params, const std::vector<Feature>& reference,
                           const std::vector<Feature>& restored, const std::vector<uint8_t>& roi,
                           int32_t batch);

// image [3, out_height, out_width] float32 of the frame; `frame` points at sample [0, 0, 0].
std::vector<float> preprocess_truth(const PreprocessParams& params, const char* frame);

// distance [batch, positions]; queries [batch, positions, channels], memory [rows, channels], roi
// [positions], empty when there is none; slack: how far off float32 may be beside its roundings.
std::vector<double> nearest_truth(const NearestParams& params, const std::vector<double>& queries,
                                  const std::vector<double>& memory,
                                  const std::vector<uint8_t>& roi, int32_t batch,
                                  std::vector<double>* slack = nullptr);

struct WhitenTruth {
  std::vector<double> distance;  // [batch, height, width]
  std::vector<double> doubt;     // what rounding to float32 may do to it
};

// features [batch, positions, channels], roi [height, width], empty when there is none.
WhitenTruth whiten_truth(const WhitenParams& params, const std::vector<double>& features,
                         const float* mean, const float* factor, const std::vector<uint8_t>& roi,
                         int32_t batch);

}  // namespace edgead

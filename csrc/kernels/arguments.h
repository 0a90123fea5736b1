// What the arguments of the kernels must be, which the kernels themselves rely on and do not look
// at: the rules of every entry point to them, of C, Python and the manifest, each written once.
//
//   expected_NAME(value)  the end of a sentence, `size is (0, 8), expected ..`, where the value is
//                         something else; empty where it is right. Who asks knows what was given
//                         and says it (Python by repr()).
//   problem_of(params)    a whole sentence where a kernel must not be called with these params;
//                         empty where it may. An entry point asks once per geometry.
//
// Their status is EDGEAD_ERROR_INPUT. Memory is taken for a sentence only: what is right costs
// nanoseconds. What can be said of a pointer is not said here: sizes, layouts and who owns the
// memory are in the header of each kernel.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "anomaly_map.h"
#include "nearest.h"
#include "preprocess.h"
#include "whiten.h"

namespace edgead {

// Half of int32: offsets inside one row of samples stay in 32 bits, with room for the margins.
constexpr int64_t kMaxSide = 32767;             // pixels or positions
constexpr int64_t kMaxValues = 2147483647;      // of one array of one frame, or of a memory
constexpr int64_t kMaxChannels = 32767;         // of a memory
constexpr int32_t kBitDepths[] = {9, 16};       // the least and the most of frames in uint16
constexpr double kLeast = 1e-20, kMost = 1e20;  // of factors: their products are in float32
constexpr double kTiny = 1e-30, kHuge = 1e30;   // of scales and temperatures, likewise

// By the numbers of the enumerations.
using Words = std::vector<const char*>;
extern const Words kTypes, kLayouts, kDistances, kFusions, kPoolings, kSearches;

std::string expected_word(const std::string& word, const Words& words);
std::string expected_size(const std::vector<int64_t>& sides);  // height, width
// preprocess
std::string expected_mean(const std::vector<double>& mean);  // of R, G, B
std::string expected_std(const std::vector<double>& std);
std::string expected_bit_depth(int64_t bits);  // of frames in uint16
// anomaly_map
std::string expected_weights(const std::vector<double>& weights, int64_t most);
std::string expected_blur_sigma(double sigma);
std::string expected_top_k(double share);
std::string expected_shape(const std::vector<int64_t>& shape);  // channels, height, width
// nearest
std::string expected_memory(int64_t rows, int64_t channels);
std::string expected_scale(const std::vector<double>& scale, int64_t channels);  // of int8
std::string expected_neighbours(int64_t neighbours);                             // of a blend
std::string expected_temperature(double temperature);                            // of a blend
// whiten
std::string expected_side(int64_t side);  // of a region
std::string expected_epsilon(double epsilon);
std::string expected_factors(const std::vector<int64_t>& factors,  // regions, outputs, channels
                             int64_t channels, int64_t height, int64_t width, int64_t side);
// tiles, of (height, width) in pixels of the frame
std::string expected_overlap(int64_t overlap, int64_t height, int64_t width);

// Of each frame. bits: what is declared of its samples; highest: the largest of them.
std::string problem_of_frame(int64_t height, int64_t width);
std::string problem_of_value(uint32_t highest, int32_t bits);

std::string problem_of(const PreprocessParams& params);
std::string problem_of(const AnomalyMapParams& params);
std::string problem_of(const NearestParams& params);
std::string problem_of(const WhitenParams& params);

}  // namespace edgead

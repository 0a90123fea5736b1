// What an engine made of a golden frame beside what the bundle promises, for C and Python.
#pragma once
#include <string>
#include <vector>

#include "manifest.h"

namespace edgead {

struct GoldenCheck {
  std::string image;
  double score, expected_score;
  double score_difference;  // absolute
  double map_difference;    // of the map value that is off most, for what it may
  Tolerance tolerance;      // of this score and of that map value

  bool passed() const {
    return score_difference <= tolerance.score && map_difference <= tolerance.map;
  }
};

// How many times a tolerance counts at an expected value of a score or a map: once up to `usual`,
// the largest of the calibration images, beyond it in proportion, as rounding grows.
double growth(double value, double usual);

// tolerance: of the engine's precision. score, map: what it found. expected: the map of the golden
// frame, of as many values.
GoldenCheck compare_golden(const Manifest& manifest, const Golden& golden,
                           const Tolerance& tolerance, double score, const float* map,
                           const std::vector<float>& expected);

// Why an engine may not reproduce golden frames, each with its cure.
std::vector<std::string> causes_of_difference(const std::string& precision);

// What is said where an engine, such as "CPU: AMD EPYC (OpenVINO 2025.3, float32)", does not
// reproduce golden frames of the bundle at `path`; empty where it reproduces all.
std::string problem_of_golden(const std::vector<GoldenCheck>& checks, const std::string& engine,
                              const std::string& precision, const std::string& path);

}  // namespace edgead

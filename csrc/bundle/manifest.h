// manifest.json, read and checked: the rules of C and Python. edgead/bundle/manifest.py builds its
// dataclasses of what passed here.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "anomaly_map.h"
#include "arguments.h"

namespace edgead {

using Size = std::pair<int32_t, int32_t>;  // (height, width)

constexpr int64_t kSchemaVersion = 2;  // the newest one that is read
extern const Words kModelPrecisions;   // that a bundle may hold a graph in

struct Pair {
  std::string reference, restored;
  int64_t channels;
  Size size;
  double weight;
};

// Features of good parts that those of a frame are compared with, and what they differ in at each
// place; edgead/bundle/entries.py says what each value means.
struct Memory {
  std::string features;
  int64_t channels;
  Size size;
  std::string file, places;
  int64_t neighbours;
  double weight;
  std::optional<double> temperature;
  std::optional<std::string> shares, scored;
};

struct Whitening {
  std::string features;
  int64_t channels;
  Size size;
  int64_t first, count;
  std::string mean, factors;
  int64_t side;
  std::optional<std::string> centre, places, scored;
};

// What memories and whitenings have in common.
struct Signal {
  std::string features;
  int64_t channels;
  Size size;
  bool shown, scored;  // whether it counts in the map, in the score
};

// The lowest and the highest own level of good frames, which others are raised between.
using OwnLevels = std::optional<std::pair<double, double>>;

struct Golden {
  std::string image, map;
  double score;
  std::optional<std::string> scored;
};

struct Tolerance {
  double score, map;
};

struct OwnCalibration {
  std::vector<double> scores, peaks;
  Tolerance ties;
};

struct Calibration {
  std::vector<double> scores, peaks;
  double false_reject_rate;
  std::optional<Tolerance> ties;
  std::map<std::string, OwnCalibration> own;
  std::vector<int64_t> parts;  // which part each image shows; empty: each one of its own
};

using Polygon = std::vector<std::pair<double, double>>;  // corners (x, y)

struct IgnoreMask {
  Size frame_size;
  std::vector<Polygon> polygons;
  std::optional<std::string> image;
};

struct Tiling {
  Size size;
  int64_t overlap;
};

struct Health {
  std::string reference;
  int64_t images;
};

struct Input {
  std::string name;
  Size size;
  std::vector<double> mean, std;  // of R, G, B
  int32_t bit_depth;              // 0: not declared
};

// The words of distance, fusion and pooling, by their number in csrc/kernels/anomaly_map.h.
struct Map {
  Size size;
  int32_t distance, fusion, pooling;
  bool align_corners;
  double blur_sigma, top_k;
};

// An array by its name in the graph, as float32.
struct TensorShape {
  std::string name;
  std::vector<int64_t> shape;

  size_t count() const;  // of its values
};

struct Manifest {
  int64_t schema_version;
  std::string name, method;
  Input input;
  std::vector<Pair> pairs;
  std::vector<Memory> memories;
  std::vector<Whitening> whitenings;
  OwnLevels own_levels;
  Map map;
  std::map<std::string, std::string> models;
  Calibration calibration;
  std::map<std::string, Tolerance> tolerance;
  std::vector<Golden> golden;
  std::optional<IgnoreMask> ignore;
  std::optional<Tiling> tiling;
  std::optional<Health> health;
  std::map<std::string, std::string> files;  // name to SHA-256

  // Of a precision: its graph, what qualifies an engine, what scores are judged by. bfloat16 has
  // the graph of float32 and the tolerance of float16. Failure where the bundle has none.
  const std::string& model_of(const std::string& precision) const;
  Tolerance tolerance_of(const std::string& precision) const;
  OwnCalibration calibration_of(const std::string& precision) const;
  // How far two engines of that calibration may be apart in the peak of a map.
  double peak_ties(const OwnCalibration& calibration) const;
  // What features of a frame are compared with: memories, then whitenings.
  std::vector<Signal> signals() const;
  // Of the distances whose sum the score is pooled from; none: it is pooled from the map.
  std::optional<Size> scored_size() const;
  // Of a graph for one image: its input, which comes first, and its outputs, each once.
  std::vector<TensorShape> tensors() const;
  // Of the map: the pairs of the graph, then the distances that it shows, as pairs with 0.
  std::vector<AnomalyMapLevel> levels() const;
  // What each of them counts.
  std::vector<double> weights() const;
};

// Of the content of manifest.json; Failure for one that is damaged or contradicts itself.
Manifest read_manifest(const std::string& text);

// The parts of it that contradict each other, as a Failure.
void check_manifest(const Manifest& manifest);

// Failure where the name of a file leads out of the bundle, or what the manifest refers to is not
// among the files.
void check_names(const Manifest& manifest);

}  // namespace edgead

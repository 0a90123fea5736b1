#include "manifest.h"

#include <algorithm>
#include <cmath>

#include "ignore_mask.h"
#include "json.h"
#include "manifest_parts.h"
#include "wording.h"

namespace edgead {
namespace {

Pair read_pair(const Json& value, const std::string& where) {
  Object object(value, where);
  Pair pair;
  pair.reference = object.text("reference");
  pair.restored = object.text("restored");
  pair.channels = object.whole("channels");
  pair.size = object.size("size");
  pair.weight = object.number("weight");
  object.finish();
  return pair;
}

std::optional<std::string> read_name(Object& object, const char* key) {
  if (!object.has(key)) return std::nullopt;
  return object.text(key);
}

Memory read_memory(const Json& value, const std::string& where) {
  Object object(value, where);
  Memory memory;
  memory.features = object.text("features");
  memory.channels = object.whole("channels");
  memory.size = object.size("size");
  memory.file = object.text("file");
  memory.places = object.text("places");
  memory.neighbours = object.whole("neighbours");
  memory.weight = object.number("weight");
  if (object.has("temperature")) memory.temperature = object.number("temperature");
  memory.shares = read_name(object, "shares");
  memory.scored = read_name(object, "scored");
  object.finish();
  return memory;
}

Whitening read_whitening(const Json& value, const std::string& where) {
  Object object(value, where);
  Whitening whitening;
  whitening.features = object.text("features");
  whitening.channels = object.whole("channels");
  whitening.size = object.size("size");
  whitening.first = object.whole("first");
  whitening.count = object.whole("count");
  whitening.mean = object.text("mean");
  whitening.factors = object.text("factors");
  whitening.side = object.whole("side");
  whitening.centre = read_name(object, "centre");
  whitening.places = read_name(object, "places");
  whitening.scored = read_name(object, "scored");
  object.finish();
  return whitening;
}

std::pair<double, double> read_own_levels(const std::vector<double>& values) {
  const bool rise = values.size() == 2 && 1e-20 <= values[0] && values[0] <= values[1];
  if (rise && values[1] <= 1e20) return {values[0], values[1]};
  throw bundle_failure(
      "manifest.own_levels: expected two numbers in rising order, the lowest and the highest "
      "level, 1e-20 to 1e20");
}

Golden read_golden(const Json& value, const std::string& where) {
  Object object(value, where);
  Golden golden;
  golden.image = object.text("image");
  golden.map = object.text("map");
  golden.score = object.number("score");
  golden.scored = read_name(object, "scored");
  object.finish();
  return golden;
}

Tolerance read_tolerance(const Json& value, const std::string& where) {
  Object object(value, where);
  Tolerance tolerance;
  tolerance.score = object.number("score");
  tolerance.map = object.number("map");
  object.finish();
  return tolerance;
}

OwnCalibration read_own(const Json& value, const std::string& where) {
  Object object(value, where);
  OwnCalibration own;
  own.scores = object.numbers("scores");
  own.peaks = object.numbers("peaks");
  own.ties = read_tolerance(object.at("ties"), object.path("ties"));
  object.finish();
  return own;
}

Calibration read_calibration(const Json& value, const std::string& where) {
  Object object(value, where);
  Calibration calibration;
  calibration.scores = object.numbers("scores");
  calibration.peaks = object.numbers("peaks");
  calibration.false_reject_rate = object.number("false_reject_rate");
  if (object.has("ties")) calibration.ties = read_tolerance(object.at("ties"), object.path("ties"));
  if (object.has("own"))
    for (const auto& [precision, item] : object.object("own").members)
      calibration.own[precision] = read_own(item, object.path("own") + "." + precision);
  if (object.has("parts")) calibration.parts = object.wholes("parts");
  object.finish();
  return calibration;
}

std::vector<Polygon> read_polygons(const Json& value, const std::string& where) {
  const auto bad = [&] {
    return wrong(where, value, "a list of polygons, each a list of corners [x, y]");
  };
  if (value.kind != Json::list) throw bad();
  std::vector<Polygon> polygons;
  for (const Json& polygon : value.items) {
    if (polygon.kind != Json::list) throw bad();
    polygons.emplace_back();
    for (const Json& corner : polygon.items) {
      const std::vector<Json>& xy = corner.items;
      if (xy.size() != 2 || !xy[0].is_number() || !xy[1].is_number()) throw bad();
      polygons.back().emplace_back(xy[0].number, xy[1].number);
    }
  }
  return polygons;
}

IgnoreMask read_ignore(const Json& value, const std::string& where) {
  Object object(value, where);
  IgnoreMask mask;
  mask.frame_size = object.size("frame_size");
  mask.polygons = read_polygons(object.at("polygons"), object.path("polygons"));
  if (object.has("image")) mask.image = object.text("image");
  object.finish();
  check_ignore_mask(mask);
  return mask;
}

Tiling read_tiling(const Json& value, const std::string& where) {
  Object object(value, where);
  Tiling tiling;
  tiling.size = object.size("size");
  tiling.overlap = object.whole("overlap");
  object.finish();
  check_tiling(tiling);
  return tiling;
}

Health read_health(const Json& value, const std::string& where) {
  Object object(value, where);
  Health health;
  health.reference = object.text("reference");
  health.images = object.whole("images");
  for (const char* key : {"brightness", "saturated", "sharpness", "shift"}) object.number(key);
  object.finish();
  return health;
}

// What is checked of it comes after the rest of the manifest was read, as in Python.
Input read_input(const Json& value, const std::string& where, std::optional<int64_t>& bit_depth) {
  Object object(value, where);
  Input input;
  input.name = object.text("name");
  input.size = object.size("size");
  input.mean = object.three("mean");
  input.std = object.three("std");
  if (object.has("bit_depth")) bit_depth = object.whole("bit_depth");
  object.finish();
  return input;
}

struct MapWords {
  std::string distance, fusion, pooling;
};

Map read_map(const Json& value, const std::string& where, MapWords& words) {
  Object object(value, where);
  Map map{};
  map.size = object.size("size");
  words.distance = object.text("distance");
  words.fusion = object.text("fusion");
  map.align_corners = object.truth("align_corners");
  map.blur_sigma = object.number("blur_sigma");
  words.pooling = object.text("pooling");
  map.top_k = object.number("top_k");
  object.finish();
  return map;
}

template <class T>
std::vector<T> read_all(const Json& list, const std::string& where,
                        T (*read)(const Json&, const std::string&)) {
  std::vector<T> found;
  for (size_t i = 0; i < list.items.size(); ++i)
    found.push_back(read(list.items[i], where + "[" + std::to_string(i) + "]"));
  return found;
}

void check_schema(const Json& value) {
  const Json* version = value.find("schema_version");
  if (version != nullptr && version->kind == Json::whole && version->number > kSchemaVersion)
    throw Failure(EDGEAD_ERROR_UNSUPPORTED,
                  "the bundle has schema version " + version->word + "; this edgead reads up to " +
                      std::to_string(kSchemaVersion) +
                      ": upgrade edgead, or export the bundle with this version");
}

Manifest from_json(const Json& value) {
  check_schema(value);
  Object object(value, "manifest");
  Manifest m;
  MapWords words;
  std::optional<int64_t> bit_depth;
  m.schema_version = object.whole("schema_version");
  object.text("edgead_version");
  m.name = object.text("name");
  m.method = object.text("method");
  object.text("created");
  m.input = read_input(object.at("input"), object.path("input"), bit_depth);
  m.pairs = read_all(object.list("pairs"), object.path("pairs"), read_pair);
  if (object.has("memories"))
    m.memories = read_all(object.list("memories"), object.path("memories"), read_memory);
  if (object.has("whitenings"))
    m.whitenings = read_all(object.list("whitenings"), object.path("whitenings"), read_whitening);
  if (object.has("own_levels")) m.own_levels = read_own_levels(object.numbers("own_levels"));
  m.map = read_map(object.at("map"), object.path("map"), words);
  for (auto& [precision, file] : object.texts("models")) m.models[precision] = file;
  m.calibration = read_calibration(object.at("calibration"), object.path("calibration"));
  for (const auto& [precision, item] : object.object("tolerance").members)
    m.tolerance[precision] = read_tolerance(item, object.path("tolerance") + "." + precision);
  m.golden = read_all(object.list("golden"), object.path("golden"), read_golden);
  if (object.has("ignore")) m.ignore = read_ignore(object.at("ignore"), object.path("ignore"));
  if (object.has("tiling")) m.tiling = read_tiling(object.at("tiling"), object.path("tiling"));
  if (object.has("health")) m.health = read_health(object.at("health"), object.path("health"));
  object.object("provenance");
  for (auto& [name, digest] : object.texts("files")) m.files[name] = digest;
  object.finish();
  if (m.schema_version < 1)
    throw bundle_failure("manifest.schema_version is " + std::to_string(m.schema_version) +
                         ", and schemas count from 1: manifest.json was changed; copy the bundle "
                         "again");
  if (m.pairs.empty() && m.memories.empty())
    throw bundle_failure("manifest.pairs: none; expected at least one, or a memory");
  check_size("size", m.map.size);
  m.map.distance = number_of("distance", words.distance, kDistances);
  m.map.fusion = number_of("fusion", words.fusion, kFusions);
  m.map.pooling = number_of("pooling", words.pooling, kPoolings);
  check_map(m);
  m.input.bit_depth = check_bit_depth(bit_depth);
  check_input(m.input);
  check_manifest(m);
  return m;
}

}  // namespace

Manifest read_manifest(const std::string& text) {
  try {
    return from_json(parse_json(text));
  } catch (const Failure& failure) {
    if (failure.status != EDGEAD_ERROR_INPUT) throw;
    throw bundle_failure(std::string("manifest.json: ") + failure.what());
  }
}

std::vector<Signal> Manifest::signals() const {
  std::vector<Signal> found;
  for (const Memory& m : memories)
    found.push_back({m.features, m.channels, m.size, true, m.scored.has_value()});
  for (const Whitening& w : whitenings)
    found.push_back({w.features, w.channels, w.size, w.places.has_value(), w.scored.has_value()});
  return found;
}

std::optional<Size> Manifest::scored_size() const {
  for (const Signal& signal : signals())
    if (signal.scored) return signal.size;
  return std::nullopt;
}

size_t TensorShape::count() const {
  size_t product = 1;
  for (const int64_t side : shape) product *= static_cast<size_t>(side);
  return product;
}

std::vector<TensorShape> Manifest::tensors() const {
  std::vector<TensorShape> found;
  const auto add = [&](const std::string& name, int64_t channels, Size size) {
    for (const TensorShape& other : found)
      if (other.name == name) return;  // signals may share an output
    found.push_back({name, {1, channels, size.first, size.second}});
  };
  add(input.name, 3, input.size);
  for (const Pair& pair : pairs) {
    add(pair.reference, pair.channels, pair.size);
    add(pair.restored, pair.channels, pair.size);
  }
  for (const Signal& signal : signals()) add(signal.features, signal.channels, signal.size);
  return found;
}

std::vector<AnomalyMapLevel> Manifest::levels() const {
  std::vector<AnomalyMapLevel> found;
  const auto add = [&](int64_t channels, Size size, double weight) {
    found.push_back({static_cast<int32_t>(channels), size.first, size.second, weight});
  };
  for (const Pair& pair : pairs) add(pair.channels, pair.size, pair.weight);
  for (const Memory& memory : memories) add(1, memory.size, memory.weight);
  for (const Whitening& whitening : whitenings)
    if (whitening.places) add(1, whitening.size, 1);
  return found;
}

std::vector<double> Manifest::weights() const {
  std::vector<double> found;
  for (const AnomalyMapLevel& level : levels()) found.push_back(level.weight);
  return found;
}

template <class T>
static std::string keys_of(const std::map<std::string, T>& values) {
  std::string keys;
  for (const auto& item : values) keys += (keys.empty() ? "" : ", ") + item.first;
  return keys;
}

const std::string& Manifest::model_of(const std::string& precision) const {
  const auto model = models.find(precision == "bfloat16" ? "float32" : precision);
  if (model != models.end()) return model->second;
  throw bundle_failure("bundle " + name + " has no graph in " + precision + ", only in " +
                       keys_of(models) + ": ask for one of these, or export with " + precision);
}

Tolerance Manifest::tolerance_of(const std::string& precision) const {
  const auto found = tolerance.find(precision == "bfloat16" ? "float16" : precision);
  if (found != tolerance.end()) return found->second;
  throw bundle_failure("bundle " + name + " states no tolerance for " + precision + ", only for " +
                       keys_of(tolerance) + ": ask for one of these, or export it again");
}

OwnCalibration Manifest::calibration_of(const std::string& precision) const {
  const Tolerance held = tolerance_of(precision);
  const auto own = calibration.own.find(precision);
  if (own != calibration.own.end()) return own->second;
  // float32 and float16 have one tie tolerance: a part has one verdict on the CPU and on a GPU.
  const bool shared = precision == "float32" || precision == "float16";
  return {calibration.scores, calibration.peaks, shared ? calibration.ties.value_or(held) : held};
}

double Manifest::peak_ties(const OwnCalibration& own) const {
  // With max pooling of the map its peak is its score, so both share one tolerance.
  const bool is_score = static_cast<Pooling>(map.pooling) == Pooling::max && !scored_size();
  return is_score ? own.ties.score : own.ties.map;
}

}  // namespace edgead

// What the values of a manifest are held to, and what it names. Python's
// edgead/bundle asks the same.
#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

#include "anomaly_map.h"
#include "failure.h"
#include "manifest.h"
#include "manifest_parts.h"
#include "nearest.h"
#include "wording.h"

namespace edgead {

const Words kModelPrecisions{"float32", "float16", "int8"};

int32_t number_of(const char* name, const std::string& word, const Words& words) {
  refuse(name, in_quotes(word), expected_word(word, words));
  const auto found = std::find(words.begin(), words.end(), word);
  return static_cast<int32_t>(found - words.begin());
}

int32_t check_bit_depth(std::optional<int64_t> bit_depth) {
  if (!bit_depth) return 0;
  refuse("bit_depth", std::to_string(*bit_depth), expected_bit_depth(*bit_depth));
  return static_cast<int32_t>(*bit_depth);
}

void check_input(const Input& input) {
  check_size("size", input.size);
  refuse("mean", listed(input.mean, "()"), expected_mean(input.mean));
  refuse("std", listed(input.std, "()"), expected_std(input.std));
}

void check_map(const Manifest& manifest) {
  const std::vector<double> weights = manifest.weights();
  const double sigma = manifest.map.blur_sigma, top_k = manifest.map.top_k;
  refuse("weights", listed(weights, "()"), expected_weights(weights, kMaxLevels));
  refuse("blur_sigma", shown(sigma), expected_blur_sigma(sigma));
  refuse("top_k", shown(top_k), expected_top_k(top_k));
}

void check_tiling(const Tiling& tiling) {
  check_size("size of a tile", tiling.size);
  refuse("the overlap of tiles", std::to_string(tiling.overlap),
         expected_overlap(tiling.overlap, tiling.size.first, tiling.size.second));
}

namespace {

using Rules = std::vector<std::pair<std::string, bool>>;  // a sentence, and whether it holds

void check_rules(const Rules& rules) {
  for (const auto& [sentence, fits] : rules)
    if (!fits) throw bundle_failure("manifest: " + sentence);
}

bool names_fit(const Manifest& m) {
  std::set<std::string> names, compared;
  for (const Pair& pair : m.pairs) names.insert(pair.reference), names.insert(pair.restored);
  for (const Signal& signal : m.signals()) compared.insert(signal.features);
  const size_t count = 2 * m.pairs.size() + compared.size();
  names.insert(compared.begin(), compared.end());
  return names.size() == count;
}

bool sizes_agree(const Manifest& m) {
  std::set<std::tuple<std::string, int64_t, Size>> kinds;
  std::set<std::string> names;
  for (const Signal& s : m.signals())
    kinds.insert({s.features, s.channels, s.size}), names.insert(s.features);
  return kinds.size() == names.size();
}

bool scored_sizes_agree(const Manifest& m) {
  std::set<Size> sizes;
  for (const Signal& signal : m.signals())
    if (signal.scored) sizes.insert(signal.size);
  return sizes.size() <= 1;
}

bool whitenings_fit(const Manifest& m) {
  const auto fits = [](const Whitening& w) {
    return w.first >= 0 && w.count >= 1 && w.count <= w.channels &&
           w.first <= w.channels - w.count && w.side >= 1;
  };
  return std::all_of(m.whitenings.begin(), m.whitenings.end(), fits);
}

bool whitenings_count(const Manifest& m) {
  const auto counts = [](const Whitening& w) { return w.places || w.scored; };
  return std::all_of(m.whitenings.begin(), m.whitenings.end(), counts);
}

bool shown_sizes_agree(const Manifest& m) {
  std::set<Size> sizes;
  for (const Signal& signal : m.signals())
    if (signal.shown) sizes.insert(signal.size);
  return sizes.size() == 1;
}

bool neighbours_fit(const Manifest& m) {
  const auto fit = [](const Memory& memory) {
    return memory.neighbours >= 1 &&
           memory.neighbours <= kMaxNearest - (memory.temperature ? 1 : 0);
  };
  return std::all_of(m.memories.begin(), m.memories.end(), fit);
}

bool temperatures_fit(const Manifest& m) {
  const auto fits = [](const Memory& memory) {
    return !memory.temperature || (*memory.temperature >= 1e-20 && *memory.temperature <= 1e20);
  };
  return std::all_of(m.memories.begin(), m.memories.end(), fits);
}

void check_signals(const Manifest& m) {
  const bool none = m.memories.empty() && m.whitenings.empty();
  const Distance distance = static_cast<Distance>(m.map.distance);
  const std::string neighbours = "memories: expected 1 to " + std::to_string(kMaxNearest) +
                                 " neighbours, one less with a temperature";
  check_rules({
      {"memories and whitenings: of schema version 2", none || m.schema_version >= 2},
      {"memories and whitenings: one size for each output", sizes_agree(m)},
      {"whitenings: expected some of the channels of the output, and a side of at least 1",
       whitenings_fit(m)},
      {"whitenings: expected each to count in the map or in the score", whitenings_count(m)},
      {"memories and whitenings: expected distances of one size in the sum of the score",
       scored_sizes_agree(m)},
      {neighbours, neighbours_fit(m)},
      {"memories.temperature: expected a number above 0, 1e-20 to 1e20", temperatures_fit(m)},
      {"map.distance: expected l1 or l2 with a memory", none || distance != Distance::cosine},
      {"map.distance: expected l1 with a whitening, whose distances are squares as they are",
       m.whitenings.empty() || distance == Distance::l1},
      {"own_levels: expected with memories or whitenings whose distances in the map have one size",
       !m.own_levels || shown_sizes_agree(m)},
      {"own_levels: expected with the distance l1, by which the map is told distances as they are",
       !m.own_levels || distance == Distance::l1},
  });
}

bool channels_fit(const Manifest& m) {
  const auto fit = [](const auto& one) { return one.channels > 0; };
  return std::all_of(m.pairs.begin(), m.pairs.end(), fit);
}

bool same_keys(const Manifest& m) {
  if (m.models.size() != m.tolerance.size()) return false;
  return std::all_of(m.models.begin(), m.models.end(),
                     [&](const auto& model) { return m.tolerance.count(model.first) == 1; });
}

bool models_known(const Manifest& m) {
  return std::all_of(m.models.begin(), m.models.end(), [](const auto& model) {
    return expected_word(model.first, kModelPrecisions).empty();
  });
}

bool own_fits(const Manifest& m, size_t n) {
  return std::all_of(m.calibration.own.begin(), m.calibration.own.end(), [&](const auto& item) {
    return item.second.scores.size() == n && item.second.peaks.size() == n;
  });
}

bool own_has_models(const Manifest& m) {
  return std::all_of(m.calibration.own.begin(), m.calibration.own.end(),
                     [&](const auto& item) { return m.models.count(item.first) == 1; });
}

bool tolerances_fit(const Manifest& m) {
  const auto fits = [](const Tolerance& t) { return t.score >= 0 && t.map >= 0; };
  for (const auto& [_, tolerance] : m.tolerance)
    if (!fits(tolerance)) return false;
  for (const auto& [_, own] : m.calibration.own)
    if (!fits(own.ties)) return false;
  return !m.calibration.ties || fits(*m.calibration.ties);
}

bool parts_fit(const Manifest& m) {
  const size_t parts = m.calibration.parts.size();
  return parts == 0 || parts == m.calibration.scores.size();
}

bool digests_fit(const Manifest& m) {
  return std::all_of(m.files.begin(), m.files.end(), [](const auto& file) {
    return file.second.size() == 64 &&
           file.second.find_first_not_of("0123456789abcdef") == std::string::npos;
  });
}

}  // namespace

void check_manifest(const Manifest& m) {
  const size_t n = m.calibration.scores.size();
  const double rate = m.calibration.false_reject_rate;
  check_rules({{"pairs: an output is named twice", names_fit(m)}});
  check_signals(m);
  check_rules({
      {"pairs: sizes must be positive", channels_fit(m)},
      {"models: \"float32\" is missing", m.models.count("float32") == 1},
      {"models: expected only ('float32', 'float16', 'int8')", models_known(m)},
      {"tolerance: expected one per model", same_keys(m)},
      {"tiling: expected a map of at least 2 x 2 pixels",
       !m.tiling || std::min(m.map.size.first, m.map.size.second) >= 2},
      {"golden: no golden frame, so no engine can be qualified", !m.golden.empty()},
      {"calibration.scores: none", n > 0},
      {"calibration: scores and peaks differ in number", m.calibration.peaks.size() == n},
      {"calibration.parts: expected one for each score", parts_fit(m)},
      {"calibration.own: expected as many scores and peaks as in float32", own_fits(m, n)},
      {"calibration.own: of a precision without a model", own_has_models(m)},
      {"tolerance or ties: negative", tolerances_fit(m)},
      {"calibration.false_reject_rate: expected a number between 0 and 1", rate > 0 && rate < 1},
      {"health.images: expected at least 1", !m.health || m.health->images >= 1},
      {"files: a digest is not a SHA-256 in hex", digests_fit(m)},
  });
}

namespace {

// Whether a name stays inside the bundle.
bool is_plain_name(const std::string& name) {
  if (name.find_first_of("\\:") != std::string::npos || name.find('\0') != std::string::npos)
    return false;
  size_t start = 0;
  for (;;) {
    const size_t end = std::min(name.find('/', start), name.size());
    const std::string part = name.substr(start, end - start);
    if (part.empty() || part == "." || part == "..") return false;
    if (end == name.size()) return true;
    start = end + 1;
  }
}

}  // namespace

void check_names(const Manifest& manifest) {
  for (const auto& [name, _] : manifest.files) {
    if (!is_plain_name(name))
      throw bundle_failure("files: " + in_quotes(name) + " is not a plain relative name; " +
                           kAgain);
    if (name == kManifest)
      throw bundle_failure(std::string("files: ") + kManifest + " cannot hold its own digest");
    if (name == kSignatures)
      throw bundle_failure(std::string("files: ") + kSignatures +
                           " signs the manifest, and cannot be in it");
  }
  std::vector<std::string> used;
  const auto add = [&](const std::vector<std::optional<std::string>>& names) {
    for (const auto& name : names)
      if (name) used.push_back(*name);
  };
  for (const auto& [_, file] : manifest.models) used.push_back(file);
  for (const Golden& golden : manifest.golden) add({golden.image, golden.map, golden.scored});
  for (const Memory& m : manifest.memories) add({m.file, m.places, m.shares, m.scored});
  for (const Whitening& w : manifest.whitenings)
    add({w.mean, w.factors, w.centre, w.places, w.scored});
  if (manifest.ignore && manifest.ignore->image) used.push_back(*manifest.ignore->image);
  if (manifest.health) used.push_back(manifest.health->reference);
  for (const std::string& name : used)
    if (manifest.files.count(name) == 0)
      throw bundle_failure(in_quotes(name) + " is used by the manifest and not among its files; " +
                           kAgain);
}

std::string problem_of_digest(size_t bytes, const std::string& found, const std::string& expected) {
  if (found == expected) return "";
  return "was truncated or altered (" + std::to_string(bytes) + " bytes, SHA-256 " +
         found.substr(0, 12) + "…, expected " + expected.substr(0, 12) + "…); " + kAgain;
}

}  // namespace edgead

// A memory of good parts, searched by the kernel nearest.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "aligned.h"
#include "arguments.h"
#include "kernels.h"
#include "principal_components.h"
#include "signals.h"
#include "wording.h"

namespace edgead {
namespace {

void check_shape(const std::string& where, const Array& rows) {
  const std::string expected = expected_memory(rows.shape[0], rows.shape[1]);
  if (!expected.empty())
    throw bundle_failure(where + "the memory is " + rows.type + " of shape " +
                         listed(rows.shape, "()") + ", expected " + expected);
}

std::vector<float> as_floats(const Array& array) {
  if (array.type == "float32") return array.floats();
  std::vector<float> values(array.count());
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t half;
    std::memcpy(&half, &array.values[2 * i], sizeof half);
    values[i] = float_from_half(half);
  }
  return values;
}

Array read_rows(const BundleFiles& bundle, const Memory& entry, std::vector<float>& values) {
  Array found = bundle.read_array(entry.file);
  if (found.shape.size() != 2 || found.shape[1] != entry.channels ||
      (found.type != "float32" && found.type != "float16"))
    throw bundle.unlike(entry.file, found,
                        "[rows, " + std::to_string(entry.channels) + "], float32 or float16");
  if (entry.neighbours > found.shape[0] && !entry.temperature)
    throw bundle.unlike(entry.file, found,
                        "at least " + std::to_string(entry.neighbours) + " rows");
  values = as_floats(found);
  if (!std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); }))
    throw bundle_failure("bundle " + bundle.path() + ": " + entry.file +
                         " holds a NaN or an infinity, expected finite features: copy the bundle "
                         "again, or learn it again");
  return found;
}

// What each position counts, of a distance that is a sum over the channels, or its root.
std::vector<float> counts_of(const BundleFiles& bundle, const std::optional<std::string>& name,
                             const Memory& entry) {
  if (!name) return {};
  std::vector<float> counts = bundle.read_places(*name, entry.size);
  const bool root = static_cast<Distance>(bundle.manifest().map.distance) == Distance::l2;
  for (float& value : counts) {
    value /= static_cast<float>(entry.channels);
    if (root) value = std::sqrt(value);
  }
  return counts;
}

NearestParams params_of(const Memory& entry, int32_t rows, Type type, bool root) {
  NearestParams p{};
  p.positions = entry.size.first * entry.size.second, p.width = entry.size.second;
  p.channels = static_cast<int32_t>(entry.channels), p.rows = rows;
  p.query_type = Type::float32, p.layout = Layout::nchw;
  p.memory_type = type, p.search = Search::pruned;
  p.root = root;
  const auto neighbours = static_cast<int32_t>(entry.neighbours);
  if (entry.temperature) {
    p.k = std::min(neighbours + 1, rows);  // the next one ends the shares
    p.blended = std::min(neighbours, rows);
    p.temperature = static_cast<float>(static_cast<double>(entry.channels) * *entry.temperature);
    return p;
  }
  p.k = neighbours;
  for (int32_t i = 0; i < p.k; ++i) p.weight[i] = static_cast<float>(1.0 / neighbours);
  return p;
}

class OpenedMemory : public OpenedSignal {
 public:
  explicit OpenedMemory(ReadMemory read)
      : params_(read.params),
        shares_(std::move(read.shares)),
        rows_(read.rows.values.size()),
        memory_(nearest_index_bytes(params_.rows, params_.channels, params_.search)) {
    std::memcpy(rows_.data(), read.rows.values.data(), read.rows.values.size());
    const PrincipalComponents found =
        principal_components(read.values.data(), static_cast<size_t>(params_.rows),
                             static_cast<size_t>(params_.channels));
    index_ =
        nearest_index(params_.rows, params_.channels, params_.memory_type, params_.search,
                      rows_.data(), nullptr, found.mean.data(), found.basis.data(), memory_.data());
    channels = params_.channels;
    size = read.size;
    shown = std::move(read.counts), scored = std::move(read.scored);
  }

  std::unique_ptr<SignalSession> session() const override;

 private:
  friend class MemorySession;
  NearestParams params_;
  std::vector<float> shares_;  // [positions], what features are multiplied by; empty: 1
  Aligned rows_, memory_;
  NearestIndex index_{};
};

class MemorySession : public SignalSession {
 public:
  explicit MemorySession(const OpenedMemory& memory)
      : memory_(memory),
        kernel_(*all_nearest_kernels().front()),
        weighed_(memory.shares_.size() * static_cast<size_t>(memory.params_.channels)),
        guess_(memory.positions() * static_cast<size_t>(memory.params_.k), -1),
        workspace_(nearest_workspace_bytes(memory.params_)) {}

  void run(const float* features, float* distance) override {
    const size_t n = memory_.positions();
    for (size_t i = 0; i < weighed_.size(); i += n)
      for (size_t at = 0; at < n; ++at) weighed_[i + at] = features[i + at] * memory_.shares_[at];
    kernel_.run(memory_.params_, memory_.index_, weighed_.empty() ? features : weighed_.data(), 1,
                nullptr, distance, guess_.data(), workspace_.data());
  }

 private:
  const OpenedMemory& memory_;
  const NearestKernel& kernel_;
  std::vector<float> weighed_;
  std::vector<int32_t> guess_;
  Aligned workspace_;
};

std::unique_ptr<SignalSession> OpenedMemory::session() const {
  return std::make_unique<MemorySession>(*this);
}

}  // namespace

void check_room(const std::string& where, int64_t free, int64_t rows, int64_t each,
                const std::string& instead) {
  const int64_t left = std::max<int64_t>(free, 0), fits = left / each;
  if (rows <= fits) return;
  const std::string learn =
      format("learn with --memory %lld", static_cast<long long>(std::max<int64_t>(fits, 1)));
  const std::string cures = instead.empty() ? learn + ", or close other programs"
                                            : learn + ", close other programs, or use " + instead;
  throw device_failure(format(
      "%s has %.1f MB free, and the memory of %lld features takes %.1f MB; at most %lld features "
      "fit: %s",
      where.c_str(), static_cast<double>(left) / 1e6, static_cast<long long>(rows),
      static_cast<double>(rows) * static_cast<double>(each) / 1e6, static_cast<long long>(fits),
      cures.c_str()));
}

ReadMemory read_memory(const BundleFiles& bundle, const Memory& entry) {
  ReadMemory read{};
  read.rows = read_rows(bundle, entry, read.values);
  read.counts = counts_of(bundle, entry.places, entry);
  read.scored = counts_of(bundle, entry.scored, entry);
  read.size = entry.size;
  if (entry.shares) read.shares = bundle.read_places(*entry.shares, entry.size);
  const std::string where = "bundle " + bundle.path() + ": " + entry.file + ": ";
  check_shape(where, read.rows);
  read.params = params_of(entry, static_cast<int32_t>(read.rows.shape[0]),
                          read.rows.type == "float32" ? Type::float32 : Type::float16,
                          static_cast<Distance>(bundle.manifest().map.distance) == Distance::l2);
  if (const std::string problem = problem_of(read.params); !problem.empty())
    throw bundle_failure(where + problem);
  return read;
}

std::unique_ptr<OpenedSignal> open_memory(ReadMemory memory) {
  return std::make_unique<OpenedMemory>(std::move(memory));
}

}  // namespace edgead

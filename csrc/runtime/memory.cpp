// A memory of good parts, searched by the kernel nearest; edgead/engine/memories.py.
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

// The rows of an entry and their values.
struct Rows {
  Array array;
  std::vector<float> values;
};

Rows read_rows(const Bundle& bundle, const Memory& entry) {
  Rows rows{bundle.read_array(entry.file), {}};
  const Array& found = rows.array;
  if (found.shape.size() != 2 || found.shape[1] != entry.channels ||
      (found.type != "float32" && found.type != "float16"))
    throw bundle.unlike(entry.file, found,
                        "[rows, " + std::to_string(entry.channels) + "], float32 or float16");
  if (entry.neighbours > found.shape[0] && !entry.temperature)
    throw bundle.unlike(entry.file, found,
                        "at least " + std::to_string(entry.neighbours) + " rows");
  rows.values = as_floats(found);
  if (!std::all_of(rows.values.begin(), rows.values.end(),
                   [](float v) { return std::isfinite(v); }))
    throw bundle_failure("bundle " + bundle.path() + ": " + entry.file +
                         " holds a NaN or an infinity, expected finite features: copy the bundle "
                         "again, or learn it again");
  return rows;
}

// What each position counts, of a distance that is a sum over the channels, or its root.
std::vector<float> counts_of(const Bundle& bundle, const std::optional<std::string>& name,
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
  OpenedMemory(const Bundle& bundle, const Memory& entry, const Rows& rows)
      : params_(params_of(entry, static_cast<int32_t>(rows.array.shape[0]),
                          rows.array.type == "float32" ? Type::float32 : Type::float16,
                          static_cast<Distance>(bundle.manifest().map.distance) == Distance::l2)),
        rows_(rows.array.values.size()),
        memory_(nearest_index_bytes(params_.rows, params_.channels, params_.search)) {
    std::memcpy(rows_.data(), rows.array.values.data(), rows.array.values.size());
    const PrincipalComponents found = principal_components(rows.values, params_.channels);
    index_ =
        nearest_index(params_.rows, params_.channels, params_.memory_type, params_.search,
                      rows_.data(), nullptr, found.mean.data(), found.basis.data(), memory_.data());
    positions = static_cast<size_t>(params_.positions);
  }

  std::unique_ptr<SignalSession> session() const override;

  const NearestParams& params() const { return params_; }

  std::vector<float> shares;  // [positions], what features are multiplied by; empty: 1

 private:
  friend class MemorySession;
  NearestParams params_;
  Aligned rows_, memory_;
  NearestIndex index_{};
};

class MemorySession : public SignalSession {
 public:
  explicit MemorySession(const OpenedMemory& memory)
      : memory_(memory),
        kernel_(*all_nearest_kernels().front()),
        weighed_(memory.shares.size() * static_cast<size_t>(memory.params_.channels)),
        guess_(memory.positions * static_cast<size_t>(memory.params_.k), -1),
        workspace_(nearest_workspace_bytes(memory.params_)) {}

  void run(const float* features, float* distance) override {
    const size_t n = memory_.positions;
    for (size_t i = 0; i < weighed_.size(); i += n)
      for (size_t at = 0; at < n; ++at) weighed_[i + at] = features[i + at] * memory_.shares[at];
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

std::unique_ptr<OpenedSignal> open_memory(const Bundle& bundle, const Memory& entry) {
  const Rows rows = read_rows(bundle, entry);
  std::vector<float> shown = counts_of(bundle, entry.places, entry);
  std::vector<float> scored = counts_of(bundle, entry.scored, entry), shares;
  if (entry.shares) shares = bundle.read_places(*entry.shares, entry.size);
  const std::string where = "bundle " + bundle.path() + ": " + entry.file + ": ";
  check_shape(where, rows.array);
  auto memory = std::make_unique<OpenedMemory>(bundle, entry, rows);
  if (const std::string problem = problem_of(memory->params()); !problem.empty())
    throw bundle_failure(where + problem);
  memory->shown = std::move(shown), memory->scored = std::move(scored);
  memory->shares = std::move(shares);
  return memory;
}

}  // namespace edgead

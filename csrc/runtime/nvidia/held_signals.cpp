#include "held_signals.h"

#include <algorithm>

#include "nearest_codes.h"
#include "wording.h"

namespace edgead {
namespace {

std::unique_ptr<Buffer> upload(const std::vector<float>& values) {
  return values.empty() ? nullptr : std::make_unique<Buffer>(values);
}

const float* floats_of(const std::unique_ptr<Buffer>& buffer) {
  return buffer ? static_cast<const float*>(buffer->data()) : nullptr;
}

// What the distances count: in the map, and in the score.
struct Counts {
  explicit Counts(const std::vector<float>& map, const std::vector<float>& score)
      : counts(upload(map)), scored(upload(score)) {}

  DistanceOut out(float* distance, float* sum, bool add) const {
    return {floats_of(counts), counts ? distance : nullptr, floats_of(scored),
            scored ? sum : nullptr, add};
  }
  std::unique_ptr<Buffer> counts, scored;
};

class HeldMemory : public HeldSignal {
 public:
  explicit HeldMemory(const ReadMemory& read)
      : params_(read.params),
        rows_(read.rows.values.size()),
        codes_memory_(row_codes_bytes(params_.rows, params_.channels)),
        shares_(upload(read.shares)),
        counts_(read.counts, read.scored) {
    rows_.fill(read.rows.values.data(), read.rows.values.size());
    std::vector<char> host(row_codes_bytes(params_.rows, params_.channels));
    codes_ = row_codes(params_.rows, params_.channels, params_.memory_type, read.rows.values.data(),
                       nullptr, host.data());
    codes_memory_.fill(host.data(), host.size());
    codes_ = row_codes_moved(codes_, codes_memory_.data());
    workspace_bytes = nearest_cuda_workspace_bytes(params_, 1);
    positions = static_cast<size_t>(params_.positions);
    shown = true, scored = counts_.scored != nullptr;
  }

  void enqueue(const void* features, float* distance, float* sum, bool add, void* workspace,
               const Stream& stream) const override {
    check(nearest_cuda(params_, codes_, rows_.data(), nullptr, features, 1, floats_of(shares_),
                       nullptr, counts_.out(distance, sum, add), workspace, stream.get()));
  }

 private:
  NearestParams params_;
  Buffer rows_, codes_memory_;
  RowCodes codes_{};
  std::unique_ptr<Buffer> shares_;
  Counts counts_;
};

class HeldWhitening : public HeldSignal {
 public:
  explicit HeldWhitening(const ReadWhitening& read)
      : params_(read.params),
        offset_(read.offset),
        mean_(read.mean),
        factors_(read.factors),
        centre_(upload(read.centre)),
        counts_(read.counts, read.scored) {
    positions = static_cast<size_t>(params_.height) * params_.width;
    shown = counts_.counts != nullptr, scored = counts_.scored != nullptr;
  }

  void enqueue(const void* features, float* distance, float* sum, bool add, void*,
               const Stream& stream) const override {
    check(whiten_cuda(params_, static_cast<const float*>(mean_.data()),
                      static_cast<const float*>(factors_.data()),
                      static_cast<const float*>(features) + offset_, 1, floats_of(centre_), nullptr,
                      counts_.out(distance, sum, add), stream.get()));
  }

 private:
  WhitenParams params_;
  size_t offset_;
  Buffer mean_, factors_;
  std::unique_ptr<Buffer> centre_;
  Counts counts_;
};

void check_fits(const ReadMemory& read, const Device& device) {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total));
  const size_t rows = static_cast<size_t>(read.params.rows);
  const size_t codes = row_codes_bytes(read.params.rows, read.params.channels);
  const size_t each = read.rows.values.size() / rows + (codes + rows - 1) / rows;
  const size_t places = read.counts.size() + read.scored.size() + read.shares.size();
  const size_t beside = sizeof(float) * places;
  check_room(format("cuda:0 (%s)", device.name().c_str()),
             static_cast<int64_t>(free) - static_cast<int64_t>(beside), static_cast<int64_t>(rows),
             static_cast<int64_t>(each), "device \"cpu\"");
}

std::unique_ptr<Buffer> zeros_of(size_t count) {
  return std::make_unique<Buffer>(std::vector<float>(count));
}

}  // namespace

std::shared_ptr<const HeldSignals> hold_signals(const BundleFiles& bundle, const Device& device) {
  auto held = std::make_shared<HeldSignals>();
  for (const Memory& memory : bundle.manifest().memories) {
    const ReadMemory read = read_memory(bundle, memory);
    check_fits(read, device);
    held->each.push_back(std::make_unique<HeldMemory>(read));
  }
  for (const Whitening& whitening : bundle.manifest().whitenings)
    held->each.push_back(std::make_unique<HeldWhitening>(read_whitening(bundle, whitening)));
  held->own_levels = bundle.manifest().own_levels;
  return held;
}

DeviceDistances::DeviceDistances(std::shared_ptr<const HeldSignals> held) : held_(std::move(held)) {
  size_t most = 0, workspace = 0;
  for (const auto& one : held_->each) {
    distances_.push_back(one->shown ? zeros_of(one->positions) : nullptr);
    if (one->shown) {
      raise_.positions = static_cast<int32_t>(one->positions);
      raise_.distance[raise_.shown++] = static_cast<float*>(distances_.back()->data());
    }
    if (one->scored && !sum_) {
      sum_ = zeros_of(one->positions);
      raise_.sum = static_cast<float*>(sum_->data());
      raise_.summed = static_cast<int32_t>(one->positions);
    }
    most = std::max(most, one->positions);
    workspace = std::max(workspace, one->workspace_bytes);
  }
  if (held_->own_levels) {
    raise_.lowest = static_cast<float>(held_->own_levels->first);
    raise_.highest = static_cast<float>(held_->own_levels->second);
  }
  if (most > 0) zeros_ = zeros_of(most);
  if (workspace > 0) workspace_ = std::make_unique<Buffer>(workspace);
}

void DeviceDistances::enqueue(const std::vector<const void*>& features,
                              const Stream& stream) const {
  bool add = false;
  for (size_t i = 0; i < held_->each.size(); ++i) {
    const HeldSignal& one = *held_->each[i];
    float* distance = distances_[i] ? static_cast<float*>(distances_[i]->data()) : nullptr;
    float* sum = sum_ ? static_cast<float*>(sum_->data()) : nullptr;
    void* workspace = workspace_ ? workspace_->data() : nullptr;
    one.enqueue(features[i], distance, sum, add, workspace, stream);
    add = add || one.scored;
  }
  if (held_->own_levels) check(raise_cuda(raise_, stream.get()));
}

std::vector<const void*> DeviceDistances::shown() const {
  std::vector<const void*> found;
  for (const auto& distance : distances_)
    if (distance) found.push_back(distance->data());
  return found;
}

}  // namespace edgead

// What is usual at each place, compared with by the kernel whiten.
#include <algorithm>

#include "aligned.h"
#include "arguments.h"
#include "kernels.h"
#include "signals.h"
#include "wording.h"

namespace edgead {
namespace {

class OpenedWhitening : public OpenedSignal {
 public:
  explicit OpenedWhitening(ReadWhitening read)
      : params_(read.params),
        offset_(read.offset),
        centre_(std::move(read.centre)),
        memory_(whiten_index_bytes(params_)),
        index_(
            whiten_index(params_, read.mean.data(), read.factors.data(), nullptr, memory_.data())) {
    channels = read.channels;
    size = read.size;
    shown = std::move(read.counts), scored = std::move(read.scored);
  }

  std::unique_ptr<SignalSession> session() const override;

 private:
  friend class WhiteningSession;
  WhitenParams params_;
  size_t offset_;              // of the first channel that counts
  std::vector<float> centre_;  // [channels], what they are taken less; empty: nothing
  Aligned memory_;
  WhitenIndex index_;
};

class WhiteningSession : public SignalSession {
 public:
  explicit WhiteningSession(const OpenedWhitening& whitening)
      : of_(whitening),
        kernels_(*all_kernels().front()),
        centred_(whitening.centre_.size() * whitening.positions()),
        workspace_(whiten_workspace_bytes(whitening.params_)) {}

  void run(const float* features, float* distance) override {
    const float* values = features + of_.offset_;
    for (size_t i = 0; i < centred_.size(); ++i)
      centred_[i] = values[i] - of_.centre_[i / of_.positions()];
    kernels_.whiten(of_.params_, of_.index_, centred_.empty() ? values : centred_.data(), 1,
                    distance, workspace_.data());
  }

 private:
  const OpenedWhitening& of_;
  const Kernels& kernels_;
  std::vector<float> centred_;
  Aligned workspace_;
};

std::unique_ptr<SignalSession> OpenedWhitening::session() const {
  return std::make_unique<WhiteningSession>(*this);
}

}  // namespace

ReadWhitening read_whitening(const BundleFiles& bundle, const Whitening& entry) {
  ReadWhitening read{};
  const auto [height, width] = entry.size;
  const int64_t side = std::min<int64_t>(entry.side, std::max(height, width));
  const int64_t regions = ((height + side - 1) / side) * ((width + side - 1) / side);
  read.mean = bundle.read_floats(entry.mean, {entry.count, height, width});
  read.factors = bundle.read_floats(entry.factors, {regions, entry.count, entry.count});
  if (entry.centre) read.centre = bundle.read_floats(*entry.centre, {entry.count});
  if (entry.places) read.counts = bundle.read_places(*entry.places, entry.size);
  if (entry.scored) read.scored = bundle.read_places(*entry.scored, entry.size);
  WhitenParams& p = read.params;
  p.height = height, p.width = width;
  p.channels = p.outputs = static_cast<int32_t>(entry.count);
  p.side = static_cast<int32_t>(side);
  p.triangular =
      whiten_triangular(read.factors.data(), static_cast<size_t>(regions), p.outputs, p.channels);
  p.channel_normal = entry.centre.has_value();
  p.epsilon = static_cast<float>(kWhitenEpsilon);
  p.type = Type::float32, p.layout = Layout::nchw;
  if (const std::string problem = problem_of(p); !problem.empty())
    throw bundle_failure("bundle " + bundle.path() + ": " + entry.factors + ": " + problem);
  read.size = entry.size, read.channels = entry.channels;
  read.offset = static_cast<size_t>(entry.first) * height * width;
  return read;
}

std::unique_ptr<OpenedSignal> open_whitening(ReadWhitening whitening) {
  return std::make_unique<OpenedWhitening>(std::move(whitening));
}

}  // namespace edgead

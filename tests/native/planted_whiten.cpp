// The bugs on purpose of whiten, and its threads.
#include <thread>

#include "planted.h"
#include "run.h"
#include "whiten_case.h"

namespace edgead {
namespace {

WhitenCase whiten_case() {
  WhitenCase c;
  WhitenParams& p = c.params;
  p.height = 9, p.width = 10, p.channels = 40, p.outputs = 37, p.side = 5;
  p.triangular = p.channel_normal = true, p.epsilon = 1e-5f;
  return c;
}

// Runs the case with an index that `spoil` has changed, in arrays that lack `missing` bytes.
template <class Spoil>
void whiten_with(const std::string& which, size_t missing, const Spoil& spoil) {
  const WhitenCase c = whiten_case();
  const WhitenParams& p = c.params;
  WhitenInputs inputs(c);
  auto bytes = [&](const char* name, size_t whole) {
    return which == name ? whole - missing : whole;
  };
  const WhitenTruth truth = whiten_truth(p, inputs.features, inputs.mean->as<float>(),
                                         inputs.factor->as<float>(), c.roi, 1);
  if (which == "whiten_feature")
    inputs.feature = std::make_unique<Block>(inputs.feature->bytes() - missing);
  Block memory(bytes("whiten_index", whiten_index_bytes(p)));
  WhitenIndex index =
      whiten_index(p, inputs.mean->as<float>(), inputs.factor->as<float>(), nullptr, memory.data());
  spoil(index);
  for (const Kernels* set : all_kernels()) {
    Block distance(bytes("whiten_distance", sizeof(float) * p.height * p.width));
    Block workspace(bytes("whiten_workspace", whiten_workspace_bytes(p)));
    set->whiten(p, index, inputs.feature->data(), 1, distance.as<float>(), workspace.data());
    check_whiten(c, truth, distance, set->name);
  }
}

}  // namespace

bool planted_in_whiten(const std::string& bug) {
  auto nothing = [](WhitenIndex&) {};
  for (const char* name : {"whiten_feature", "whiten_distance", "whiten_workspace"})
    if (bug == name) return whiten_with(bug, 1, nothing), true;
  if (bug == "whiten_index") return whiten_with(bug, 64, nothing), true;
  if (bug == "whiten_mean")
    return whiten_with("", 0, [](WhitenIndex& index) { ++index.mean; }), true;
  if (bug == "whiten_region")
    return whiten_with("", 0, [](WhitenIndex& index) { ++index.region, --index.blocks; }), true;
  if (bug == "whiten_place")
    return whiten_with("", 0,
                       [](WhitenIndex& index) {
                         auto place = const_cast<int32_t*>(index.place);
                         std::swap(place[0], place[1]);
                       }),
           true;
  if (bug == "whiten_panel")
    return whiten_with("", 0, [](WhitenIndex& index) { index.panels += kWhitenPanel; }), true;
  return false;
}

// One index for several threads.
void whiten_threads(bool one_workspace) {
  const WhitenCase c = whiten_case();
  const WhitenInputs inputs(c);
  const WhitenIndexMemory ready(c, inputs);
  Block shared(whiten_workspace_bytes(c.params));
  for (const Kernels* set : all_kernels()) {
    agree_in_threads(set->name, sizeof(float) * 90, [&](float* distances) {
      Block own(whiten_workspace_bytes(c.params));
      for (int turn = 0; turn < 3; ++turn)
        set->whiten(c.params, ready.index, inputs.feature->data(), 1, distances,
                    one_workspace ? shared.data() : own.data());
    });
  }
}

}  // namespace edgead

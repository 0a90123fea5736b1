#include "planted.h"

#include <thread>

#include "nearest_case.h"
#include "run.h"

namespace edgead {
namespace {

MapCase map_case() {
  MapCase c;
  AnomalyMapParams& p = c.params;
  p.levels = 2;
  p.level[0] = {5, 6, 7, 1.0}, p.level[1] = {3, 4, 3, 0.5};
  p.height = 13, p.width = 21;
  p.pooling = Pooling::top_k, p.top_count = 9;
  p.sigma = 1.0;
  return c;
}

FrameCase frame_case() {
  FrameCase c;
  c.params.height = 9, c.params.width = 11, c.params.channels = 3, c.params.sample_bytes = 1;
  c.params.bit_depth = 8;
  c.params.row_stride = 33, c.params.pixel_stride = 3, c.params.channel_stride = 1;
  c.params.out_height = 17, c.params.out_width = 19;
  for (int i = 0; i < 3; ++i) c.params.order[i] = i, c.params.scale[i] = 1.0f;
  return c;
}

// Each array of anomaly_map in turn is `missing` bytes smaller than it has to be.
void short_map_array(const std::string& which, size_t missing) {
  const MapCase c = map_case();
  MapInputs inputs(c);
  auto bytes = [&](const char* name, size_t whole) {
    return which == name ? whole - missing : whole;
  };
  if (which == "feature")
    inputs.held[1][1] = std::make_unique<Block>(inputs.held[1][1]->bytes() - missing);
  const std::vector<const void*> reference = inputs.pointers(0), restored = inputs.pointers(1);
  Block memory(bytes("plan", anomaly_map_plan_bytes(c.params)));
  const AnomalyMapPlan plan = anomaly_map_plan(c.params, nullptr, memory.data());
  Block map(bytes("map", sizeof(float) * c.params.height * c.params.width));
  Block score(bytes("score", sizeof(float)));
  Block workspace(bytes("workspace", anomaly_map_workspace_bytes(c.params)));
  for (const Kernels* set : all_kernels())
    set->anomaly_map(plan, reference.data(), restored.data(), 1, map.as<float>(), score.as<float>(),
                     workspace.data());
}

void short_frame_array(const std::string& which, size_t missing) {
  const FrameCase c = frame_case();
  auto bytes = [&](const char* name, size_t whole) {
    return which == name ? whole - missing : whole;
  };
  const Axes axes(c.params);
  Block frame(bytes("frame", 9 * 33)), image(bytes("image", image_bytes(c.params)));
  Block workspace(bytes("scratch", preprocess_workspace_bytes(c.params)));
  for (const Kernels* set : all_kernels())
    set->preprocess(c.params, axes.vertical, axes.horizontal, frame.data(), image.data(),
                    workspace.data());
}

// One weight of the plan is a little wrong.
void wrong_weight() {
  const MapCase c = map_case();
  const MapInputs inputs(c);
  const MapTruth truth =
      anomaly_map_truth(c.params, inputs.values[0], inputs.values[1], c.roi, c.batch);
  const MapPlan plan(c);
  const_cast<float*>(plan.plan.rows[0].weight)[0] += 1e-3f;
  MapOutputs outputs(c);
  Block workspace(anomaly_map_workspace_bytes(c.params));
  const Kernels* set = all_kernels()[0];
  set->anomaly_map(plan.plan, inputs.pointers(0).data(), inputs.pointers(1).data(), 1,
                   outputs.map.as<float>(), outputs.score.as<float>(), workspace.data());
  outputs.check(c, truth, set->name);
}

// One sample of the frame changed between the truth and the kernel, by 1 of 255.
void wrong_sample() {
  const FrameCase c = frame_case();
  const Frame frame(c);
  const Axes axes(c.params);
  const std::vector<float> truth = preprocess_truth(c.params, frame.first());
  frame.block->data()[40] ^= 1;
  Block image(image_bytes(c.params)), workspace(preprocess_workspace_bytes(c.params));
  const Kernels* set = all_kernels()[0];
  set->preprocess(c.params, axes.vertical, axes.horizontal, frame.first(), image.data(),
                  workspace.data());
  check_image(c, truth, image, set->name);
}

NearestCase nearest_case(const std::string& bug) {
  NearestCase c;
  NearestParams& p = c.params;
  p.positions = 60, p.width = 10, p.channels = 70, p.rows = 300, p.k = 2;
  p.weight[0] = p.weight[1] = 1.0f;
  p.memory_type = Type::float32;
  c.spread = Spread::falling;
  // Else the centre is nearer than any row, and the second nearest so far that no tile is left out.
  if (bug == "tight_radius") p.channels = 3, p.k = 1;
  return c;
}

// Runs the case with an index that `spoil` has changed, in arrays that lack `missing` bytes.
template <class Spoil>
void nearest_with(const std::string& which, size_t missing, const Spoil& spoil) {
  const NearestCase c = nearest_case(which);
  const NearestParams& p = c.params;
  NearestInputs inputs(c);
  auto bytes = [&](const char* name, size_t whole) {
    return which == name ? whole - missing : whole;
  };
  const std::vector<double> truth = nearest_truth(p, inputs.queries, inputs.memory, c.roi, 1);
  if (which == "query") inputs.query = std::make_unique<Block>(inputs.query->bytes() - missing);
  if (which == "rows") {
    inputs.rows = std::make_unique<Block>(inputs.rows->bytes() - missing);
    std::memset(inputs.rows->data(), 0, inputs.rows->bytes());
  }
  Block memory(bytes("index", nearest_index_bytes(p.rows, p.channels, p.search)));
  NearestIndex index =
      nearest_index(p.rows, p.channels, p.memory_type, p.search, inputs.rows->data(), nullptr,
                    inputs.mean.data(), inputs.basis.data(), memory.data());
  spoil(index);
  for (const NearestKernel* set : all_nearest_kernels()) {
    Block distance(bytes("distance", sizeof(float) * p.positions));
    Block guess(bytes("guess", inputs.guess->bytes()));
    Block workspace(bytes("search", nearest_workspace_bytes(p)));
    std::memset(guess.data(), 0, guess.bytes());
    set->run(p, index, inputs.query->data(), 1, nullptr, distance.as<float>(), guess.as<int32_t>(),
             workspace.data());
    check_nearest(c, truth, distance, set->name);
  }
}

bool planted_in_nearest(const std::string& bug) {
  auto nothing = [](NearestIndex&) {};
  for (const char* name : {"query", "rows", "distance", "guess"})
    if (bug == name) return nearest_with(bug, 1, nothing), true;
  if (bug == "index") return nearest_with(bug, 64, nothing), true;
  if (bug == "search") return nearest_with(bug, 64 + 4 * kNearestTile, nothing), true;
  // Bounds that promise a little too much, each in its own way.
  if (bug == "tight_stretch")
    return nearest_with("", 0, [](NearestIndex& index) { index.stretch *= 0.93f; }), true;
  if (bug == "tight_length")
    return nearest_with("", 0,
                        [](NearestIndex& index) {
                          for (int32_t i = 0; i < index.rows; ++i)
                            const_cast<float*>(index.places.length)[i] *= 1.1f;
                        }),
           true;
  if (bug == "tight_radius")
    return nearest_with(bug, 0,
                        [](NearestIndex& index) {
                          auto off = const_cast<float*>(index.centres.off);
                          auto length = const_cast<float*>(index.centres.length);
                          for (int32_t i = 0; i < index.rows / kNearestTile; ++i)
                            length[i] += 0.99f * off[i] * off[i], off[i] *= 0.1f;
                        }),
           true;
  if (bug == "wrong_code")
    return nearest_with("", 0,
                        [](NearestIndex& index) {
                          for (int32_t i = 0; i < index.rows; ++i)
                            const_cast<uint8_t*>(
                                index.places.codes)[i % 32 * 4 + i / 32 * index.parts * 32] ^= 32;
                        }),
           true;
  if (bug == "wrong_row")
    return nearest_with("", 0,
                        [](NearestIndex& index) {
                          index.rows = 299;
                          index.memory = static_cast<const float*>(index.memory) + 70;
                        }),
           true;
  return false;
}

}  // namespace

void planted(const char* name) {
  const std::string bug = name;
  // The last row of the workspace that a kernel writes; arrays are rounded up to 64 bytes.
  if (bug == "workspace") return short_map_array(bug, 64 + 4 * 32);
  if (bug == "plan") return short_map_array(bug, 64);
  if (bug == "feature" || bug == "map" || bug == "score") return short_map_array(bug, 1);
  if (bug == "scratch")
    return short_frame_array(bug, preprocess_workspace_bytes(frame_case().params) / 2);
  if (bug == "frame" || bug == "image") return short_frame_array(bug, 1);
  if (bug == "shared_workspace") return threads(true);
  if (bug == "wrong_weight") return wrong_weight();
  if (bug == "wrong_sample") return wrong_sample();
  if (planted_in_nearest(bug) || planted_in_whiten(bug)) return;
  fail("no bug is called %s", name);
}

namespace {

void threads(bool one_workspace, Type type, Layout layout) {
  constexpr int kThreads = 4, kTurns = 5;
  MapCase m = map_case();
  FrameCase f = frame_case();
  m.params.type = f.params.type = type;
  m.params.layout = f.params.layout = layout;
  const MapInputs inputs(m);
  const Frame frame(f);
  const std::vector<const void*> reference = inputs.pointers(0), restored = inputs.pointers(1);
  const MapPlan plan(m);
  const Axes axes(f.params);
  const size_t workspace_bytes =
      std::max(anomaly_map_workspace_bytes(m.params), preprocess_workspace_bytes(f.params));
  Block shared(workspace_bytes);
  for (const Kernels* set : all_kernels()) {
    std::vector<std::unique_ptr<MapOutputs>> maps;
    std::vector<std::unique_ptr<Block>> images;
    for (int i = 0; i <= kThreads; ++i) {
      maps.push_back(std::make_unique<MapOutputs>(m));
      images.push_back(std::make_unique<Block>(image_bytes(f.params)));
    }
    auto work = [&](int i) {
      Block own(workspace_bytes);
      char* workspace = one_workspace ? shared.data() : own.data();
      for (int turn = 0; turn < kTurns; ++turn) {
        set->anomaly_map(plan.plan, reference.data(), restored.data(), 1, maps[i]->map.as<float>(),
                         maps[i]->score.as<float>(), workspace);
        set->preprocess(f.params, axes.vertical, axes.horizontal, frame.first(), images[i]->data(),
                        workspace);
      }
    };
    work(kThreads);  // alone
    std::vector<std::thread> team;
    for (int i = 0; i < kThreads; ++i) team.emplace_back(work, i);
    for (std::thread& thread : team) thread.join();
    auto same = [&](const Block& a, const Block& b) {
      if (std::memcmp(a.data(), b.data(), a.bytes())) fail("%s: threads disagree", set->name);
    };
    for (int i = 0; i < kThreads; ++i) {
      same(maps[i]->map, maps[kThreads]->map);
      same(maps[i]->score, maps[kThreads]->score);
      same(*images[i], *images[kThreads]);
    }
  }
}

// The same of nearest, whose threads share an index.
void nearest_threads(bool one_workspace) {
  const NearestCase c = nearest_case("");
  const NearestInputs inputs(c);
  const NearestIndexMemory ready(c, inputs);
  Block shared(nearest_workspace_bytes(c.params));
  for (const NearestKernel* set : all_nearest_kernels()) {
    agree_in_threads(set->name, sizeof(float) * c.params.positions, [&](float* distances) {
      Block own(nearest_workspace_bytes(c.params)), guess(inputs.guess->bytes());
      std::memset(guess.data(), 0xff, guess.bytes());
      for (int turn = 0; turn < 3; ++turn)
        set->run(c.params, ready.index, inputs.query->data(), 1, nullptr, distances,
                 guess.as<int32_t>(), one_workspace ? shared.data() : own.data());
    });
  }
}

}  // namespace

void threads(bool one_workspace) {
  nearest_threads(one_workspace);
  whiten_threads(one_workspace);
  for (Type type : {Type::float32, Type::float16})
    for (Layout layout : {Layout::nchw, Layout::nhwc}) threads(one_workspace, type, layout);
}

}  // namespace edgead

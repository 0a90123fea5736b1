#include "device_stages.h"

#include <algorithm>
#include <cstring>

#include "arguments.h"

namespace edgead {
namespace {

// anomaly_map of a plan, and its map in host memory.
class DeviceMap {
 public:
  explicit DeviceMap(const MapPlan& plan)
      : memory_(anomaly_map_plan_bytes(plan.plan().params)),
        workspace_(anomaly_map_cuda_workspace_bytes(plan.plan().params, 1)),
        bytes_(sizeof(float) * static_cast<size_t>(plan.size().first) * plan.size().second),
        map_(bytes_),
        host_(bytes_, false) {
    memory_.fill(plan.memory(), anomaly_map_plan_bytes(plan.plan().params));
    plan_ = anomaly_map_plan_moved(plan.plan(), memory_.data());
  }

  void enqueue(const std::vector<const void*>& reference, const std::vector<const void*>& restored,
               void* score, const Stream& stream) const {
    check(anomaly_map_cuda(plan_, reference.data(), restored.data(), 1,
                           static_cast<float*>(map_.data()), static_cast<float*>(score),
                           workspace_.data(), stream.get()));
  }
  void down(const Stream& stream) const {
    stream.copy(host_.data(), map_.data(), bytes_, cudaMemcpyDeviceToHost);
  }
  const float* values() const { return reinterpret_cast<const float*>(host_.data()); }

 private:
  Buffer memory_, workspace_;
  size_t bytes_;
  Buffer map_;
  Pinned host_;
  AnomalyMapPlan plan_{};
};

// What images of one kind need: the filter, and where they lie for the device, rows side by side.
struct Image {
  Image(const Device& device, const Geometry& geometry, const Input& input)
      : filter(packed(geometry, input)),
        start(filter.start),
        count(filter.count),
        weight(filter.weight),
        vertical(moved(filter.vertical)),
        horizontal(moved(filter.horizontal)),
        stride(geometry.stride),
        row_bytes(static_cast<size_t>(filter.params.row_stride)),
        bytes(row_bytes * static_cast<size_t>(geometry.height)),
        memory(device, bytes) {
    std::memset(memory.host(), 0, bytes);
  }

  // As preprocess_params() has it, of rows without gaps.
  static PreprocessParams packed(const Geometry& geometry, const Input& input) {
    PreprocessParams params = preprocess_params(geometry, input);
    params.row_stride = pixel_bytes(geometry) * geometry.width;
    refuse(problem_of(params));
    return params;
  }

  // An axis whose arrays lie on the device.
  PreprocessAxis moved(PreprocessAxis axis) const {
    const auto to = [](const Buffer& buffer, const auto& host, const auto* at) {
      using T = std::remove_reference_t<decltype(*at)>;
      return static_cast<T*>(buffer.data()) + (at - host.data());
    };
    axis.start = to(start, filter.start, axis.start);
    axis.count = to(count, filter.count, axis.count);
    axis.weight = to(weight, filter.weight, axis.weight);
    return axis;
  }

  // Copies an image of the caller's to where the device finds it.
  void take(const void* data) const {
    const char* from = static_cast<const char*>(data);
    if (stride == static_cast<int64_t>(row_bytes)) {
      std::memcpy(memory.host(), from, bytes);
      return;
    }
    for (int32_t y = 0; y < filter.params.height; ++y)
      std::memcpy(memory.host() + static_cast<size_t>(y) * row_bytes, from + y * stride, row_bytes);
  }

  Filter filter;
  Buffer start, count, weight;
  PreprocessAxis vertical, horizontal;
  int64_t stride;
  size_t row_bytes, bytes;
  Shared memory;
  std::unique_ptr<Graph> graph;  // null: step by step
};

enum Mark { kStart, kUploaded, kPreprocessed, kInferred, kMarks };

class DeviceStages : public Stages {
 public:
  DeviceStages(std::shared_ptr<const OnGpu> gpu, const Served& served,
               std::shared_ptr<Capture> capture)
      : gpu_(std::move(gpu)), served_(served), capture_(std::move(capture)) {
    gpu_->device->run("opening a session", [&] { parts_ = std::make_unique<Parts>(*this); });
  }

  ~DeviceStages() override {
    gpu_->device->at_end([&] {
      if (parts_) cudaStreamSynchronize(parts_->stream.get());
      image_.reset();
      parts_.reset();
    });
  }

  void prepare(const Geometry& geometry) override;
  float run(const void* data, Times& times) override;

  const float* map() const override { return parts_->map.values(); }
  const float* scored() const override {
    return parts_->score_map ? parts_->score_map->values() : map();
  }

 private:
  // What lies on the device whatever the frame.
  struct Parts {
    explicit Parts(const DeviceStages& stages)
        : execution(stages.gpu_->plan),
          distances(stages.gpu_->held),
          map(*stages.served_.plan),
          score(*stages.gpu_->device, sizeof(float)),
          marks(kMarks) {
      if (stages.served_.score_plan)
        score_map = std::make_unique<DeviceMap>(*stages.served_.score_plan);
      const auto add = [&](std::vector<const void*>& to, const std::vector<std::string>& names) {
        for (const std::string& name : names) to.push_back(execution.address(name));
      };
      add(reference, stages.gpu_->reference);
      add(restored, stages.gpu_->restored);
      add(features, stages.gpu_->features);
      for (const void* distance : distances.shown())
        reference.push_back(distance), restored.push_back(distances.zeros());
    }

    Stream stream;  // goes last: the others are let go by its end
    Execution execution;
    DeviceDistances distances;
    DeviceMap map;
    std::unique_ptr<DeviceMap> score_map;  // null: the score is pooled from the map
    Shared score;
    Events marks;
    std::vector<const void*> reference, restored, features;  // on the device
  };

  void enqueue() const;
  void capture();

  std::shared_ptr<const OnGpu> gpu_;
  Served served_;
  std::shared_ptr<Capture> capture_;
  std::unique_ptr<Parts> parts_;
  std::unique_ptr<Image> image_;
};

// Everything between a frame in image_->memory and its map and score in host memory.
void DeviceStages::enqueue() const {
  const Parts& parts = *parts_;
  const Stream& stream = parts.stream;
  const uintptr_t handle = stream.handle();
  parts.marks.record(kStart, handle);
  image_->memory.up(stream, image_->bytes);
  parts.marks.record(kUploaded, handle);
  check(preprocess_cuda(image_->filter.params, image_->vertical, image_->horizontal,
                        image_->memory.device(), parts.execution.image(), stream.get()));
  parts.marks.record(kPreprocessed, handle);
  parts.execution.enqueue(stream);
  parts.marks.record(kInferred, handle);
  parts.distances.enqueue(parts.features, stream);
  parts.map.enqueue(parts.reference, parts.restored, parts.score.device(), stream);
  if (parts.score_map)  // its score counts
    parts.score_map->enqueue({parts.distances.sum()}, {parts.distances.zeros()},
                             parts.score.device(), stream);
  parts.map.down(stream);
  if (parts.score_map && gpu_->tiled) parts.score_map->down(stream);
  parts.score.down(stream, sizeof(float));
}

void DeviceStages::prepare(const Geometry& geometry) {
  gpu_->device->run("making ready for a frame", [&] {
    image_.reset();
    auto image = std::make_unique<Image>(*gpu_->device, geometry, gpu_->input);
    image_ = std::move(image);
    enqueue();  // once without a graph: CUDA and TensorRT load what they need
    parts_->stream.synchronize();
    if (!capture_->is_settled() || capture_->refusal().empty()) capture();
  });
}

void DeviceStages::capture() {
  auto graph = std::make_unique<Graph>();
  const uintptr_t handle = parts_->stream.handle();
  std::string refusal;
  try {
    graph->begin(handle);
    enqueue();
    graph->end(handle);
  } catch (const std::exception& error) {
    graph->abandon(handle);  // or the stream would stay in its capture
    const auto* cuda = dynamic_cast<const CudaError*>(&error);
    const auto* refused = dynamic_cast<const Failure*>(&error);
    if (cuda == nullptr && refused == nullptr) throw;
    if (cuda != nullptr && cuda->code == cudaErrorMemoryAllocation) throw;
    refusal = error.what();
  }
  if (!refusal.empty() && capture_->is_settled())
    throw gpu_->device->lose(gpu_->device->text() + " captured frames before and does not now: " +
                             refusal + "; open the detector again");
  capture_->settle(refusal);
  parts_->stream.synchronize();  // whether the device itself fails
  if (refusal.empty()) image_->graph = std::move(graph);
}

float DeviceStages::run(const void* data, Times& times) {
  const auto started = Clock::now();
  return gpu_->device->run("scoring a frame", [&] {
    image_->take(data);
    const double taken = ms_since(started);
    if (image_->graph) {
      image_->graph->launch(parts_->stream.handle());
    } else {
      try {
        enqueue();
      } catch (const Failure& failure) {  // of TensorRT
        throw gpu_->device->lose(failure.what());
      }
    }
    parts_->stream.synchronize();
    const std::vector<float> spent = parts_->marks.intervals_ms();
    const double before = taken + static_cast<double>(spent[kStart] + spent[kUploaded]);
    const double inferred = static_cast<double>(spent[kPreprocessed]);
    times.preprocess_ms += before;
    times.engine_ms += inferred;
    times.anomaly_map_ms += std::max(0.0, ms_since(started) - before - inferred);
    float score;
    std::memcpy(&score, parts_->score.host(), sizeof score);
    return score;
  });
}

}  // namespace

std::string Capture::refusal() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return refusal_;
}

bool Capture::is_settled() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return settled_;
}

void Capture::settle(const std::string& refusal) {
  const std::lock_guard<std::mutex> lock(mutex_);
  settled_ = true, refusal_ = refusal;
}

std::unique_ptr<Stages> device_stages(std::shared_ptr<const OnGpu> gpu, const Served& served,
                                      std::shared_ptr<Capture> capture) {
  return std::make_unique<DeviceStages>(std::move(gpu), served, std::move(capture));
}

}  // namespace edgead

// A plan in TensorRT's runtime: loading, checking, execution contexts;
// edgead/nvidia/loaded_plan.py. All inside of Device::run.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device.h"
#include "manifest.h"
#include "tensorrt_log.h"

namespace edgead {

class LoadedPlan {
 public:
  // plan: its bytes; path: for messages. Failure (device): TensorRT does not load it, or its
  // tensors are not those of the manifest.
  LoadedPlan(std::shared_ptr<const Device> device, const std::string& plan, const std::string& path,
             const std::vector<TensorShape>& tensors);
  ~LoadedPlan();

  const Device& device() const { return *device_; }
  const std::string& path() const { return path_; }
  const std::vector<TensorShape>& tensors() const { return tensors_; }  // the image first
  // With the shape of one image. Failure (device): no memory for another one.
  Owned<nvinfer1::IExecutionContext> context() const;

 private:
  void load(const std::string& plan);
  void check_tensors() const;
  bool shape(nvinfer1::IExecutionContext& context) const;

  std::shared_ptr<const Device> device_;
  std::string path_;
  std::vector<TensorShape> tensors_;
  mutable std::mutex mutex_;             // of making contexts
  Owned<nvinfer1::IRuntime> runtime_;    // outlives the engine, which
  Owned<nvinfer1::ICudaEngine> engine_;  // outlives the contexts
};

// A context and the device memory of its tensors: for one thread and stream.
class Execution {
 public:
  explicit Execution(std::shared_ptr<const LoadedPlan> plan);

  void* image() const { return address(plan_->tensors().front().name); }
  void* address(const std::string& name) const { return blocks_.at(name)->data(); }
  // Enqueues the graph. Failure (device), not yet a loss.
  void enqueue(const Stream& stream) const;

 private:
  std::shared_ptr<const LoadedPlan> plan_;
  std::map<std::string, std::unique_ptr<Buffer>> blocks_;
  Owned<nvinfer1::IExecutionContext> context_;
};

}  // namespace edgead

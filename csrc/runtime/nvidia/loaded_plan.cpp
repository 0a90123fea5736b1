#include "loaded_plan.h"

#include <algorithm>

#include "plan_header.h"
#include "wording.h"

namespace edgead {
namespace {

std::string again(const std::string& path) {
  return "remove " + path + ", and it is built again when the detector opens";
}

bool says_out_of_memory(const std::vector<std::string>& errors) {
  return std::any_of(errors.begin(), errors.end(), [](const std::string& line) {
    return line.find("out of memory") != std::string::npos ||
           line.find("OutOfMemory") != std::string::npos;
  });
}

std::vector<int64_t> sides_of(const nvinfer1::Dims& dims) {
  return std::vector<int64_t>(dims.d, dims.d + std::max<int32_t>(dims.nbDims, 0));
}

nvinfer1::Dims dims_of(const std::vector<int64_t>& shape) {
  nvinfer1::Dims dims{};
  dims.nbDims = static_cast<int32_t>(shape.size());
  std::copy(shape.begin(), shape.end(), dims.d);
  return dims;
}

// Whether a shape is the expected one; -1 is an axis that gets its size with the context.
bool fits(const std::vector<int64_t>& found, const std::vector<int64_t>& expected) {
  return found.size() == expected.size() &&
         std::equal(found.begin(), found.end(), expected.begin(),
                    [](int64_t a, int64_t b) { return a == b || a == -1; });
}

}  // namespace

LoadedPlan::LoadedPlan(std::shared_ptr<const Device> device, const std::string& plan,
                       const std::string& path, const std::vector<TensorShape>& tensors)
    : device_(std::move(device)), path_(path), tensors_(tensors) {
  load(plan);
  check_tensors();
}

LoadedPlan::~LoadedPlan() {
  device_->at_end([&] {
    engine_.reset();
    runtime_.reset();
  });
}

void LoadedPlan::load(const std::string& plan) {
  const Listening log;
  runtime_.reset(nvinfer1::createInferRuntime(tensorrt_logger()));
  if (runtime_) engine_.reset(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
  if (engine_) return;
  const std::string where =
      path_ + ": " + tensorrt_text() + " does not load this plan on " + device_->text() + ": ";
  if (says_out_of_memory(log.errors()))
    throw device_failure(where + "out of device memory; close other programs and detectors");
  throw device_failure(where + log.last() + said_by_header(plan) + "; " + again(path_));
}

void LoadedPlan::check_tensors() const {
  std::vector<std::string> found, expected;
  for (int32_t i = 0; i < engine_->getNbIOTensors(); ++i)
    found.push_back(engine_->getIOTensorName(i));
  for (const TensorShape& tensor : tensors_) expected.push_back(tensor.name);
  if (!std::is_permutation(found.begin(), found.end(), expected.begin(), expected.end()))
    throw device_failure(path_ + " has tensors " + in_order(found) + "; the manifest names " +
                         in_order(expected) + ": it is the plan of another bundle; " +
                         again(path_));
  for (const TensorShape& tensor : tensors_) {
    const char* name = tensor.name.c_str();
    const bool is_input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
    const auto sides = sides_of(engine_->getTensorShape(name));
    const bool is_float = engine_->getTensorDataType(name) == nvinfer1::DataType::kFLOAT;
    if (is_input == (&tensor == &tensors_.front()) && is_float && fits(sides, tensor.shape))
      continue;
    throw device_failure(
        path_ + ": " + in_quotes(tensor.name) + " is an " + (is_input ? "input" : "output") + ", " +
        listed(sides, "()") + (is_float ? " float32" : ", not float32") + "; the manifest says " +
        listed(tensor.shape, "()") + " float32, each axis that or free; " + again(path_));
  }
}

bool LoadedPlan::shape(nvinfer1::IExecutionContext& context) const {
  // Plans keep their layers' names, for inspection; nobody listens while frames run.
  context.setNvtxVerbosity(nvinfer1::ProfilingVerbosity::kNONE);
  if (context.getOptimizationProfile() < 0) {  // TensorRT 8: all contexts but the first
    const Stream stream;
    if (!context.setOptimizationProfileAsync(0, stream.get())) return false;
    stream.synchronize();
  }
  const TensorShape& image = tensors_.front();
  return context.setInputShape(image.name.c_str(), dims_of(image.shape));
}

Owned<nvinfer1::IExecutionContext> LoadedPlan::context() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Listening log;
  Owned<nvinfer1::IExecutionContext> context(engine_->createExecutionContext());
  if (context && shape(*context)) return context;
  throw device_failure(device_->text() + ": " + tensorrt_text() +
                       " makes no execution context of " + path_ + ": " + log.last() +
                       "; it may be out of memory: close other programs and sessions; TensorRT "
                       "8.5 has a context for one session only; else " +
                       again(path_));
}

Execution::Execution(std::shared_ptr<const LoadedPlan> plan)
    : plan_(std::move(plan)), context_(plan_->context()) {
  const Listening log;
  for (const TensorShape& tensor : plan_->tensors()) {
    const char* name = tensor.name.c_str();
    auto& block = blocks_[tensor.name] = std::make_unique<Buffer>(sizeof(float) * tensor.count());
    const auto found = sides_of(context_->getTensorShape(name));
    if (found != tensor.shape || !context_->setTensorAddress(name, block->data()))
      throw device_failure(plan_->path() + ": " + in_quotes(tensor.name) + " is " +
                           listed(found, "()") + ", expected " + listed(tensor.shape, "()") + ": " +
                           log.last() + "; " + again(plan_->path()));
  }
}

void Execution::enqueue(const Stream& stream) const {
  const Listening log;
  if (context_->enqueueV3(stream.get())) return;
  const Device& device = plan_->device();
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw CudaError(error);
  throw device_failure(device.text() + ": " + tensorrt_text() +
                       " failed on a frame: " + log.last() + "; open the detector again");
}

}  // namespace edgead

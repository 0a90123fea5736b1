#include "tensorrt_log.h"

#include <algorithm>
#include <mutex>

#include "wording.h"

namespace edgead {
namespace {

constexpr size_t kLongestLine = 1000, kMostLines = 1000;
constexpr const char* kSilent = "it does not say why";

std::mutex& mutex_of_listeners() {
  static std::mutex* const mutex = new std::mutex;  // outlives whatever logs at the end
  return *mutex;
}

std::vector<Listening*>& listeners() {
  static auto* const found = new std::vector<Listening*>;  // in the order they came
  return *found;
}

}  // namespace

class Logger : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* text) noexcept override {
    if (severity != Severity::kERROR && severity != Severity::kINTERNAL_ERROR) return;
    try {
      keep(clean_line(text));
    } catch (...) {  // nothing may pass through TensorRT
    }
  }

 private:
  // The last listener of this thread hears it; what comes from another thread, all do.
  static void keep(const std::string& line) {
    const std::lock_guard<std::mutex> lock(mutex_of_listeners());
    const auto id = std::this_thread::get_id();
    const auto& all = listeners();
    const auto own =
        std::find_if(all.rbegin(), all.rend(), [&](Listening* one) { return one->thread_ == id; });
    for (Listening* one : all)
      if ((own == all.rend() || one == *own) && one->errors_.size() < kMostLines)
        one->errors_.push_back(line);
  }
};

nvinfer1::ILogger& tensorrt_logger() {
  static auto* const logger = new Logger;  // TensorRT holds it for the life of the process
  return *logger;
}

Listening::Listening() : thread_(std::this_thread::get_id()) {
  const std::lock_guard<std::mutex> lock(mutex_of_listeners());
  listeners().push_back(this);
}

Listening::~Listening() {
  const std::lock_guard<std::mutex> lock(mutex_of_listeners());
  auto& all = listeners();
  all.erase(std::find(all.begin(), all.end(), this));
}

std::vector<std::string> Listening::errors() const {
  const std::lock_guard<std::mutex> lock(mutex_of_listeners());
  return errors_;
}

std::string Listening::last() const {
  const auto found = errors();
  return found.empty() ? kSilent : found.back();
}

std::string Listening::first() const {
  const auto found = errors();
  return found.empty() ? kSilent : found.front();
}

std::string clean_line(const char* text) {
  std::string line;
  for (const char* c = text == nullptr ? "" : text; *c != 0 && line.size() < kLongestLine; ++c) {
    const auto code = static_cast<unsigned char>(*c);
    line += code < 32 || code >= 127 ? (code == '\n' || code == '\t' ? ' ' : '?') : *c;
  }
  line.erase(0, line.find_first_not_of(' '));
  line.erase(line.find_last_not_of(' ') + 1);
  return line;
}

std::string tensorrt_version() {
  const int32_t number = getInferLibVersion();
  if (number >= 10000)  // from TensorRT 10 on: 101303 is 10.13.3
    return format("%d.%d.%d", number / 10000, number / 100 % 100, number % 100);
  return format("%d.%d.%d", number / 1000, number / 100 % 10, number % 100);  // 8503 is 8.5.3
}

std::string tensorrt_text() { return "TensorRT " + tensorrt_version(); }

}  // namespace edgead

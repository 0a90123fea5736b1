// What TensorRT says, kept as clean lines; edgead/nvidia/plans/log.py. A process has one ILogger:
// TensorRT keeps to the first one anyway.
#pragma once
#include <NvInfer.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace edgead {

nvinfer1::ILogger& tensorrt_logger();

// Hears the errors that TensorRT logs on this thread meanwhile, and on threads of its own.
class Listening {
 public:
  Listening();
  ~Listening();
  Listening(const Listening&) = delete;
  Listening& operator=(const Listening&) = delete;

  std::vector<std::string> errors() const;  // oldest first
  std::string last() const;                 // of them, or that there is none
  std::string first() const;

 private:
  friend class Logger;
  std::thread::id thread_;
  std::vector<std::string> errors_;
};

// One printable line: TensorRT's text may hold newlines, raw bytes and terminal codes.
std::string clean_line(const char* text);

// "TensorRT 10.3.0" of the library that is loaded, and the numbers alone.
std::string tensorrt_version();
std::string tensorrt_text();

// Lets go by delete, as TensorRT 8 and later do.
template <class T>
using Owned = std::unique_ptr<T>;

}  // namespace edgead

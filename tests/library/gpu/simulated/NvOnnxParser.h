// A SIMULATION of the part of TensorRT's parser that libedgead calls (tensorrt.cpp).
#pragma once
#include "NvInfer.h"

namespace nvonnxparser {

class IParserError {
 public:
  virtual ~IParserError() = default;
  virtual const char* desc() const = 0;
  virtual int node() const = 0;
  virtual const char* nodeName() const = 0;
  virtual const char* nodeOperator() const = 0;
};

class IParser {
 public:
  virtual ~IParser() = default;
  virtual bool parse(const void* onnx, size_t bytes) noexcept = 0;
  virtual int getNbErrors() const noexcept = 0;
  virtual const IParserError* getError(int index) const noexcept = 0;
};

IParser* createParser(nvinfer1::INetworkDefinition& network, nvinfer1::ILogger& logger) noexcept;

}  // namespace nvonnxparser

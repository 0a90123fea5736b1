// What libedgead and its library for OpenVINO (libedgead_openvino.so.1) say to each other. Plain C:
// no object, exception or memory of one side is the other's, so that a library that is missing,
// damaged or of another edgead is a sentence. In libedgead.a both sides are linked.
#pragma once
#include <cstddef>
#include <cstdint>

#include "edgead.h"

namespace edgead {

constexpr uint32_t kOpenVINOInterface = 1;  // of what is below; raised with every change

// How a call ended: EDGEAD_OK, or why not. EDGEAD_ERROR_MEMORY comes without a sentence.
struct Outcome {
  edgead_status status;
  char sentence[4096];
};

// An array that a graph must have, float32.
struct Port {
  const char* name;
  int64_t shape[4];
};

// A graph to be opened for one image at a time.
struct GraphAsked {
  const char *bundle, *file;  // in sentences: "bundle NAME: " and the name of the file
  const char* onnx;
  size_t bytes;
  const char* precision;
  int32_t threads;    // of one inference; 0: OpenVINO's choice
  const Port* ports;  // the image, then each output once
  size_t count;
};

struct OpenVINOGraph;    // compiled
struct OpenVINORequest;  // the buffers of one thread, which keep their graph alive

// What the library has; each text lives as long as what it is of.
struct OpenVINOLibrary {
  uint32_t interface;          // kOpenVINOInterface; this and the next one stay where they are
  const char* edgead_version;  // that it was built with
  void (*check)(Outcome*);     // whether OpenVINO is the one that it was built with
  OpenVINOGraph* (*open)(const GraphAsked*, Outcome*);
  void (*close)(OpenVINOGraph*);
  const char* (*device)(const OpenVINOGraph*);   // "CPU: AMD EPYC"
  const char* (*version)(const OpenVINOGraph*);  // "OpenVINO 2026.4.1"
  // Fills `memory`, of each port the first value.
  OpenVINORequest* (*request)(OpenVINOGraph*, float** memory, Outcome*);
  void (*infer)(OpenVINORequest*, Outcome*);
  void (*end)(OpenVINORequest*);
};

// The library, checked: the one that is linked, or loaded at the first call that finds it whole.
// Failure (device).
const OpenVINOLibrary& openvino_library();

// Its part of openvino_library(), where it is at hand. Failure (device) for one of another edgead
// or OpenVINO; `where` names it.
const OpenVINOLibrary& checked_library(const OpenVINOLibrary& found, const char* where);

// Throws what an outcome says.
void check_outcome(const Outcome& outcome);

}  // namespace edgead

// The one function that libedgead_openvino.so.1 shows.
extern "C" EDGEAD_API const edgead::OpenVINOLibrary* edgead_openvino_library(void);

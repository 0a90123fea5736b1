// libedgead.a is linked with OpenVINO by the program that takes it.
#include "openvino_library.h"

namespace edgead {

const OpenVINOLibrary& openvino_library() {
  return checked_library(*edgead_openvino_library(), "the library for OpenVINO in this program");
}

}  // namespace edgead

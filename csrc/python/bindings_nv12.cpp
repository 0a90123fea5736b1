// NV12 for Python, by what libedgead does with it: edgead/images/nv12.py.
#include "bindings.h"
#include "frame.h"

namespace py = pybind11;

namespace edgead {
namespace {

edgead_frame frame_of(int32_t height, int32_t width, int64_t stride, int64_t chroma_stride,
                      int32_t color_space) {
  edgead_frame frame = edgead_frame_default();
  frame.height = height, frame.width = width, frame.stride = stride, frame.format = EDGEAD_NV12;
  frame.chroma_stride = chroma_stride, frame.color_space = color_space;
  static const uint8_t somewhere = 0;
  frame.chroma = &somewhere;  // so that rows may lie bottom up
  return frame;
}

void check_nv12(int32_t height, int32_t width, int64_t stride, int64_t chroma_stride,
                int32_t color_space) {
  geometry_of(frame_of(height, width, stride, chroma_stride, color_space), 0);
}

// [height, width, 4], of which the fourth is 0.
py::array_t<uint8_t> nv12_colors(int32_t height, int32_t width, int64_t stride,
                                 int64_t chroma_stride, int32_t color_space, bool blue_first,
                                 const py::array& light, const py::array& chroma) {
  edgead_frame frame = frame_of(height, width, stride, chroma_stride, color_space);
  frame.data = light.data(), frame.chroma = chroma.data();
  const Geometry geometry = geometry_of(frame, 0);
  py::array_t<uint8_t> found({height, width, 4});
  auto* pixels = reinterpret_cast<uint32_t*>(found.mutable_data());
  const py::gil_scoped_release release;
  colors_from(frame, geometry, blue_first, pixels);
  return found;
}

}  // namespace

void bind_nv12(py::module_& m) {
  m.def("check_nv12", &check_nv12, "InputError for what no frame in NV12 can be.",
        py::arg("height"), py::arg("width"), py::arg("stride"), py::arg("chroma_stride"),
        py::arg("color_space"));
  m.def("nv12_colors", &nv12_colors, "Colours of planes that lie as the first arguments say.",
        py::arg("height"), py::arg("width"), py::arg("stride"), py::arg("chroma_stride"),
        py::arg("color_space"), py::arg("blue_first"), py::arg("light"), py::arg("chroma"));
}

}  // namespace edgead

# The engine for NVIDIA GPUs, a part of libedgead: TensorRT 8.5 or newer, and the CUDA kernels, which
# CMakeLists.txt adds. TENSORRT_ROOT names a TensorRT that lies elsewhere than the compiler looks.
set(TENSORRT_ROOT "" CACHE PATH "Where TensorRT lies: include/ and lib/")
find_path(EDGEAD_NVINFER_INCLUDE NvInfer.h HINTS "${TENSORRT_ROOT}"
          PATH_SUFFIXES include include/${CMAKE_LIBRARY_ARCHITECTURE})
find_library(EDGEAD_NVINFER nvinfer HINTS "${TENSORRT_ROOT}" PATH_SUFFIXES lib)
find_library(EDGEAD_NVONNXPARSER nvonnxparser HINTS "${TENSORRT_ROOT}" PATH_SUFFIXES lib)
if(NOT EDGEAD_NVINFER_INCLUDE OR NOT EDGEAD_NVINFER OR NOT EDGEAD_NVONNXPARSER)
  message(FATAL_ERROR "EDGEAD_TENSORRT=ON needs NvInfer.h, libnvinfer and libnvonnxparser: on Debian and "
                      "a Jetson, apt-get install libnvinfer-dev libnvonnxparsers-dev; elsewhere, name the "
                      "folder in TENSORRT_ROOT")
endif()
target_sources(edgead_objects PRIVATE runtime/nvidia/device.cpp runtime/nvidia/device_stages.cpp
               runtime/nvidia/held_signals.cpp runtime/nvidia/loaded_plan.cpp
               runtime/nvidia/network_census.cpp runtime/nvidia/own_files.cpp
               runtime/nvidia/plan_builder.cpp runtime/nvidia/plan_cache.cpp
               runtime/nvidia/plan_header.cpp runtime/nvidia/tensorrt_engine.cpp
               runtime/nvidia/tensorrt_log.cpp)
target_include_directories(edgead_objects PRIVATE runtime/nvidia)
target_include_directories(edgead_objects SYSTEM PRIVATE ${EDGEAD_NVINFER_INCLUDE})
target_compile_definitions(edgead_objects PRIVATE EDGEAD_TENSORRT)
target_link_libraries(edgead_objects PRIVATE kernels_cuda)
list(APPEND engines CUDA::cudart_static ${EDGEAD_NVINFER} ${EDGEAD_NVONNXPARSER})

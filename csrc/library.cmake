# libedgead, the C library: include/edgead.h over runtime/ and bundle/. libedgead.so loads its library
# for OpenVINO when it is asked, libedgead.a is linked with it.
# dependencies.cmake finds what it needs, package.cmake says what is installed.
enable_language(C)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_FLAGS_RELEASE "-O2")
option(EDGEAD_OPENVINO "The engine for CPUs" ON)
option(EDGEAD_TENSORRT "The engine for NVIDIA GPUs; needs TensorRT and nvcc" OFF)
option(EDGEAD_SIGNATURES "Check signatures of bundles, by OpenSSL's libcrypto, loaded when asked" ON)
if(NOT EDGEAD_OPENVINO AND NOT EDGEAD_TENSORRT)
  message(FATAL_ERROR "libedgead needs an engine: EDGEAD_OPENVINO=ON or EDGEAD_TENSORRT=ON")
endif()
set(CMAKE_CUDA_ARCHITECTURES OFF)  # no source of CUDA's is in the targets here; it is set below
include(${CMAKE_CURRENT_SOURCE_DIR}/dependencies.cmake)
find_package(Threads REQUIRED)
file(STRINGS ../edgead/installation.py version REGEX "^__version__ = ")
string(REGEX REPLACE ".*\"(.*)\".*" "\\1" EDGEAD_VERSION "${version}")
if(NOT EDGEAD_VERSION MATCHES "^[0-9]+[.][0-9]+")
  message(FATAL_ERROR "edgead/installation.py states no version")
endif()

add_library(edgead_objects OBJECT c_api.cpp
            bundle/arrays.cpp bundle/folder.cpp bundle/ignore_mask.cpp bundle/json.cpp bundle/manifest.cpp
            bundle/manifest_check.cpp bundle/npy.cpp bundle/png_file.c bundle/sha256.cpp bundle/sha256_native.cpp
            bundle/signature.cpp bundle/storage.cpp
            runtime/calibration.cpp runtime/detector.cpp runtime/engines.cpp runtime/frame.cpp runtime/golden_check.cpp runtime/heatmap.cpp
            runtime/libcrypto.cpp runtime/memory.cpp runtime/nv12.cpp
            runtime/pipeline.cpp runtime/pooling.cpp
            runtime/principal_components.cpp runtime/processor.cpp runtime/qualification.cpp
            runtime/regions.cpp runtime/restrictions.cpp runtime/signals.cpp runtime/stages.cpp runtime/tiling.cpp runtime/whitening.cpp)
target_include_directories(edgead_objects PRIVATE bundle runtime)
target_include_directories(edgead_objects SYSTEM PRIVATE ${EDGEAD_JSON} ${png_includes})
target_compile_definitions(edgead_objects PRIVATE EDGEAD_VERSION="${EDGEAD_VERSION}")
if(EDGEAD_SIGNATURES)
  target_compile_definitions(edgead_objects PRIVATE EDGEAD_SIGNATURES)
  message(STATUS "libedgead: signatures: libcrypto.so.3 or .so.1.1, loaded when keys are given")
else()
  message(STATUS "libedgead: signatures: none, EDGEAD_SIGNATURES=OFF")
endif()
# No contraction: the region of interest and the normalisation are Python's, bit for bit.
target_compile_options(edgead_objects PRIVATE -Wall -Wextra -ffp-contract=off)
set(engines)  # what libedgead is linked with for them
if(EDGEAD_OPENVINO)
  target_sources(edgead_objects PRIVATE runtime/openvino_engine.cpp)
  target_compile_definitions(edgead_objects PRIVATE EDGEAD_OPENVINO)
  add_library(openvino_objects OBJECT runtime/openvino_graph.cpp runtime/openvino_precision.cpp)
  target_include_directories(openvino_objects PRIVATE bundle)
  target_compile_definitions(openvino_objects PRIVATE EDGEAD_VERSION="${EDGEAD_VERSION}")
  target_compile_options(openvino_objects PRIVATE -Wall -Wextra)
  target_link_libraries(openvino_objects PRIVATE openvino::runtime)
endif()
if(EDGEAD_TENSORRT)
  include(${CMAKE_CURRENT_SOURCE_DIR}/tensorrt.cmake)
endif()
target_link_libraries(edgead_objects PRIVATE ${engines} ${png_target} Threads::Threads)
get_target_property(instruction_sets kernels INTERFACE_SOURCES)
set(objects $<TARGET_OBJECTS:edgead_objects> $<TARGET_OBJECTS:kernels>
            $<TARGET_OBJECTS:kernels_plan> ${instruction_sets} ${png_objects})
if(EDGEAD_TENSORRT)
  list(APPEND objects $<TARGET_OBJECTS:kernels_cuda>)
endif()

# The same objects twice: libedgead.so and libedgead.a.
add_library(edgead SHARED ${objects})
add_library(edgead_static STATIC ${objects})
if(EDGEAD_OPENVINO)
  target_sources(edgead PRIVATE runtime/openvino_loaded.cpp)
  target_compile_definitions(edgead PRIVATE EDGEAD_OPENVINO_VERSION="${OpenVINO_VERSION}")
  target_sources(edgead_static PRIVATE runtime/openvino_linked.cpp $<TARGET_OBJECTS:openvino_objects>)
  foreach(library edgead edgead_static)
    target_include_directories(${library} PRIVATE bundle runtime)
    target_compile_options(${library} PRIVATE -Wall -Wextra)
  endforeach()
  add_library(edgead_openvino MODULE runtime/restrictions.cpp kernels/wording.cpp
              $<TARGET_OBJECTS:openvino_objects>)
  target_link_libraries(edgead_openvino PRIVATE openvino::runtime)
  # All of its functions are found when it is loaded, or it is not: see runtime/openvino_loaded.cpp.
  set(symbols ${CMAKE_CURRENT_SOURCE_DIR}/openvino.map)
  target_link_options(edgead_openvino PRIVATE -Wl,-z,now -Wl,--no-undefined
                      -Wl,--version-script=${symbols})
  set_target_properties(edgead_openvino PROPERTIES SUFFIX .so.1 LINK_DEPENDS ${symbols}
                        LIBRARY_OUTPUT_DIRECTORY $<TARGET_FILE_DIR:edgead>/edgead)
  add_dependencies(edgead edgead_openvino)
endif()
foreach(library edgead edgead_static)
  set_target_properties(${library} PROPERTIES OUTPUT_NAME edgead LINKER_LANGUAGE CXX)
  target_include_directories(${library} INTERFACE
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
    $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
target_link_libraries(edgead PRIVATE ${engines} ${png_target} Threads::Threads ${CMAKE_DL_LIBS})
# What include/edgead.h declares, and nothing else.
set(symbols ${CMAKE_CURRENT_SOURCE_DIR}/edgead.map)
target_link_options(edgead PRIVATE -Wl,--version-script=${symbols} -Wl,--no-undefined)
set_target_properties(edgead PROPERTIES LINK_DEPENDS ${symbols} SOVERSION 1 VERSION 1.0.0)

add_executable(edgead-score tools/edgead_score.c bundle/png_file.c ${png_objects})
target_include_directories(edgead-score PRIVATE bundle)
target_include_directories(edgead-score SYSTEM PRIVATE ${png_includes})
target_compile_options(edgead-score PRIVATE -Wall -Wextra)
target_link_libraries(edgead-score PRIVATE edgead ${png_target} m)
add_executable(edgead-time tools/edgead_time.c)
target_compile_options(edgead-time PRIVATE -Wall -Wextra)
target_link_libraries(edgead-time PRIVATE edgead)
include(${CMAKE_CURRENT_SOURCE_DIR}/package.cmake)

# libedgead, the C library: include/edgead.h over runtime/ and bundle/, with OpenVINO. build_library.py
# finds OpenVINO and nlohmann-json in the virtual environment; elsewhere CMAKE_PREFIX_PATH names them.
enable_language(C)
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_C_STANDARD 99)
set(CMAKE_C_FLAGS_RELEASE "-O2")
option(EDGEAD_OPENVINO "The engine for CPUs" ON)
option(EDGEAD_TENSORRT "The engine for NVIDIA GPUs; needs TensorRT and nvcc" OFF)
if(NOT EDGEAD_OPENVINO AND NOT EDGEAD_TENSORRT)
  message(FATAL_ERROR "libedgead needs an engine: EDGEAD_OPENVINO=ON or EDGEAD_TENSORRT=ON")
endif()
find_package(PNG)
find_package(Threads REQUIRED)
find_path(EDGEAD_JSON nlohmann/json.hpp)
if(NOT PNG_FOUND)
  message(FATAL_ERROR "libedgead needs libpng: apt-get install libpng-dev")
endif()
if(NOT EDGEAD_JSON)
  message(FATAL_ERROR "libedgead needs nlohmann/json.hpp: apt-get install nlohmann-json3-dev, or "
                      "pip install nlohmann-json and name its folder in CMAKE_PREFIX_PATH")
endif()
file(STRINGS ../edgead/installation.py version REGEX "^__version__ = ")
string(REGEX REPLACE ".*\"(.*)\".*" "\\1" EDGEAD_VERSION "${version}")
if(NOT EDGEAD_VERSION MATCHES "^[0-9]+[.][0-9]+")
  message(FATAL_ERROR "edgead/installation.py states no version")
endif()

add_library(edgead SHARED c_api.cpp
            bundle/arrays.cpp bundle/ignore_mask.cpp bundle/json.cpp bundle/manifest.cpp bundle/manifest_check.cpp
            bundle/npy.cpp bundle/png_file.c bundle/sha256.cpp bundle/sha256_native.cpp bundle/storage.cpp bundle/wording.cpp
            runtime/calibration.cpp runtime/detector.cpp runtime/engines.cpp runtime/frame.cpp runtime/heatmap.cpp
            runtime/memory.cpp runtime/pipeline.cpp runtime/pooling.cpp
            runtime/principal_components.cpp runtime/processor.cpp runtime/qualification.cpp
            runtime/signals.cpp runtime/stages.cpp runtime/tiling.cpp runtime/whitening.cpp)
target_include_directories(edgead PRIVATE bundle runtime)
target_include_directories(edgead SYSTEM PRIVATE ${EDGEAD_JSON})
target_include_directories(edgead PUBLIC $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>
                           $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_compile_definitions(edgead PRIVATE EDGEAD_VERSION="${EDGEAD_VERSION}")
# No contraction: the region of interest and the normalisation are Python's, bit for bit.
target_compile_options(edgead PRIVATE -Wall -Wextra -ffp-contract=off)
target_link_libraries(edgead PRIVATE kernels kernels_plan PNG::PNG Threads::Threads)
if(EDGEAD_OPENVINO)
  find_package(OpenVINO REQUIRED COMPONENTS Runtime)
  target_sources(edgead PRIVATE runtime/openvino_engine.cpp runtime/openvino_precision.cpp)
  target_compile_definitions(edgead PRIVATE EDGEAD_OPENVINO)
  target_link_libraries(edgead PRIVATE openvino::runtime)
endif()
if(EDGEAD_TENSORRT)
  include(${CMAKE_CURRENT_SOURCE_DIR}/tensorrt.cmake)
endif()
# What include/edgead.h declares, and nothing else.
set(symbols ${CMAKE_CURRENT_SOURCE_DIR}/edgead.map)
target_link_options(edgead PRIVATE -Wl,--version-script=${symbols} -Wl,--no-undefined)
set_target_properties(edgead PROPERTIES LINK_DEPENDS ${symbols} SOVERSION 1 VERSION 1.0.0
                      INSTALL_RPATH_USE_LINK_PATH TRUE)

add_executable(edgead-score tools/edgead_score.c tools/json_text.c bundle/png_file.c)
target_include_directories(edgead-score PRIVATE bundle)
target_compile_options(edgead-score PRIVATE -Wall -Wextra)
target_link_libraries(edgead-score PRIVATE edgead PNG::PNG)
file(RELATIVE_PATH beside ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
set_target_properties(edgead-score PROPERTIES INSTALL_RPATH "$ORIGIN/${beside}")

file(RELATIVE_PATH up ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(edgead.pc.in edgead.pc @ONLY)
configure_file(edgeadConfig.cmake.in edgeadConfig.cmake @ONLY)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/edgeadConfigVersion.cmake
                                 VERSION ${EDGEAD_VERSION} COMPATIBILITY SameMinorVersion)
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/edgead)
install(TARGETS edgead EXPORT edgead COMPONENT library)
install(TARGETS edgead-score COMPONENT library)
install(FILES include/edgead.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT library)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/edgead.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
        COMPONENT library)
install(EXPORT edgead NAMESPACE edgead:: DESTINATION ${package} COMPONENT library)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/edgeadConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/edgeadConfigVersion.cmake
        DESTINATION ${package} COMPONENT library)

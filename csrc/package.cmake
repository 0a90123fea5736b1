# What of libedgead is installed, in two components: runtime (what a device needs) and development.
# All of it may be moved to another folder as a whole. In a folder of its own beside libedgead is its
# library for OpenVINO and, where OpenVINO is not a system package, the files of it that are needed.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
get_filename_component(openvino_folder "${openvino}" DIRECTORY)
get_filename_component(openvino_name "${openvino}" NAME)
set(EDGEAD_COPY_OPENVINO AUTO CACHE STRING
    "OpenVINO's files beside libedgead: AUTO (unless they are the system's), ON or OFF")
if(NOT EDGEAD_COPY_OPENVINO MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "EDGEAD_COPY_OPENVINO is '${EDGEAD_COPY_OPENVINO}', expected AUTO, ON or OFF")
elseif(NOT EDGEAD_OPENVINO)
  set(copy_openvino OFF)
elseif(EDGEAD_COPY_OPENVINO STREQUAL "AUTO")
  set(copy_openvino ON)
  foreach(root "" ${CMAKE_SYSROOT} ${CMAKE_FIND_ROOT_PATH})
    foreach(folder /lib /usr/lib /usr/lib64 /usr/local/lib ${CMAKE_INSTALL_FULL_LIBDIR})
      if("${openvino_folder}/" STREQUAL "${root}${folder}/" OR
         "${openvino_folder}" STREQUAL "${root}${folder}/${CMAKE_LIBRARY_ARCHITECTURE}")
        set(copy_openvino OFF)
      endif()
    endforeach()
  endforeach()
else()
  set(copy_openvino ${EDGEAD_COPY_OPENVINO})
endif()

set(own ${CMAKE_INSTALL_LIBDIR}/edgead)  # libedgead's own folder
set(documents ${CMAKE_INSTALL_DATADIR}/doc/libedgead)
set(openvino_libs)
if(EDGEAD_OPENVINO)
  set(openvino_libs "-lopenvino")
endif()
if(copy_openvino)
  # The library, its engine for this processor, its reader of ONNX and its threads; what a manifest
  # can ask for needs no other. Archives of OpenVINO have oneTBB in a folder beside.
  set(folders ${openvino_folder} ${openvino_folder}/../../../3rdparty/tbb/lib)
  foreach(file libopenvino.so.[0-9]* libopenvino_*_cpu_plugin.so libopenvino_onnx_frontend.so.[0-9]*
          libtbb.so.[0-9]*)
    set(found)
    foreach(folder IN LISTS folders)
      if(NOT found)
        file(GLOB found ${folder}/${file})
      endif()
    endforeach()
    if(NOT found AND NOT file MATCHES "tbb")  # which may be the system's
      message(FATAL_ERROR "there is no ${file} in ${openvino_folder}: this OpenVINO is not whole; "
                          "EDGEAD_COPY_OPENVINO=OFF leaves it where it is")
    endif()
    install(FILES ${found} DESTINATION ${own} COMPONENT runtime)
  endforeach()
  file(GLOB licences ${openvino_folder}/../../openvino-*.dist-info/licenses
                     ${openvino_folder}/../../../../docs/licensing)
  foreach(folder IN LISTS licences)
    install(DIRECTORY ${folder}/ DESTINATION ${documents}/openvino COMPONENT runtime)
  endforeach()
  set(openvino_libs "-L\${libdir}/edgead -l:${openvino_name} -Wl,-rpath,\${libdir}/edgead")
  set_target_properties(edgead_openvino PROPERTIES INSTALL_RPATH "$ORIGIN")
elseif(EDGEAD_OPENVINO)
  set_target_properties(edgead_openvino PROPERTIES INSTALL_RPATH_USE_LINK_PATH TRUE)
endif()
if(EDGEAD_OPENVINO)
  install(TARGETS edgead_openvino LIBRARY DESTINATION ${own} COMPONENT runtime)
endif()
file(RELATIVE_PATH beside ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR})
set_target_properties(edgead-score edgead-time PROPERTIES INSTALL_RPATH "$ORIGIN/${beside}")

set(png_libs)
if(png_target)
  set(png_libs "-lpng16 -lz")
endif()
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/edgead)
file(RELATIVE_PATH up ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
configure_file(edgead.pc.in edgead.pc @ONLY)
configure_package_config_file(edgeadConfig.cmake.in edgeadConfig.cmake INSTALL_DESTINATION ${package}
                              PATH_VARS own NO_SET_AND_CHECK_MACRO
                              NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/edgeadConfigVersion.cmake
                                 VERSION ${EDGEAD_VERSION} COMPATIBILITY SameMinorVersion)
install(TARGETS edgead EXPORT edgead
        LIBRARY COMPONENT runtime NAMELINK_COMPONENT development)
install(TARGETS edgead_static EXPORT edgead_static ARCHIVE COMPONENT development)
install(TARGETS edgead-score edgead-time COMPONENT runtime)
install(FILES ../LICENSE DESTINATION ${documents} RENAME copyright COMPONENT runtime)
install(DIRECTORY include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/edgead.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig
        COMPONENT development)
install(EXPORT edgead NAMESPACE edgead:: DESTINATION ${package} COMPONENT development)
install(EXPORT edgead_static NAMESPACE edgead:: DESTINATION ${package} COMPONENT development)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/edgeadConfig.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/edgeadConfigVersion.cmake
        DESTINATION ${package} COMPONENT development)

# `cpack` makes a Debian package of each component: libedgead and libedgead-dev.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME libedgead)
set(CPACK_PACKAGE_VERSION ${EDGEAD_VERSION})
set(CPACK_PACKAGE_CONTACT "the authors of edgead")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "visual anomaly detection for the edge, C library")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_VERBATIM_VARIABLES ON)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_COMPONENTS_ALL runtime development)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_NAME libedgead)
set(CPACK_DEBIAN_RUNTIME_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libedgead-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS "libedgead (= ${EDGEAD_VERSION})")
set(CPACK_COMPONENT_DEVELOPMENT_DESCRIPTION "headers, libedgead.a, and files for pkg-config and CMake")
if(png_target)  # of libedgead.a
  set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SUGGESTS libpng-dev)
endif()
# What links libedgead.so.1 depends on this package; OpenVINO files are its own.
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/shlibs "libedgead 1 libedgead (>= ${EDGEAD_VERSION})\n")
set(CPACK_DEBIAN_RUNTIME_PACKAGE_CONTROL_EXTRA ${CMAKE_CURRENT_BINARY_DIR}/shlibs)
find_program(EDGEAD_SHLIBDEPS dpkg-shlibdeps)
if(EDGEAD_SHLIBDEPS AND NOT CMAKE_CROSSCOMPILING)
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_SHLIBDEPS ON)
  set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS_PRIVATE_DIRS ${openvino_folder})
else()  # nothing here knows the other machine's packages
  set(CPACK_DEBIAN_RUNTIME_PACKAGE_DEPENDS "libc6, libstdc++6, libgcc-s1")
  if(png_target)
    string(APPEND CPACK_DEBIAN_RUNTIME_PACKAGE_DEPENDS ", libpng16-16t64 | libpng16-16")
  endif()
endif()
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
  set(CPACK_DEBIAN_PACKAGE_ARCHITECTURE arm64)
endif()
include(CPack)

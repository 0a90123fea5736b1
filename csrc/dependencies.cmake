# What libedgead is built with. OpenVINO must be there, if EDGEAD_OPENVINO is ON; libpng (with zlib)
# and nlohmann-json are fetched, pinned by a digest, where they are not installed. Sets
#   EDGEAD_JSON  the folder of nlohmann/json.hpp
#   png_target   PNG::PNG, or nothing: then png_objects and png_includes are a part of libedgead
#   openvino     the file of OpenVINO's library
include(FetchContent)
set(EDGEAD_FETCH AUTO CACHE STRING
    "libpng and nlohmann-json: AUTO (fetched where they are not installed), ON or OFF")
if(NOT EDGEAD_FETCH MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "EDGEAD_FETCH is '${EDGEAD_FETCH}', expected AUTO, ON or OFF")
endif()

# Downloads `url` into NAME_SOURCE_DIR; none of its CMakeLists.txt is read. EDGEAD_NAME_URL is another
# one, which may be a path, and EDGEAD_NAME_SHA256 its digest.
function(edgead_fetch name version url sha256)
  string(TOUPPER ${name} upper)
  set(EDGEAD_${upper}_URL "" CACHE STRING "${name} from elsewhere, by URL or path")
  set(EDGEAD_${upper}_SHA256 "" CACHE STRING "Its digest")
  if(EDGEAD_${upper}_URL)
    set(url "${EDGEAD_${upper}_URL}")
    set(sha256 "${EDGEAD_${upper}_SHA256}")
    set(version "of your own")
    string(LENGTH "${sha256}" length)
    if(NOT length EQUAL 64)
      message(FATAL_ERROR "EDGEAD_${upper}_URL is '${url}' without its digest: give what sha256sum "
                          "says of it in EDGEAD_${upper}_SHA256")
    endif()
  endif()
  message(STATUS "libedgead: ${name} ${version}, fetched from ${url}")
  FetchContent_Declare(${name} URL ${url} URL_HASH SHA256=${sha256} SOURCE_SUBDIR none ${ARGN})
  FetchContent_MakeAvailable(${name})
  set(${name}_SOURCE_DIR "${${name}_SOURCE_DIR}" PARENT_SCOPE)
endfunction()

if(EDGEAD_OPENVINO)
  find_package(OpenVINO QUIET COMPONENTS Runtime)
endif()
if(EDGEAD_OPENVINO AND NOT OpenVINO_FOUND)
  message(FATAL_ERROR "libedgead needs OpenVINO, and found none: install its package for C++, or "
    "`pip install openvino` and give -DOpenVINO_DIR=$(python3 -c 'import openvino; "
    "print(openvino.__path__[0])')/cmake. -DEDGEAD_LIBRARY=OFF builds the kernels alone")
endif()
if(EDGEAD_OPENVINO)
  get_target_property(configurations openvino::runtime IMPORTED_CONFIGURATIONS)
  list(GET configurations 0 configuration)
  get_target_property(openvino openvino::runtime IMPORTED_LOCATION_${configuration})
  message(STATUS "libedgead: OpenVINO ${OpenVINO_VERSION}, ${openvino}")
endif()

if(NOT EDGEAD_FETCH STREQUAL "ON")
  find_package(PNG QUIET)
  find_path(EDGEAD_JSON nlohmann/json.hpp)
endif()
if(EDGEAD_FETCH STREQUAL "OFF" AND NOT (PNG_FOUND AND EDGEAD_JSON))
  message(FATAL_ERROR "libedgead needs libpng (found: '${PNG_LIBRARIES}') and nlohmann/json.hpp "
    "(found: '${EDGEAD_JSON}'): apt-get install libpng-dev nlohmann-json3-dev, name their folder in "
    "CMAKE_PREFIX_PATH, or let them be fetched without EDGEAD_FETCH=OFF")
endif()

if(NOT EDGEAD_FETCH STREQUAL "ON" AND EDGEAD_JSON)
  message(STATUS "libedgead: nlohmann-json, ${EDGEAD_JSON}")
else()
  set(whole)  # the header alone, or an archive of the sources
  if(NOT EDGEAD_JSON_URL OR EDGEAD_JSON_URL MATCHES "[.]hpp$")
    set(whole DOWNLOAD_NO_EXTRACT ON DOWNLOAD_NAME json.hpp)
  endif()
  edgead_fetch(json 3.11.3 https://github.com/nlohmann/json/releases/download/v3.11.3/json.hpp
               9bea4c8066ef4a1c206b2be5a36302f8926f7fdc6087af5d20b417d0cf103ea6 ${whole})
  set(EDGEAD_JSON ${json_SOURCE_DIR}/include)
  if(whole)
    configure_file(${json_SOURCE_DIR}/json.hpp json/nlohmann/json.hpp COPYONLY)
    set(EDGEAD_JSON ${CMAKE_CURRENT_BINARY_DIR}/json)
  endif()
endif()

set(png_target)
set(png_objects)
set(png_includes)
if(NOT EDGEAD_FETCH STREQUAL "ON" AND PNG_FOUND)
  message(STATUS "libedgead: libpng ${PNG_VERSION_STRING}, ${PNG_LIBRARIES}")
  set(png_target PNG::PNG)
  return()
endif()
edgead_fetch(zlib 1.3.1 https://github.com/madler/zlib/archive/refs/tags/v1.3.1.tar.gz
             17e88863f3600672ab49182f217281b6fc4d3c762bde361935e436a95214d05c)
edgead_fetch(libpng 1.6.58 https://github.com/pnggroup/libpng/archive/refs/tags/v1.6.58.tar.gz
             a9d4df463d36a6e5f9c29bd6f4967312d17e996c1854f3511f833924eb1993cf)
configure_file(${libpng_SOURCE_DIR}/scripts/pnglibconf.h.prebuilt png/pnglibconf.h COPYONLY)
set(png_includes ${CMAKE_CURRENT_BINARY_DIR}/png ${libpng_SOURCE_DIR} ${zlib_SOURCE_DIR})
set(sources png pngerror pngget pngmem pngread pngrio pngrtran pngrutil pngset pngtrans pngwio pngwrite
            pngwtran pngwutil)
list(TRANSFORM sources REPLACE "(.+)" "${libpng_SOURCE_DIR}/\\1.c")
set(zlib_sources adler32 crc32 deflate inffast inflate inftrees trees zutil)
list(TRANSFORM zlib_sources REPLACE "(.+)" "${zlib_SOURCE_DIR}/\\1.c")
add_library(png OBJECT ${sources} ${zlib_sources})
target_include_directories(png PRIVATE ${png_includes})
target_compile_definitions(png PRIVATE PNG_ARM_NEON_OPT=0 Z_HAVE_UNISTD_H)
target_compile_options(png PRIVATE -w)
set(png_objects $<TARGET_OBJECTS:png>)

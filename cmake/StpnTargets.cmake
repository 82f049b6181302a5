# How every target of the project is made: one library a folder, one test program a folder.

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
set(CMAKE_CXX_EXTENSIONS OFF)

# A compiler cache where there is one; it needs to be told that precompiled headers are safe.
find_program(STPN_CCACHE ccache)
if(STPN_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      "${CMAKE_COMMAND};-E;env;CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime;${STPN_CCACHE}")
endif()

# What our own code is compiled with and nobody else's: never exported.
add_library(stpn_private_flags INTERFACE)
# -fPIC everywhere: the static libraries also go into the op library, and executables can use the same
# precompiled header as libraries.
target_compile_options(stpn_private_flags INTERFACE -fPIC -Wall -Wextra -Wno-psabi
  $<$<BOOL:${STPN_WERROR}>:-Werror> $<$<BOOL:${STPN_CCACHE}>:-fpch-preprocess>)
if(STPN_SANITIZE STREQUAL "address")
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(STPN_SANITIZE STREQUAL "thread")
  set(sanitizers -fsanitize=thread)
elseif(STPN_SANITIZE)
  message(FATAL_ERROR "STPN_SANITIZE is \"${STPN_SANITIZE}\": set it to address, thread or nothing")
endif()
if(STPN_SANITIZE)
  target_compile_options(stpn_private_flags INTERFACE ${sanitizers} -fno-omit-frame-pointer)
  target_link_options(stpn_private_flags INTERFACE ${sanitizers})
endif()

# stpn_library(NAME SOURCES file... HEADERS file... [PUBLIC lib...] [PRIVATE lib...])
# Library stpn_NAME, also stpn::NAME, here and installed.
function(stpn_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;HEADERS;PUBLIC;PRIVATE" ${ARGN})
  add_library(stpn_${name} STATIC ${arg_SOURCES})
  add_library(stpn::${name} ALIAS stpn_${name})
  set_target_properties(stpn_${name} PROPERTIES EXPORT_NAME ${name})
  target_compile_features(stpn_${name} PUBLIC cxx_std_20)
  target_sources(stpn_${name} PUBLIC FILE_SET HEADERS BASE_DIRS "${PROJECT_SOURCE_DIR}"
    FILES ${arg_HEADERS})
  target_link_libraries(stpn_${name} PUBLIC ${arg_PUBLIC}
    PRIVATE ${arg_PRIVATE} $<BUILD_INTERFACE:stpn_private_flags>)
  set_property(GLOBAL APPEND PROPERTY STPN_LIBRARIES stpn_${name})
endfunction()

# stpn_use_torch_header(TARGET)
# torch/torch.h takes half a minute to read: it is precompiled once, with the first target that asks.
function(stpn_use_torch_header target)
  get_property(owner GLOBAL PROPERTY STPN_TORCH_HEADER)
  if(owner)
    target_precompile_headers(${target} REUSE_FROM ${owner})
  else()
    target_precompile_headers(${target} PRIVATE <torch/torch.h>)
    set_property(GLOBAL PROPERTY STPN_TORCH_HEADER ${target})
  endif()
endfunction()

# stpn_tests(NAME SOURCES file... [LINK lib...] [LABELS label...] [TORCH])
# Program stpn_NAME_tests; each case in it is one test for ctest. TORCH: its sources include
# torch/torch.h. With sanitizers a program that links torch takes seconds to start, so it runs as a
# few shards of its cases, which the environment variable GTEST_FILTER may choose (CMakePresets.json).
function(stpn_tests name)
  if(NOT STPN_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "TORCH" "" "SOURCES;LINK;LABELS" ${ARGN})
  add_executable(stpn_${name}_tests ${arg_SOURCES})
  target_compile_definitions(stpn_${name}_tests PRIVATE
    STPN_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(stpn_${name}_tests PRIVATE ${arg_LINK} GTest::gtest_main
    stpn_private_flags)
  if(arg_TORCH)
    stpn_use_torch_header(stpn_${name}_tests)
  endif()
  if(STPN_SANITIZE AND STPN_WITH_TORCH)
    foreach(shard RANGE 3)
      add_test(NAME ${name}.shard${shard} COMMAND stpn_${name}_tests)
      set_tests_properties(${name}.shard${shard} PROPERTIES TIMEOUT 1200 LABELS "${arg_LABELS}"
        ENVIRONMENT "GTEST_TOTAL_SHARDS=4;GTEST_SHARD_INDEX=${shard}")
    endforeach()
  else()
    gtest_discover_tests(stpn_${name}_tests TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60
      PROPERTIES TIMEOUT 300 LABELS "${arg_LABELS}")
  endif()
endfunction()

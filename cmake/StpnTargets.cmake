# How every target of the project is made: one library a folder, one test program a folder.

set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/bin")
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
set(CMAKE_ARCHIVE_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/lib")
set(CMAKE_CXX_EXTENSIONS OFF)

# A compiler cache where there is one.
find_program(STPN_CCACHE ccache)
if(STPN_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${STPN_CCACHE}")
endif()

# What our own code is compiled with and nobody else's: never exported.
add_library(stpn_private_flags INTERFACE)
# -fPIC everywhere: the static libraries also go into the op library.
target_compile_options(stpn_private_flags INTERFACE -fPIC -Wall -Wextra -Wno-psabi
  $<$<BOOL:${STPN_WERROR}>:-Werror>)
if(STPN_SANITIZE STREQUAL "address")
  # STPN_FEWER_CHECKS, of a target: addresses only, checked by a call at each access and not in line.
  # A kernel then takes a third of the time to compile.
  set(fewer -fno-sanitize=undefined --param=asan-instrumentation-with-call-threshold=0)
  set(sanitizers -fsanitize=address,undefined -fno-sanitize-recover=all
    "$<$<BOOL:$<TARGET_PROPERTY:STPN_FEWER_CHECKS>>:${fewer}>")
elseif(STPN_SANITIZE STREQUAL "thread")
  set(sanitizers -fsanitize=thread)
elseif(STPN_SANITIZE)
  message(FATAL_ERROR "STPN_SANITIZE is \"${STPN_SANITIZE}\": set it to address, thread or nothing")
endif()
if(STPN_SANITIZE)
  target_compile_options(stpn_private_flags INTERFACE
    "$<$<NOT:$<BOOL:$<TARGET_PROPERTY:STPN_NOT_SANITIZED>>>:${sanitizers};-fno-omit-frame-pointer>")
  target_link_options(stpn_private_flags INTERFACE -fsanitize=${STPN_SANITIZE})
  if(STPN_SANITIZE STREQUAL "address")
    target_link_options(stpn_private_flags INTERFACE -fsanitize=undefined)
  endif()
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

# stpn_optimise(TARGET LEVEL)
# Another optimisation level than that of the build type, where that takes long to compile and the time
# is not spent when the program runs: -O1, -O2.
function(stpn_optimise target level)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release,RelWithDebInfo>:${level}>)
endfunction()

# stpn_unite(TARGET)
# Compiles the sources of a target as one. A header of torch takes 20 to 30 seconds to compile, in every
# source anew and, precompiled, still 15. So names in anonymous namespaces have to differ within a folder.
function(stpn_unite target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${STPN_UNITE} UNITY_BUILD_BATCH_SIZE 20)
endfunction()

# stpn_tests(NAME SOURCES file... [LINK lib...] [SHARDED])
# Program stpn_NAME_tests. For ctest each case in it is one test; if SHARDED, a quarter of them is. A
# program that links torch takes a second to start, with sanitizers several, which is longer than most
# cases take.
function(stpn_tests name)
  if(NOT STPN_BUILD_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "SHARDED" "" "SOURCES;LINK" ${ARGN})
  add_executable(stpn_${name}_tests ${arg_SOURCES})
  target_compile_definitions(stpn_${name}_tests PRIVATE
    STPN_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  target_link_libraries(stpn_${name}_tests PRIVATE ${arg_LINK} GTest::gtest_main
    stpn_private_flags)
  stpn_unite(stpn_${name}_tests)
  stpn_optimise(stpn_${name}_tests -O1)
  # The presets with sanitizers choose cases by the environment variable GTEST_FILTER, which a test of
  # one case would not read.
  if(arg_SHARDED OR (STPN_SANITIZE AND STPN_WITH_TORCH))
    foreach(shard RANGE 3)
      add_test(NAME ${name}.shard${shard} COMMAND stpn_${name}_tests)
      set_tests_properties(${name}.shard${shard} PROPERTIES TIMEOUT 1200
        ENVIRONMENT "GTEST_TOTAL_SHARDS=4;GTEST_SHARD_INDEX=${shard}")
    endforeach()
  else()
    gtest_discover_tests(stpn_${name}_tests TEST_PREFIX "${name}." DISCOVERY_TIMEOUT 60
      PROPERTIES TIMEOUT 300)
  endif()
endfunction()

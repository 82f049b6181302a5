# MuJoCo as it lies in an installed Python package `mujoco`, or else in the system, such as Debian's
# libmujoco-dev: target stpn_mujoco, where one is found.
#
# Not find_package(mujoco): the wheel has no package file, and Debian's also requires OpenGL and the
# headers of qhull, which nothing here needs.

set(STPN_WITH_MUJOCO AUTO CACHE STRING "Build the tasks on MuJoCo: ON, OFF, or AUTO, if it is found")
set_property(CACHE STPN_WITH_MUJOCO PROPERTY STRINGS AUTO ON OFF)
if(TARGET stpn_mujoco OR (NOT STPN_WITH_MUJOCO AND NOT STPN_WITH_MUJOCO STREQUAL "AUTO"))
  return()
endif()

# Only what was set by the user is an error if it is wrong.
set(stpn_mujoco_dir "${STPN_MUJOCO_DIR}")
if(NOT stpn_mujoco_dir)
  find_package(Python3 3.11 QUIET COMPONENTS Interpreter)
  if(Python3_Interpreter_FOUND)
    execute_process(
      COMMAND "${Python3_EXECUTABLE}" -c
        "import importlib.util as u; print(u.find_spec('mujoco').submodule_search_locations[0])"
      OUTPUT_VARIABLE stpn_mujoco_dir OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
endif()
set(stpn_mujoco_library "")
if(stpn_mujoco_dir)
  file(GLOB stpn_mujoco_library "${stpn_mujoco_dir}/libmujoco.so.*")
  set(stpn_mujoco_include "${stpn_mujoco_dir}/include")
endif()
if(STPN_MUJOCO_DIR AND NOT stpn_mujoco_library)
  message(FATAL_ERROR "No libmujoco.so.* in STPN_MUJOCO_DIR (${STPN_MUJOCO_DIR}): set it to the folder "
    "of an installed Python package mujoco")
endif()
# The wheel's library has no name without a version, so whoever runs the program needs this file.
set(STPN_MUJOCO_OF_WHEEL "${stpn_mujoco_library}")
set(STPN_MUJOCO_OF_WHEEL_DIR "${stpn_mujoco_dir}")
if(NOT stpn_mujoco_library)
  find_library(STPN_MUJOCO_LIBRARY mujoco)
  find_path(STPN_MUJOCO_INCLUDE mujoco/mujoco.h)
  mark_as_advanced(STPN_MUJOCO_LIBRARY STPN_MUJOCO_INCLUDE)
  if(STPN_MUJOCO_LIBRARY AND STPN_MUJOCO_INCLUDE)
    set(stpn_mujoco_library "${STPN_MUJOCO_LIBRARY}")
    set(stpn_mujoco_include "${STPN_MUJOCO_INCLUDE}")
  endif()
endif()

if(stpn_mujoco_library)
  message(STATUS "MuJoCo: ${stpn_mujoco_library}")
  add_library(stpn_mujoco SHARED IMPORTED GLOBAL)
  set_target_properties(stpn_mujoco PROPERTIES IMPORTED_LOCATION "${stpn_mujoco_library}")
  target_include_directories(stpn_mujoco SYSTEM INTERFACE "${stpn_mujoco_include}")
else()
  set(stpn_mujoco_hint "install it (pip install mujoco-core==4.0.0) for Python3_EXECUTABLE "
    "(${Python3_EXECUTABLE}), or set STPN_MUJOCO_DIR to the folder of an installed Python package "
    "mujoco, or install libmujoco-dev")
  string(CONCAT stpn_mujoco_hint ${stpn_mujoco_hint})
  if(STPN_WITH_MUJOCO STREQUAL "AUTO")
    message(STATUS "No MuJoCo, so no tasks inverted_pendulum and hopper: ${stpn_mujoco_hint}")
  else()
    message(FATAL_ERROR "STPN_WITH_MUJOCO is ON, but there is no MuJoCo: ${stpn_mujoco_hint}")
  endif()
endif()

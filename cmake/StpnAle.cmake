# The Arcade Learning Environment 0.12.1 as `cmake/setup.sh ale` builds it, in .ale or STPN_ALE_DIR:
# target stpn_ale, where it is there. A program with it may be passed on under the GPL 2 only.

set(STPN_WITH_ALE AUTO CACHE STRING "Build the Atari tasks: ON, OFF, or AUTO, if ALE has been set up")
set_property(CACHE STPN_WITH_ALE PROPERTY STRINGS AUTO ON OFF)
if(TARGET stpn_ale OR (NOT STPN_WITH_ALE AND NOT STPN_WITH_ALE STREQUAL "AUTO"))
  return()
endif()

set(stpn_ale_dir "${STPN_ALE_DIR}")
if(NOT stpn_ale_dir)
  set(stpn_ale_dir "${PROJECT_SOURCE_DIR}/.ale")
endif()
if(EXISTS "${stpn_ale_dir}/requirements.txt")  # written last
  find_package(ZLIB REQUIRED)
  find_package(Threads REQUIRED)
  message(STATUS "ALE: ${stpn_ale_dir}")
  set(STPN_ALE_OF_SETUP "${stpn_ale_dir}")
  set(STPN_ALE_ROMS "${stpn_ale_dir}/roms")
  add_library(stpn_ale STATIC IMPORTED GLOBAL)
  set_target_properties(stpn_ale PROPERTIES IMPORTED_LOCATION "${stpn_ale_dir}/lib/libale.a")
  target_include_directories(stpn_ale SYSTEM INTERFACE "${stpn_ale_dir}/include")
  target_link_libraries(stpn_ale INTERFACE ZLIB::ZLIB Threads::Threads)
elseif(STPN_WITH_ALE STREQUAL "AUTO" AND NOT STPN_ALE_DIR)
  message(STATUS "No ALE, so no tasks pong and atari: run cmake/setup.sh ale")
else()
  message(FATAL_ERROR "There is no ALE in ${stpn_ale_dir}: run cmake/setup.sh ale in the folder of stpn, or "
    "set STPN_ALE_DIR to the .ale that it made")
endif()

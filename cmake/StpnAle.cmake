# The Arcade Learning Environment 0.12.1 as `cmake/setup.sh ale` builds it, in .ale or STPN_ALE_DIR:
# target stpn_ale, where it is there. A program with it may be passed on under the GPL 2 only.

option(STPN_WITH_ALE "Build the Atari tasks, with ALE, which is under the GPL 2" OFF)
if(TARGET stpn_ale OR NOT STPN_WITH_ALE)
  return()
endif()

set(stpn_ale_dir "${STPN_ALE_DIR}")
if(NOT stpn_ale_dir)
  set(stpn_ale_dir "${PROJECT_SOURCE_DIR}/.ale")
endif()
if(EXISTS "${stpn_ale_dir}/requirements.txt")  # written last
  find_package(ZLIB REQUIRED)
  find_package(Threads REQUIRED)
  message(STATUS "ALE: ${stpn_ale_dir}. Whoever passes on what is built has to do so under the GPL 2; "
    "-DSTPN_WITH_ALE=OFF leaves ALE out")
  set(STPN_ALE_OF_SETUP "${stpn_ale_dir}")
  set(STPN_ALE_ROMS "${stpn_ale_dir}/roms")
  add_library(stpn_ale STATIC IMPORTED GLOBAL)
  set_target_properties(stpn_ale PROPERTIES IMPORTED_LOCATION "${stpn_ale_dir}/lib/libale.a")
  target_include_directories(stpn_ale SYSTEM INTERFACE "${stpn_ale_dir}/include")
  target_link_libraries(stpn_ale INTERFACE ZLIB::ZLIB Threads::Threads)
else()
  message(FATAL_ERROR "There is no ALE in ${stpn_ale_dir}: run cmake/setup.sh ale in the folder of stpn, or "
    "set STPN_ALE_DIR to the .ale that it made")
endif()

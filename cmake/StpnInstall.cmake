# What is installed: the libraries as CMake package `stpn`, the program, the ops and the experiments.

if(NOT PROJECT_IS_TOP_LEVEL)
  return()
endif()
include(CMakePackageConfigHelpers)
set(stpn_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/stpn")

get_property(stpn_libraries GLOBAL PROPERTY STPN_LIBRARIES)
install(TARGETS ${stpn_libraries} EXPORT stpnTargets FILE_SET HEADERS)
install(EXPORT stpnTargets NAMESPACE stpn:: DESTINATION "${stpn_package_dir}")

# A copy of the wheel's MuJoCo, because the virtual environment of the build may be gone; one of the
# system stays where it is.
set(STPN_MUJOCO_INSTALLED "")
if(TARGET stpn_mujoco)
  get_target_property(STPN_MUJOCO_INSTALLED stpn_mujoco IMPORTED_LOCATION)
  if(STPN_MUJOCO_OF_WHEEL)
    install(FILES "${STPN_MUJOCO_OF_WHEEL}" DESTINATION "${CMAKE_INSTALL_LIBDIR}/stpn")
    file(GLOB licences "${STPN_MUJOCO_OF_WHEEL_DIR}/../mujoco_core-*.dist-info/licenses/*"
      "${STPN_MUJOCO_OF_WHEEL_DIR}/../mujoco-*.dist-info/licenses/*")
    install(FILES ${licences} DESTINATION "${CMAKE_INSTALL_DATADIR}/stpn/licenses/mujoco")
    get_filename_component(name "${STPN_MUJOCO_OF_WHEEL}" NAME)
    # Within the prefix, see stpnConfig.cmake.in.
    set(STPN_MUJOCO_INSTALLED "${CMAKE_INSTALL_LIBDIR}/stpn/${name}")
  endif()
endif()

# ALE's archive, because the folder of the build may be gone, its licence, which then is that of the
# program as a whole, and its sources, which have to come with it.
set(STPN_ALE_INSTALLED "")
if(TARGET stpn_ale)
  set(STPN_ALE_INSTALLED "${CMAKE_INSTALL_LIBDIR}/stpn/libale.a")
  install(FILES "${STPN_ALE_OF_SETUP}/lib/libale.a" DESTINATION "${CMAKE_INSTALL_LIBDIR}/stpn")
  file(GLOB archives "${STPN_ALE_OF_SETUP}/ale_py-*.tar.gz")
  install(FILES "${STPN_ALE_OF_SETUP}/LICENSE.md" ${archives}
    DESTINATION "${CMAKE_INSTALL_DATADIR}/stpn/licenses/ale")
endif()

configure_package_config_file(cmake/stpnConfig.cmake.in stpnConfig.cmake
  INSTALL_DESTINATION "${stpn_package_dir}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/stpnConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/stpnConfig.cmake"
  "${PROJECT_BINARY_DIR}/stpnConfigVersion.cmake" DESTINATION "${stpn_package_dir}")

if(STPN_WITH_TORCH)
  install(FILES cmake/StpnTorch.cmake DESTINATION "${stpn_package_dir}")
  install(TARGETS stpn_ops_library)
  # What users call is a script that finds libtorch, because the virtual environment of the build may
  # be gone.
  if(STPN_MUJOCO_OF_WHEEL)
    file(RELATIVE_PATH libexec_to_lib "/${CMAKE_INSTALL_LIBEXECDIR}" "/${CMAKE_INSTALL_LIBDIR}/stpn")
    set_property(TARGET stpn_cli APPEND PROPERTY INSTALL_RPATH "$ORIGIN/${libexec_to_lib}")
  endif()
  install(TARGETS stpn_cli DESTINATION "${CMAKE_INSTALL_LIBEXECDIR}")
  file(RELATIVE_PATH STPN_BIN_TO_LIBEXEC "/${CMAKE_INSTALL_BINDIR}" "/${CMAKE_INSTALL_LIBEXECDIR}")
  set(STPN_TORCH_VERSION "of the same version")
  if(EXISTS "${STPN_TORCH_DIR}/version.py")
    file(STRINGS "${STPN_TORCH_DIR}/version.py" STPN_TORCH_VERSION REGEX "^__version__ = ")
    string(REGEX MATCH "[0-9.]+" STPN_TORCH_VERSION "${STPN_TORCH_VERSION}")
  endif()
  configure_file(cmake/stpn.sh.in stpn.sh @ONLY)
  install(PROGRAMS "${PROJECT_BINARY_DIR}/stpn.sh" DESTINATION "${CMAKE_INSTALL_BINDIR}"
    RENAME stpn)
  install(DIRECTORY experiments/ DESTINATION "${CMAKE_INSTALL_DATADIR}/stpn/experiments"
    FILES_MATCHING PATTERN "*.toml")
  # Beside the ops, so that the package finds them: PYTHONPATH is <prefix>/lib/stpn/python.
  install(DIRECTORY python/stpn DESTINATION "${CMAKE_INSTALL_LIBDIR}/stpn/python"
    FILES_MATCHING PATTERN "*.py" PATTERN "py.typed" PATTERN "*.jinja" PATTERN "*.css" PATTERN "*.js")
endif()

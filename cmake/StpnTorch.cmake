# libtorch as it lies in an installed `torch` wheel: target stpn_torch.
#
# Not find_package(Torch): the package file of a CUDA build of the wheel stops where no CUDA toolkit is
# installed, though we link nothing of CUDA; and it puts its flags on every target.

if(TARGET stpn_torch)
  return()
endif()
if(NOT STPN_TORCH_DIR)
  find_package(Python3 3.11 REQUIRED COMPONENTS Interpreter)
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" -c
      "import importlib.util as u; print(u.find_spec('torch').submodule_search_locations[0])"
    OUTPUT_VARIABLE stpn_torch_dir OUTPUT_STRIP_TRAILING_WHITESPACE
    RESULT_VARIABLE stpn_torch_status ERROR_QUIET)
  if(NOT stpn_torch_status EQUAL 0)
    message(FATAL_ERROR "${Python3_EXECUTABLE} has no torch: install torch==2.13.0 there, or set "
      "Python3_EXECUTABLE to a Python that has it, or STPN_TORCH_DIR to its folder")
  endif()
  set(STPN_TORCH_DIR "${stpn_torch_dir}" CACHE PATH "The folder of an installed torch package")
endif()
if(NOT EXISTS "${STPN_TORCH_DIR}/lib/libtorch_cpu.so")
  message(FATAL_ERROR "No libtorch in STPN_TORCH_DIR (${STPN_TORCH_DIR}): set it to the folder of an "
    "installed torch package")
endif()

# What at::parallel_for runs on: torch's own copy where it brings one, so that there is one pool of
# threads.
file(GLOB stpn_torch_openmp "${STPN_TORCH_DIR}/lib/libgomp*.so*")
if(NOT stpn_torch_openmp)
  set(stpn_torch_openmp gomp)
endif()

add_library(stpn_torch INTERFACE IMPORTED GLOBAL)
target_include_directories(stpn_torch SYSTEM INTERFACE
  "${STPN_TORCH_DIR}/include" "${STPN_TORCH_DIR}/include/torch/csrc/api/include")
# A shared library takes OpenMP from libtorch, which needs it, under whatever name torch's wheel gives it.
target_link_libraries(stpn_torch INTERFACE
  "${STPN_TORCH_DIR}/lib/libtorch_cpu.so" "${STPN_TORCH_DIR}/lib/libc10.so"
  "$<$<NOT:$<STREQUAL:$<TARGET_PROPERTY:TYPE>,SHARED_LIBRARY>>:${stpn_torch_openmp}>")
target_link_options(stpn_torch INTERFACE "-Wl,-rpath,${STPN_TORCH_DIR}/lib"
  "-Wl,--no-as-needed,${STPN_TORCH_DIR}/lib/libtorch.so,--as-needed")
# torch's headers have fences, of which GCC warns that its thread sanitizer does not see them.
if(STPN_SANITIZE STREQUAL "thread")
  target_compile_options(stpn_torch INTERFACE -Wno-tsan)
endif()

# Installs stpn to a temporary prefix, then configures, builds and runs consumer NAME against it, and
# checks its output against the regular expressions in NAME/expected.txt, one per line.
file(REMOVE_RECURSE "${SCRATCH}")

function(run)
  execute_process(COMMAND ${ARGV} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

set(source "${CMAKE_CURRENT_LIST_DIR}/${NAME}")
set(options -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_COMPILER=${COMPILER}")
if(CCACHE)
  list(APPEND options "-DCMAKE_CXX_COMPILER_LAUNCHER=${CCACHE}")
endif()
if(NAME STREQUAL "find_package")
  run("${CMAKE_COMMAND}" --install "${STPN_BINARY_DIR}" --prefix "${SCRATCH}/prefix")
  list(APPEND options "-DCMAKE_PREFIX_PATH=${SCRATCH}/prefix")
else()
  # The same flags as in the build that runs this test, so that the compiler cache has the kernels.
  list(APPEND options "-DSTPN_SOURCE_DIR=${STPN_SOURCE_DIR}" -DSTPN_WERROR=ON)
endif()
run("${CMAKE_COMMAND}" -G "${GENERATOR}" -S "${source}" -B "${SCRATCH}/build" ${options})
run("${CMAKE_COMMAND}" --build "${SCRATCH}/build" --target consumer)

execute_process(COMMAND "${SCRATCH}/build/consumer" OUTPUT_VARIABLE output
  COMMAND_ERROR_IS_FATAL ANY)
message("${output}")
file(STRINGS "${source}/expected.txt" expected)
foreach(line IN LISTS expected)
  if(NOT output MATCHES "${line}")
    message(FATAL_ERROR "The output of the consumer does not match: ${line}")
  endif()
endforeach()

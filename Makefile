# Shortcuts for the CMake presets. `make` without a target lists them.

# Our headers and sources, including files that are not in git yet.
SOURCES = $(shell git ls-files --cached --others --exclude-standard '*.h' '*.cc' '*.cu' '*.cuh')
# clang-tidy checks the layers below torch only: a file that includes torch takes half a minute. Tests
# are left out, because half of its findings there are about GoogleTest.
TIDIED = $(filter-out %_test.cc stpn/processes/mpi.cc,$(filter stpn/base/%.cc stpn/kernels/%.cc stpn/processes/%.cc \
  stpn/runtime/%.cc stpn/tasks/%.cc,$(SOURCES)))
CORES = $(shell nproc)
PREFIX ?= /usr/local
PYTHON ?= python3
BUDGET ?= full

.PHONY: help setup configure build program demo demo-pong bench experiments report test wheel sanitize mutations lint \
  format install clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1\t\2/p' Makefile | expand -t 20

setup:  ## install missing Debian packages, and Python wheels into .venv
	@cmake/setup.sh

configure: setup
	cmake --preset release

build: configure  ## build the program build/bin/stpn and the ops build/lib/libstpn_ops.so
	cmake --build --preset release --target stpn_cli stpn_ops_library

program: configure
	cmake --build --preset release --target stpn_cli

demo: program  ## train an STPN and an LSTM, a minute each, and show a table and a figure
	.venv/bin/python python/demo.py

# With ALE, which is under the GPL 2, and therefore only on demand.
demo-pong:  ## build the program with the Atari emulator and let a random policy play Pong
	@cmake/setup.sh ale
	cmake --preset release -DSTPN_WITH_ALE=ON
	cmake --build --preset release --target stpn_cli
	build/bin/stpn eval experiments/pong/random.toml

# As the program does (cli/main.cc): new pages would be half of the time of some rows.
KEEP_FREED_MEMORY = MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=4294967296
bench: build  ## time the units against PyTorch: a quarter of an hour on an idle machine
	cmake --build --preset release --target fma_rate
	$(KEEP_FREED_MEMORY) .venv/bin/python benchmarks/bench.py --threads 1 $(CORES) $(BENCH)

# With ALE too, like demo-pong: these are all tasks.
experiments:  ## train every model of every task and make a page of them: BUDGET=smoke (minutes), short (an hour and a quarter) or full (days)
	@cmake/setup.sh ale
	cmake --preset release -DSTPN_WITH_ALE=ON
	cmake --build --preset release --target stpn_cli stpn_ops_library
	experiments/all.sh $(BUDGET)

report: build  ## make report.html, a page of all runs in results/
	build/bin/stpn report

test:  ## run all tests, then those of the layers below torch with sanitizers
	@cmake/setup.sh ale
	@cmake/setup.sh test
	cmake --preset release -DSTPN_WITH_ALE=ON
	cmake --build --preset release
	ctest --preset release -j $(CORES)
	cmake --preset dev -DSTPN_WITH_ALE=ON
	cmake --build --preset dev
	ctest --preset dev -j $(CORES)

wheel:  ## build the wheel of the Python package in dist/ and try it in an empty environment
	@cmake/setup.sh test
	cmake/wheel.sh
	.venv/bin/python python/try_wheel.py dist/*.whl

sanitize: setup  ## every layer with sanitizers: address and undefined behaviour, then threads; half an hour
	for preset in asan tsan; do \
	  cmake --preset $$preset && cmake --build --preset $$preset && \
	  ctest --preset $$preset -j $(CORES) || exit 1; done

mutations: setup  ## put faults into a copy of the kernels: the tests must catch every one; ten minutes
	$(PYTHON) -B tests/mutations/mutations.py -j $(CORES)

lint:  ## check the format of all C++ files, the layers below torch with clang-tidy, and the Python code
	@cmake/setup.sh ale
	@cmake/setup.sh test
	@cmake/setup.sh lint
	clang-format-14 --dry-run --Werror $(SOURCES)
	.venv/bin/python -m ruff check python
	.venv/bin/python -m mypy
	cmake --preset lint -DSTPN_WITH_ALE=ON
	$(PYTHON) cmake/one_command_a_source.py build-lint/compile_commands.json
	printf '%s\n' $(TIDIED) | xargs -P $(CORES) -n 1 clang-tidy-14 --quiet -p build-lint \
	  --extra-arg=-Wno-unused-command-line-argument  # of flags that only GCC has

format:  ## format all C++ files
	@cmake/setup.sh lint
	clang-format-14 -i $(SOURCES)

install: build  ## install the library, program and ops to PREFIX (/usr/local)
	cmake --install build --prefix $(PREFIX)

clean:  ## remove the build folders, but not .venv, .ale and runs/
	rm -rf build build-dev build-lint build-asan build-tsan build-wheel dist

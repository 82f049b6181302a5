#!/usr/bin/env bash
# Installs what is missing for the build: Debian packages (cmake/debian-packages.txt) and the virtual
# environment .venv (python/requirements.txt). If nothing is missing, it returns at once.
#
#   cmake/setup.sh          for building, testing and running
#   cmake/setup.sh ale      besides, the emulator of the Atari tasks, built once into .ale
#   cmake/setup.sh test     besides, what only tests need: a browser, and more wheels in .venv
#   cmake/setup.sh lint     the linters only
#
# Exit code 2: the caller has to install something; the message says how.
set -euo pipefail
cd "$(dirname "$0")/.."

# Lists the packages of a kind: "", "ale" or "test", which need those without a kind too, or "lint".
packages() {
  awk -v kind="$1" '/^#/ || !NF { next } NF == 1 && kind != "lint" { print $1 }
                    NF == 2 && $1 == kind { print $2 }' cmake/debian-packages.txt
}

missing_packages() {
  local package
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      echo "$package"
  done
}

install_packages() {
  local as_root=$1
  shift
  echo "setup: installing with apt-get: $*"
  $as_root apt-get update -qq
  $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"
}

need_packages() {
  if ! command -v apt-get >/dev/null; then
    echo "setup: this is not Debian or Ubuntu; make sure that you have the equivalents of these packages:" "$@"
    return
  fi
  local missing
  mapfile -t missing < <(missing_packages "$@")
  if ((${#missing[@]} == 0)); then
    return
  elif ((EUID == 0)); then
    install_packages "" "${missing[@]}"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    install_packages sudo "${missing[@]}"
  else
    echo "setup: packages are missing; install them, then run make again:" >&2
    echo "  sudo apt-get update && sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 2
  fi
}

# .venv/requirements.txt is written last. If it is missing or differs, the environment is created again.
make_environment() {
  local python=${PYTHON:-/usr/bin/python3}
  if cmp -s python/requirements.txt .venv/requirements.txt && .venv/bin/python -c '' 2>/dev/null
  then
    return
  fi
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "setup: $python is not Python 3.11 or later; set PYTHON to one that is" >&2
    exit 2
  fi
  echo "setup: creating .venv with the wheels of python/requirements.txt (torch is large)"
  rm -rf .venv
  "$python" -m venv .venv
  if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input \
    -r python/requirements.txt; then
    echo "setup: pip could not install python/requirements.txt; see its message above" >&2
    exit 1
  fi
  cp python/requirements.txt .venv/requirements.txt
}

# .venv/requirements-test.txt is written last.
make_test_environment() {
  if cmp -s python/requirements-test.txt .venv/requirements-test.txt; then
    return
  fi
  echo "setup: installing the wheels of python/requirements-test.txt into .venv"
  .venv/bin/python -m pip install --disable-pip-version-check --no-input -c python/requirements.txt \
    -r python/requirements-test.txt
  cp python/requirements-test.txt .venv/requirements-test.txt
}

# .ale: lib/libale.a, include/, roms/, LICENSE.md, the archive of the sources, and in python/ the package
# ale_py, with which our tests compare. .ale/requirements.txt is written last.
make_ale() {
  if cmp -s python/requirements-ale.txt .ale/requirements.txt && [[ -f .ale/lib/libale.a && -f .ale/roms/pong.bin ]]
  then
    return
  fi
  echo "setup: building the Arcade Learning Environment in .ale: three minutes of one core"
  rm -rf .ale
  mkdir -p .ale/build .ale/include .ale/lib .ale/roms
  fetch_ale
  compile_ale
  local source=.ale/source
  cp .ale/build/src/ale/libale.a .ale/lib/
  cp .ale/build/src/ale/version.hpp .ale/include/
  (cd "$source/src" && find ale -name '*.h' -o -name '*.hpp' -o -name '*.hxx' | tar -cf - -T -) |
    tar -xf - -C .ale/include
  cp "$source"/src/ale/python/roms/*.bin .ale/roms/
  cp "$source/LICENSE.md" .ale/
  rm -rf .ale/build .ale/source .ale/tools
  cp python/requirements-ale.txt .ale/requirements.txt
}

fetch_ale() {
  local pip=(.venv/bin/python -m pip --disable-pip-version-check --no-input --quiet)
  if ! "${pip[@]}" install --no-deps --require-hashes --target .ale/tools -r python/requirements-ale-tools.txt ||
    ! PYTHONPATH=$PWD/.ale/tools "${pip[@]}" download --no-deps --no-binary ale-py --no-build-isolation \
      --require-hashes --dest .ale -r python/requirements-ale.txt; then
    echo "setup: pip could not fetch ALE's sources; see its message above" >&2
    exit 1
  fi
  mkdir .ale/source
  tar -xf .ale/ale_py-*.tar.gz --strip-components=1 -C .ale/source
  "${pip[@]}" install --no-deps --only-binary ale-py --target .ale/python ale-py==0.12.1 ||
    echo "setup: there is no wheel of ale-py for this machine: some tests of the Atari tasks are skipped"
}

# Each emulator would compute a table for 0.1 s that only ALE's option color_averaging reads, which we do
# not use. Not as Release, for which ALE's objects hold data for link-time optimisation only.
compile_ale() {
  local blend=.ale/source/src/ale/environment/phosphor_blend.cpp launcher=()
  sed -i 's|^  makeAveragePalette();$|  // Changed by stpn: makeAveragePalette() is not called.|' "$blend"
  if ! grep -q 'Changed by stpn' "$blend"; then
    echo "setup: ALE's $blend has changed: mend the line of sed in cmake/setup.sh" >&2
    exit 1
  fi
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
  fi
  cmake -S .ale/source -B .ale/build -G Ninja --log-level=WARNING -DBUILD_PYTHON_LIB=OFF \
    -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O3 -DNDEBUG -w" "${launcher[@]}"
  cmake --build .ale/build --target ale-lib
}

mapfile -t needed < <(packages "${1-}")
if [[ ${1-} == test ]]; then
  # Ubuntu has Chromium as a snap only, which runs in no container.
  code=0
  (need_packages "${needed[@]}") || code=$?
  if ((code == 2)); then
    exit 2
  elif ((code)); then
    echo "setup: apt-get has no Chromium here: the tests of the page of stpn report are skipped" >&2
  fi
else
  need_packages "${needed[@]}"
fi
if [[ ${1-} != lint ]]; then
  make_environment
fi
case ${1-} in
  ale) make_ale ;;
  test) make_test_environment ;;
esac

#!/usr/bin/env bash
# Installs what is missing for the build: Debian packages (cmake/debian-packages.txt) and the virtual
# environment .venv (python/requirements.txt). If nothing is missing, it returns at once.
#
#   cmake/setup.sh          for building, testing and running
#   cmake/setup.sh lint     the linters only
#
# Exit code 2: the caller has to install something; the message says how.
set -euo pipefail
cd "$(dirname "$0")/.."

# Lists the packages of a kind: "" or "lint".
packages() {
  awk -v kind="$1" '/^#/ || !NF { next } NF == 1 && kind == "" { print $1 }
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

mapfile -t needed < <(packages "${1-}")
need_packages "${needed[@]}"
if [[ ${1-} != lint ]]; then
  make_environment
fi

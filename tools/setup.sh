#!/usr/bin/env bash
# Prepare this machine and this checkout: Debian packages (as root), uv, the environment in .venv, and the router's nginx.
# Run again it only checks; it says what it installs, and why something could not be installed.
# `tools/setup.sh runtime` also prepares what the training runtime's tests need: the trainer's own environment
# (gigabytes: torch and CUDA libraries), an MLflow server's, and PostgreSQL, linked as .envs/trainer and .envs/mlflow.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=${XDG_CACHE_HOME:-$HOME/.cache}/anneal
packages="buildah busybox-static ca-certificates chromium debootstrap git iproute2 ipset iptables kmod nftables runc util-linux"

install_packages() {
  command -v dpkg-query >/dev/null || { echo "setup: not a Debian system; it needs: $packages" >&2; return; }
  missing=""
  for package in $packages "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok' || missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" != 0 ]; then
    echo "setup: not root, so these Debian packages stay missing:$missing" >&2
    return
  fi
  echo "setup: installing Debian packages:$missing"
  apt-get update -qq || echo "setup: some package lists could not be refreshed; trying with those there are" >&2
  # shellcheck disable=SC2086 # a list of names
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

find_python() { # the interpreter itself, not a version manager's wrapper
  for candidate in python3 python3.11 python3.12 python3.13 /usr/bin/python3; do
    "$candidate" -c 'import sys; (3, 11) <= sys.version_info < (3, 14) or sys.exit(1); print(sys._base_executable)' \
      2>/dev/null && return
  done
  echo "setup: no Python 3.11 to 3.13 found: install Debian's python3" >&2
  return 1
}

install_packages
python=$(find_python) || { install_packages python3 python3-venv; python=$(find_python); }

pins() { # NAME …: what these extras and groups of pyproject.toml consist of
  "$python" -m tools.requirements select "$@"
}

digest() {
  sha256sum | cut -c1-16
}

uv_folder=$cache/uv-$(pins installer | digest)
uv=$uv_folder/bin/uv
if [ ! -x "$uv" ]; then
  "$python" -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
  echo "setup: installing uv into $uv_folder"
  rm -rf "$uv_folder"
  "$python" -m venv "$uv_folder"
  pins installer >"$uv_folder/pins.txt"
  "$uv_folder/bin/pip" install -q --disable-pip-version-check --require-hashes -r "$uv_folder/pins.txt"
fi

install_pins() { # FOLDER NAME …: compiled once, as every test starts new processes, and where PYTHONDONTWRITEBYTECODE
  folder=$1 # is set each would compile anew
  shift
  "$uv" venv -q --clear --python "$python" "$folder"
  pins "$@" >"$folder/pins.txt"
  "$uv" pip sync -q --compile-bytecode --require-hashes --python "$folder" "$folder/pins.txt"
}

stamp=$(pins dev operator router | cat - tools/setup.sh | digest)
if [ "$(cat .venv/stamp 2>/dev/null)" != "$stamp" ] || ! .venv/bin/python -c '' 2>/dev/null; then
  echo "setup: installing the development environment into .venv"
  install_pins .venv dev operator router
  printf '%s' "$stamp" >.venv/stamp
fi

.venv/bin/python -m tools.nginx || echo "setup: without nginx, tests/router fails" >&2

environment() { # ENVIRONMENT NAME …: one outside the checkout, keyed by what is in it
  link=.envs/$1
  place=$cache/environments/$1-$(shift && pins "$@" | digest)
  shift
  if [ ! -e "$place/compiled" ]; then
    echo "setup: installing $place"
    rm -rf "$place"
    install_pins "$place" "$@"
    touch "$place/compiled"
  fi
  mkdir -p .envs
  ln -sfn "$place" "$link"
}

if [ "${1-}" = runtime ]; then
  install_packages postgresql
  environment trainer train runtime-test
  environment mlflow mlflow
fi

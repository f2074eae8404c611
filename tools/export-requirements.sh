#!/usr/bin/env bash
# Resolve every extra together and write requirements/: exact versions with hashes and no index address.
# The lock itself names an index on every line, so it stays out of the repository.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=${UV:-.venv/bin/uv}

export_to() {
  file=$1
  shift
  "$uv" export -q --locked --no-header --no-annotate --no-emit-project "$@" -o "requirements/$file.txt" >/dev/null
  echo "requirements/$file.txt: $(grep -c == "requirements/$file.txt") packages"
}

"$uv" lock -q --upgrade
export_to operator --no-dev --extra operator
export_to router --no-dev --extra router
export_to trainer --no-dev --extra train
export_to trainer-test --no-dev --extra train --group runtime-test
export_to server --no-dev --extra serve
export_to server-cpu --no-dev --extra serve-cpu
export_to mlflow --only-group mlflow
export_to torch --only-group torch
export_to go --only-group go
export_to dev --extra operator --extra router

# The environment of all scripts; sourced. Needs Debian or Ubuntu with python3 (3.11 or newer); installs the rest.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONDONTWRITEBYTECODE=1
python=.venv/bin/python

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# Runs quietly; what it printed is shown when it fails for the second time.
twice() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 || { say "failed, trying once more: $*"; "$@" >"$log" 2>&1 || status=$?; }
  [ $status = 0 ] || { cat "$log" >&2; say "failed twice (exit $status): $*"; }
  rm -f "$log"
  return $status
}

# All of scripts/debian-packages, or those of them that are named.
debian_packages() {
  local missing=() package
  while read -r package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done < <(if [ $# -gt 0 ]; then printf '%s\n' "$@"; else grep -v '^#' scripts/debian-packages; fi)
  [ ${#missing[@]} -gt 0 ] || return 0
  [ "$(id -u)" = 0 ] || { say "needs root to install: ${missing[*]}"; exit 2; }
  say "installing ${missing[*]}"
  twice apt-get -q update
  DEBIAN_FRONTEND=noninteractive twice apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install "${missing[@]}"
}

python_packages() {
  local stamp=.venv/.pyproject dev
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { say "needs Python 3.11 or newer"; exit 2; }
  [ -x $python ] || python3 -m venv .venv
  ! cmp -s pyproject.toml $stamp || return 0
  say "installing Python packages into .venv"
  mapfile -t dev < <(python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")')
  twice $python -m pip install -q --disable-pip-version-check -e . "${dev[@]}"
  cp pyproject.toml $stamp
}

need_root() { [ "$(id -u)" = 0 ] || { say "needs root: it boots real hosts"; exit 2; }; }

lint() {
  $python -m ruff format --check -q . || { say "not formatted: ruff format ."; return 1; }
  $python -m ruff check -q .
  $python -m mypy
  .venv/bin/lint-imports --no-logo
}

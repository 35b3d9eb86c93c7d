# The environment of all scripts; sourced. Needs Debian or Ubuntu with python3 (3.11 or newer); installs the rest.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPYCACHEPREFIX=$PWD/.venv/bytecode # compiled once, and not into the tree
unset PYTHONDONTWRITEBYTECODE # or every program compiles all that it imports, each time: 4 s of CPU for one mainstay run
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
  [ -n "${updated:-}" ] || twice apt-get -q update
  updated=1
  DEBIAN_FRONTEND=noninteractive twice apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install "${missing[@]}"
}

# python_packages VENV GROUP: a virtual environment with the project (group dev) or with a group of pyproject.toml alone.
python_packages() {
  local venv=${1:-.venv} group=${2:-dev} wanted project=()
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { say "needs Python 3.11 or newer"; exit 2; }
  [ -x $venv/bin/python ] || python3 -m venv $venv
  ! cmp -s pyproject.toml $venv/pyproject.toml || return 0
  say "installing Python packages into $venv"
  mapfile -t wanted < <(python3 - $group <<'EOF'
import sys, tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"][sys.argv[1]], sep="\n")
EOF
  )
  [ $group != dev ] || project=(-e .)
  twice $venv/bin/python -m pip install -q --no-compile --disable-pip-version-check "${project[@]}" "${wanted[@]}"
  cp pyproject.toml $venv/pyproject.toml
}

# A restic that mainstay takes, and rclone, on PATH: fetched once from the machine's own mirror, not installed.
backup_tools() {
  local folder
  folder=$(python3 -m tests.servers.restic) || { say "no restic"; return 1; }
  export PATH=$folder:$PATH
}

# hosts_environment [COMMAND…]: all that booting hosts and backing them up takes. Building their base takes a minute where
# there is none yet; meanwhile restic is fetched, the Python packages are installed and COMMAND runs.
hosts_environment() {
  [ "$(id -u)" = 0 ] || { say "needs root: it boots real hosts"; exit 2; }
  debian_packages
  python3 -m tests.fleet base &
  local base=$!
  python3 -m tests.servers.restic >/dev/null &
  local restic=$!
  trap "kill $base $restic 2>/dev/null || true" EXIT
  python_packages
  "$@"
  wait $base
  wait $restic
  trap - EXIT
  backup_tools
}

lint() {
  $python -m ruff format --check -q . || { say "not formatted: ruff format ."; return 1; }
  $python -m ruff check -q .
  $python -m mypy
  .venv/bin/lint-imports --no-logo
}

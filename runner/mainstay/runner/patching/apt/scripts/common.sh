# Sent in front of every script. $1: a random word that marks the sections of the output, so that nothing a host
# prints can be taken for one.
set -uf
export LC_ALL=C LANGUAGE=C DEBIAN_FRONTEND=noninteractive DEBIAN_PRIORITY=critical APT_LISTCHANGES_FRONTEND=none
export NEEDRESTART_SUSPEND=1 PATH="$PATH:/usr/sbin:/sbin"
mark=$1
shift
section() { printf '\n#%s %s\n' "$mark" "$1"; }

# A private copy of the package lists: fresh ones are fetched into it, and the system's own stay as they are.
# $1: the folder with one that an earlier look has kept, or -. It is taken where it is ours and still there.
private() {
  if [ "$1" != - ] && [ -O "$1/conf" ] && touch "$1/conf" 2>/dev/null; then
    work=$1 lists=$1/lists/
    aptget() { apt-get -q -c "$work/conf" "$@"; }
    aptcache() { apt-cache -q -c "$work/conf" "$@"; }
    section update
    section update-status
    echo 0
    return
  fi
  umask 022
  work=$(mktemp -d "${TMPDIR:-/tmp}/mainstay-XXXXXX") || exit 70
  trap 'rm -rf "$work"' EXIT
  # A shell that dies of a signal runs no EXIT trap unless the signal is turned into an exit.
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 141' PIPE
  trap 'exit 143' TERM
  chmod 711 "$work" # apt fetches as a user of its own where it is started by root
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
  eval "$(apt-config shell lists Dir::State::lists/d)"
  find "$lists" -maxdepth 1 -type f \( -name '*Release' -o -name '*Release.gpg' -o -name '*_Packages*' \) \
    -exec cp -p --reflink=auto -t "$work/lists" {} + 2>/dev/null
  # Hooks of the system would leave traces, and want rights that a reader does not have.
  cat >"$work/conf" <<EOF
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear AptCli::Hooks;
#clear Acquire::Languages;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::CNF;
#clear Acquire::IndexTargets::deb::Contents-deb;
Acquire::Languages { "none"; };
Acquire::IndexTargets::deb-src::Sources::DefaultEnabled "false";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::Retries "1";
Dir::State::lists "$work/lists/";
Dir::Cache "$work/cache/";
Dir::Cache::archives "$work/cache/archives/";
Dir::Cache::pkgcache "$work/cache/pkgcache.bin";
Dir::Cache::srcpkgcache "";
Debug::NoLocking "true";
EOF
  lists=$work/lists/
  aptget() { apt-get -q -c "$work/conf" "$@"; }
  aptcache() { apt-cache -q -c "$work/conf" "$@"; }
  section update
  timeout -k 5 240 apt-get -q -c "$work/conf" -o APT::Update::Error-Mode=any update >"$work/update" 2>&1 </dev/null
  status=$?
  cat "$work/update"
  section update-status
  echo "$status"
  # Where a repository does not answer, everything after this would be a guess.
  [ "$status" = 0 ] || exit 0
}

# Leave the private copy for looks that follow. It goes when it is told to, and by itself where nobody comes any more.
keep() {
  (
    trap '' HUP
    waited=0
    while [ -e "$work/conf" ] && [ "$waited" -lt 300 ]; do
      sleep 1
      waited=$((waited + 1))
    done
    rm -rf "$work"
  ) </dev/null >/dev/null 2>&1 &
  trap - EXIT HUP INT PIPE TERM
  section kept
  echo "$work"
}

# The system's own lists, as they are.
real() {
  eval "$(apt-config shell lists Dir::State::lists/d)"
  aptget() { apt-get -q "$@"; }
  aptcache() { apt-cache -q "$@"; }
}

installed() {
  section native
  dpkg --print-architecture
  section installed
  dpkg-query -W -f '${binary:Package}\t${Architecture}\t${Version}\t${db:Status-Status}\t${db:Status-Want}\t${db:Status-Eflag}\n'
}

# Every version that is to be had of the named packages, and which repository has it.
versions() {
  section sources
  aptcache policy
  section versions
  [ $# = 0 ] || aptcache policy "$@"
}

# Package files that lie in the host's cache: path and nothing else.
cached() {
  section cached
  eval "$(apt-config shell archives Dir::Cache::archives/d)"
  find "$archives" -maxdepth 1 -type f -name '*.deb' 2>/dev/null
}

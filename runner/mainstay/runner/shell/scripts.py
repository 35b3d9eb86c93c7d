"""The POSIX sh that runs on hosts: fixed texts, everything that varies comes as positional parameters.

They need sh (dash, bash, busybox), flock, env, cat, mv, head, tail; systemd-run where systemd is PID 1.

Framing: what a login shell's rc files print comes before our first line. Each wrapper prints a random token on both
streams; the adapter drops everything up to it. On stdout the token's line says `ok`, or `refused` and why (tab-separated).

What the fence promises: the host keeps the highest number it has seen and its owner. A fenced command takes the guard
(flock) shared, checks its number, its state and that its run holds the lock, and keeps the guard until its program has
ended; whoever raises the number or takes the lock holds the guard alone. So once a higher number is written, no command
with a lower one is running through this door, and none can start. A program is stopped on the host itself a little after
its deadline, so that a hung one can't hold the guard for ever.
Not promised: a job that was launched earlier goes on (it is found again by its name), and so does what a command left
running in the background.
"""

from __future__ import annotations

_COMMON = r"""
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
tok=$1; shift
ok() { printf '%s ok\n' "$tok"; printf '%s\n' "$tok" >&2; }
no() { printf '%s refused' "$tok"; printf '\t%s' "$@"; printf '\n'; printf '%s\n' "$tok" >&2; exit 0; }
as() {
  who=$1; shift
  if [ -z "$who" ]; then env "$@"; return; fi
  home=$(getent passwd "$who" | cut -d: -f6)
  cd /
  set -- env "HOME=${home:-/}" "USER=$who" "LOGNAME=$who" "$@"
  if command -v runuser >/dev/null 2>&1; then runuser -u "$who" -- "$@"
  else su -s /bin/sh "$who" -c 'exec "$@"' mainstay "$@"; fi
}
known() { [ -z "$1" ] || id -u "$1" >/dev/null 2>&1 || no nouser "$1"; }
"""

_GUARD = r"""
umask 022
load() {
  f_site= f_state= f_run= f_fence= f_since=
  [ -r "$d/$1" ] || return 0
  while IFS='=' read -r k v; do
    case $k in site) f_site=$v;; state) f_state=$v;; run) f_run=$v;; fence) f_fence=$v;; since) f_since=$v;; esac
  done <"$d/$1"
}
high() {
  h=
  [ ! -e "$d/fence" ] || read -r h <"$d/fence" || :
  [ -e "$d/fence" ] || h=0
  case $h in ''|*[!0-9]*) [ "$action" = adopt ] || no damaged fence; h=0;; esac
}
save() {
  cat >"$d/.$1.new" && { sync "$d/.$1.new" 2>/dev/null || sync; } && mv -f "$d/.$1.new" "$d/$1" || no unwritable "$d/$1"
}
grab() {
  left=$((wait * 5))
  until flock -n "$1" 9; do
    left=$((left - 1)); [ "$left" -gt 0 ] || return 1
    sleep 0.2 2>/dev/null || { sleep 1; left=$((left - 4)); }
  done
}
guard() {
  command -v flock >/dev/null 2>&1 || no noflock
  # Root's alone: whoever may open it could lock it, and keep us out.
  [ -e "$d/guard" ] || (umask 077; : >>"$d/guard")
  exec 9>>"$d/guard" || no unwritable "$d/guard"
  grab "$1" || busy
}
busy() { load lock; no busy "$f_run"; }
"""

PLAIN = (
    _COMMON
    + r"""
who=$1; shift
known "$who"; ok
as "$who" "$@"
exit $?
"""
)
"""token, user or "", then [NAME=value…] argv."""

FENCED = (
    _COMMON
    + _GUARD
    + r"""
d=$1 wait=$2 num=$3 state=$4 run=$5 limit=$6 who=$7 action=; shift 7
check() {
  [ -s "$d/owner" ] || no unowned
  load owner; [ "$f_state" = "$state" ] || no owner "$f_site" "$f_state" "$f_run"
  high; load lock
  [ "$num" -ge "$h" ] || no old "$h" "$f_run"
  [ "$f_run" = "$run" ] || no lock "$f_run" "$f_since"
}
[ -d "$d" ] || no unowned
known "$who"
guard -s; check
if [ "$num" -gt "$h" ]; then
  grab -x || busy
  check; echo "$num" | save fence
  grab -s || busy
  check
fi
ok
if timeout -k 1 5 true 2>/dev/null; then set -- timeout -k 10 "$limit" env "$@"; fi
as "$who" "$@" 9>&-
exit $?
"""
)
"""token, state dir, seconds to wait for the guard, number, state, run, seconds until it is stopped here, user or "",
then [NAME=value…] argv."""

READ_LOCK = r"""
d=${MAINSTAY_STATE_DIR:-/var/lib/mainstay}
for f in owner lock fence; do [ ! -r "$d/$f" ] || sed "s/^/$f /" "$d/$f"; done
"""

CHANGE_LOCK = (
    _COMMON.replace("tok=$1; shift", "tok=mainstay-lock")
    + _GUARD
    + r"""
d=${MAINSTAY_STATE_DIR:-/var/lib/mainstay}
action=$1 wait=$2 num=$3 state=$4 run=$5 site=$6; shift 6
mkdir -p "$d" && chmod 755 "$d" || no unwritable "$d"
guard -x
load owner; o_site=$f_site o_state=$f_state o_run=$f_run
high # adopt mends what is damaged, nothing else goes on with it
load lock
before() { ok; printf '%s\t%s\t%s\t%s\t%s\n' "$o_site" "$o_state" "$o_run" "$f_run" "$h"; exit 0; }
own() { printf 'site=%s\nstate=%s\nrun=%s\n' "$site" "$state" "$1" | save owner; }
case $action in
adopt)
  if [ "$o_state" = "$state" ] && [ "$num" -lt "$h" ]; then no old "$h" "$f_run"; fi
  rm -f "$d/lock"; echo "$num" | save fence; own "$run"
  before;;
esac
if [ -n "$o_state" ] && [ "$o_state" != "$state" ]; then
  if [ "$action" = release ]; then before; fi
  no owner "$o_site" "$o_state" "$o_run"
fi
case $action in
release)
  [ "$f_run" = "$run" ] || before
  [ "$num" -ge "$h" ] || no old "$h" "$f_run"
  # What its jobs printed has been read by now, and may hold anything; how they ended stays.
  for of in "$run" "$@"; do
    for one in "$d/jobs/$of-"*; do [ ! -e "$one/rc" ] || : >"$one/out"; done
  done
  own "$run"; rm -f "$d/lock"; sync "$d" 2>/dev/null || sync
  before;;
acquire)
  [ "$num" -ge "$h" ] || no old "$h" "$f_run"
  if [ -n "$f_run" ] && [ "$f_run" != "$run" ]; then
    gone=
    for one in "$@"; do [ "$one" != "$f_run" ] || gone=yes; done
    [ "$gone" ] || no lock "$f_run" "$f_since"
  fi
  [ "$num" = "$h" ] || echo "$num" | save fence
  [ "$o_state" ] && [ "$o_site" = "$site" ] || own "$o_run"
  printf 'run=%s\nfence=%s\nsince=%s\n' "$run" "$num" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" | save lock
  before;;
esac
"""
)
"""action, seconds to wait for the guard, number, state, run, site, then the runs known to have ended; with release, those
whose jobs' output goes too."""

PUT = r"""
trap '' PIPE
path=$1 mode=$2 size=$3
[ ! -d "$path" ] || { echo "it is a folder" >&2; exit 70; }
umask 022
dir=$(dirname -- "$path")
mkdir -p -- "$dir" || exit 70
umask 077
tmp=$dir/.mainstay.$$
trap 'rm -f -- "$tmp"' EXIT
cat >"$tmp" || exit 70
got=$(wc -c <"$tmp")
[ "$((got))" -eq "$size" ] || { rm -f -- "$tmp"; echo "only $((got)) of $size bytes came" >&2; exit 70; }
chmod "$mode" "$tmp" && { sync "$tmp" 2>/dev/null || sync; } && mv -f -- "$tmp" "$path" || exit 70
"""
"""path, mode (octal), size in bytes; the content on stdin."""

GET = r"""
[ -f "$1" ] || exit 66
exec cat -- "$1"
"""

LAUNCH = r"""
d=$1 name=$2 size=$3
j=$d/jobs/$name
umask 077
mkdir -p "$d/jobs" && chmod 700 "$d/jobs" || exit 70
exec 8>>"$d/jobs/.guard" || exit 70
flock -x 8 || exit 70
if [ -e "$j/started" ]; then cat >/dev/null; exit 0; fi
rm -rf "$j"; mkdir "$j" || exit 70
head -c "$size" >"$j/run" && cat >"$j/script" || exit 70
: >"$j/out"
: >"$j/alive"
old=$(ls -1t "$d/jobs" | tail -n +21)
for one in $old; do [ ! -e "$d/jobs/$one/rc" ] || rm -rf "$d/jobs/$one"; done
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; then
  printf 'systemd %s\n' "$boot" >"$j/started"
  sync "$j/run" "$j/script" "$j/started" "$j" 2>/dev/null || sync
  if ! systemd-run --quiet --collect --no-ask-password --unit="mainstay-$name" \
      --description="mainstay job $name" -p KillMode=process -p TasksMax=infinity -p OOMPolicy=continue \
      /bin/sh "$j/run" 8>&- 9>&- </dev/null; then
    systemctl -q is-active "mainstay-$name" || [ -e "$j/rc" ] || { rm -f "$j/started"; exit 70; }
  fi
else
  printf 'setsid %s\n' "$boot" >"$j/started"
  sync "$j/run" "$j/script" "$j/started" "$j" 2>/dev/null || sync
  setsid /bin/sh "$j/run" 8>&- 9>&- </dev/null >/dev/null 2>&1 &
  start=$(sed 's/.*) //' "/proc/$!/stat" 2>/dev/null | cut -d' ' -f20)
  printf '%s %s\n' "$!" "$start" >"$j/pid"
fi
exit 0
"""
"""state dir, name, bytes of the runner; on stdin the runner (see `runner`) and then the job's script."""

POLL = r"""
d=$1 name=$2 offset=$3 chunk=$4 cap=$5 patience=$6
j=$d/jobs/$name
# Its runner holds `alive` until the result is there: whoever gets it need not wait any longer.
held=
[ "$patience" = 0.0 ] || [ ! -e "$j/alive" ] || [ -e "$j/rc" ] || flock -s -w "$patience" -E 75 "$j/alive" true 2>/dev/null ||
  held=$?
alive() {
  read -r how boot <"$j/started" || return 1
  if [ "$how" = systemd ]; then
    case $(systemctl show -p ActiveState "mainstay-$name" 2>/dev/null) in
    *=active|*=activating|*=deactivating|*=reloading) return 0;; esac
    return 1
  fi
  [ "$boot" = "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)" ] || return 1
  read -r pid start <"$j/pid" || return 1
  stat=$(sed 's/.*) //' "/proc/$pid/stat" 2>/dev/null) || return 1
  case $stat in ''|Z*) return 1;; esac
  [ "$(echo "$stat" | cut -d' ' -f20)" = "$start" ]
}
[ ! -e "$d/jobs/.guard" ] || { exec 8<"$d/jobs/.guard"; flock -s 8; }
if [ ! -e "$j/started" ]; then printf 'absent - 0\n'; exit 0; fi
rc=- state=lost
if [ -e "$j/rc" ]; then state=exited; rc=$(cat "$j/rc")
elif [ "$held" = 75 ] || alive; then state=running
elif [ -e "$j/rc" ]; then state=exited; rc=$(cat "$j/rc"); fi
size=$(wc -c <"$j/out" 2>/dev/null)
size=$((size))
[ "$size" -le "$cap" ] || size=$cap
left=$((size - offset))
[ "$left" -le "$chunk" ] || left=$chunk
printf '%s %s %s\n' "$state" "$rc" "$size"
[ "$left" -le 0 ] || tail -c "+$((offset + 1))" "$j/out" | head -c "$left"
"""
"""state dir, name, offset, most bytes to send, bytes of the output that count at all, seconds to wait for its end → a line
`state exit size`, then the output from offset on."""

RUNNER = """#!/bin/sh
# Started once by mainstay; the result is in `rc`, whoever still listens.
cd /
j={dir}
# By this the kernel tells that it has ended, however it does; what it starts does not hold it.
[ ! -e "$j/alive" ] || exec 9>>"$j/alive"
flock -w 5 9
# What is beyond the cap is never read: its blocks are given back, so that a job that goes on and on does not fill the disk.
# The job itself does not notice. Where the file system can't do that, nothing happens.
(
  trap '' HUP
  while sleep {every} && kill -0 $$ 2>/dev/null && [ ! -e "$j/rc" ]; do
    size=$(wc -c <"$j/out")
    [ "$((size))" -le {cap} ] || fallocate -p -o {cap} -l "$((size - {cap}))" "$j/out" || exit 0
  done
) </dev/null >/dev/null 2>&1 9>&- &
watch=$!
{exports}
{start} </dev/null >>"$j/out" 2>&1 9>&-
rc=$?
kill "$watch" 2>/dev/null
umask 077
echo "$rc" >"$j/rc.new"
sync "$j/out" "$j/rc.new" 2>/dev/null || sync
mv -f "$j/rc.new" "$j/rc"
sync "$j" 2>/dev/null || sync
exit 0
"""
"""Text of `run`: dir, exports and start are shell text already (see jobs.runner); cap in bytes, every in seconds."""

POLL_CHUNK = 1 << 20
JOB_CAP = 64 << 20
"""Bytes of a job's output that are read, and kept on its host. All that apt prints in an upgrade of a release is under 5 MB."""
JOB_CAP_EVERY = 5
"""Seconds between two looks on the host at what a job has printed."""

# $1 port. The sshd that serves this login, by number and start (empty where /proc hides it); whether it listens everywhere.
FORWARD_LOOK = r"""
p=$$
while [ "$p" -gt 1 ] && read -r s <"/proc/$p/stat"; do
  name=${s#*(}; name=${name%)*}
  set -- "$1" ${s##*) }
  case $name in sshd*|dropbear*) printf 'forward server %s %s\n' "$p" "${21}"; break;; esac
  p=$3
done 2>/dev/null
hex=$(printf %04X "$1")
while read -r _ here _ state _; do
  [ "$here $state" != "00000000:$hex 0A" ] || echo forward everywhere
done </proc/net/tcp
"""

# $1 number and $2 start of such an sshd: ended, if it is still the same process.
FORWARD_END = r"""
read -r s <"/proc/$1/stat" 2>/dev/null || exit 0
pid=$1 start=$2
set -- ${s##*) }
[ "${20}" = "$start" ] && kill "$pid" && echo forward ended
"""

"""The POSIX sh of a backup's job: one item after the other, each by one restic, and between what they print the job's markers.

It needs what the job itself needs (see `runner.shell.scripts`), and timeout, nice, mkfifo, tee, runuser, grep; unshare and mount
for snapshots of filesystems.

A marker is a line `@mainstay TOKEN WORD …`; the token is in this text alone, which root alone can read. What varies comes quoted.

Secrets: three files in a folder of the memory, root's alone. The job opens them and removes them before anything else; restic
reads them by their open descriptors (5: S3 credentials, 7: password, 8: address), so that they are neither in a command line nor in
an environment, and are gone with the job however it ends. What a producer runs has these descriptors closed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from mainstay.recovery.backup.change import BackupChange, Item
from mainstay.runner.shell.quote import quote

SECRETS = ("password", "repository", "credentials")
"""Names of the files that secrets are handed over in; the last is there for S3 alone."""
UNLOCKING = 90
"""Seconds that a restic which was told to stop has for its own end: it tries for 60 s to remove its lock."""
UNREADY = 97
"""Exit status of a job that had no secrets: it has been begun already, or they were lost with the host."""

AT_WORK = r"""
at_work() { # file with the pid and the stat of a process: whether that very one still runs; its pid is in $pid then
  { read -r pid && read -r stat; } <"$1" 2>/dev/null || return 1
  now=$(cat "/proc/$pid/stat" 2>/dev/null) || return 1
  case ${now##*) } in [ZX]*) return 1;; esac
  set -- $(printf '%s\n%s\n' "${stat##*) }" "${now##*) }" | cut -d' ' -f20)
  [ "$#" = 2 ] && [ "$1" = "$2" ]
}
"""
STOP = (
    AT_WORK
    + r"""
cd -- "$1" 2>/dev/null || exit 0
umask 077
[ -e stop ] || : >stop || exit 70
# What was begun by `&` ignores SIGINT until it has set itself up to hear it (sh(1posix), 2.11): it would be lost until then.
deaf() { [ "$signal" = INT ] && grep -q '^SigIgn:.*[2367abef]$' "/proc/$pid/status"; } 2>/dev/null
for signal in INT TERM; do
  at_work "$signal" && ! deaf || continue
  grep -qx "$pid" stop || { echo "$pid" >>stop && kill -s "$signal" "$pid"; }
done
exit 0
"""
)
"""folder of the job's own, which goes with it: it begins nothing more, and what it has noted as to be stopped so is told to.
Once each: again is success. Before the job is so far that it could hear of it nothing happens, so it is asked for again until
the job has ended."""


class Pace(NamedTuple):
    """How much of the host it takes. ionice: none, best-effort, idle. upload: KiB per second; None: all there is."""

    nice: int
    ionice: str
    compression: str
    upload: int | None
    lock_wait: float
    region: str | None = None
    """Of an S3 repository."""


class Step(NamedTuple):
    """One item as the job takes it. text: shell that calls `files`, `stream` or a function of its own."""

    item: Item
    text: str
    limit: float
    """Seconds."""
    options: tuple[str, ...] = ()
    """restic's own, before what is to be read."""


def job_script(change: BackupChange, steps: Iterable[Step], pace: Pace, tags: tuple[str, ...], plan: str) -> str:
    """The whole text. tags: those of the plan, on every snapshot beside mainstay's own."""
    lines = [
        f"tok={quote([change.token])} d={quote([change.state_dir])} m={quote([change.memory])}",
        f"program={quote([change.program.path])}",
        f"export AWS_DEFAULT_REGION={quote([pace.region])}" if pace.region else "",
        _BEGIN,
        _back(change, pace),
        _SHARED,
    ]
    for number, step in enumerate(steps):
        own = (*step.item.tags(change.run, plan, change.maker), *tags)
        words = quote(["--tag", ",".join(own), *step.options])
        lines.append(
            f'\n# {step.item.kind}\nbegin {number} {step.limit:.0f}\ntags() {{ back {words} "$@"; }}\n{step.text}'
        )
    return "\n".join([*lines, _END])


def _back(change: BackupChange, pace: Pace) -> str:
    """`back ARGUMENTS…`: restic backup, slowed down, stopped when its time is over."""
    slow = ["nice", "-n", str(pace.nice)]
    word = {"best-effort": "ionice -c 2 -n 7", "idle": "ionice -c 3"}.get(pace.ionice, "")
    options = ["--json", "--retry-lock", f"{max(0, round(pace.lock_wait))}s"]
    options += ["--compression", pace.compression] if pace.compression != "auto" else []
    options += ["--limit-upload", str(pace.upload)] if pace.upload else []
    return f"""io=
command -v ionice >/dev/null 2>&1 && io={quote([word])}
back() {{
  set -- sh -c "$noted" "$w/pid" "$program" {quote(options)} $cache backup --host {quote([change.host])} "$@"
  [ ! -s "$w/mounts" ] || set -- unshare -m --propagation private sh "$w/inside" "$w/mounts" "$@"
  heed INT -k {UNLOCKING} "$limit" {quote(slow)} $io "$@"
}}"""


_BEGIN = r"""
umask 077
cd /
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL=C.UTF-8 RESTIC_PROGRESS_FPS=0.5
name=${0%/script}; name=${name##*/}
w=$d/taking/$name m=$m/mainstay/$name n=-
noted='{ echo "$$"; cat "/proc/$$/stat"; } >"$0"; exec "$@"'
say() { printf '\n@mainstay %s %s\n' "$tok" "$*"; }
tidy() { [ -z "${ready:-}" ] || clean "$w"; rm -rf "$m"; }
trap 'tidy' EXIT
trap 'exit 143' TERM INT
# What is open stays readable after it has been removed, for this job and what it starts alone.
[ -r "$m/password" ] && [ -r "$m/repository" ] || { say unready; exit 97; }
exec 7<"$m/password" 8<"$m/repository"
if [ -e "$m/credentials" ]; then
  exec 5<"$m/credentials"
  export AWS_SHARED_CREDENTIALS_FILE=/proc/self/fd/5
fi
rm -f "$m/password" "$m/repository" "$m/credentials"
export RESTIC_PASSWORD_FILE=/proc/self/fd/7 RESTIC_REPOSITORY_FILE=/proc/self/fd/8
"""

_SHARED = (
    AT_WORK
    + r"""
undo() { # folder of a job: takes back what it noted down before it made it, the last first
  [ -s "$1/made" ] || return 0
  sed '1!G;h;$!d' "$1/made" >"$1/made.back"
  while read -r kind what; do
    case $kind in
    btrfs) [ ! -e "$what" ] || btrfs subvolume delete "$what" >/dev/null; [ ! -e "$what" ] || say left "$what";;
    lvm) ! lvs "$what" >/dev/null 2>&1 || lvremove -q -f "$what" >/dev/null; ! lvs "$what" >/dev/null 2>&1 || say left "$what";;
    esac
  done <"$1/made.back"
}
clean() { [ ! -d "$1" ] || { undo "$1"; rm -rf "$1"; }; }
say job "$(uname -n)"
mkdir -p "$d/taking" "$d/cache" && chmod 700 "$d/taking" "$d/cache"
# Where the disk is full restic would fail for want of a cache, which only saves it time.
export RESTIC_CACHE_DIR="$d/cache"
cache= free=$(df -Pk "$d/cache" | sed -n '2s/ \{1,\}/ /gp' | cut -d' ' -f4)
[ "${free:-0}" -ge 65536 ] || { cache=--no-cache; say full "$d/cache"; }
for old in "$d/taking"/*/; do
  old=${old%/}
  [ -d "$old" ] && [ "$old" != "$w" ] || continue
  if at_work "$old/pid"; then say busy "${old##*/}" "$pid"; continue; fi
  pid=; [ ! -s "$old/pid" ] || read -r pid <"$old/pid"
  say dead "${old##*/}" "$pid"
  clean "$old"
  rm -rf "${m%/*}/${old##*/}"
done
mkdir -p "$w" && ready=yes || exit 70
cat >"$w/inside" <<'INSIDE'
# file of mounts, then what is to see them, and nobody else does
while IFS='	' read -r kind from to; do
  case $kind in bind) mount --bind "$from" "$to";; *) mount -o "$kind" "$from" "$to";; esac || exit 71
done <"$1"
shift
exec "$@"
INSIDE
cat >"$w/produce" <<'PRODUCE'
# memory folder, trailer or "", user or "", then the program and its arguments
exec 5<&- 7<&- 8<&-
m=$1 trailer=$2 user=$3; shift 3
make() {
  set -- env -i PATH="$PATH" LC_ALL=C.UTF-8 "HOME=$home" "USER=${user:-root}" "LOGNAME=${user:-root}" "$@"
  if [ -z "$user" ]; then "$@"; else runuser -u "$user" -- "$@"; fi
}
home=$(getent passwd "${user:-root}" | cut -d: -f6)
home=${home:-/}
rm -f "$m/fifo" "$m/tail" "$m/code" "$m/ended"
if [ -z "$trailer" ]; then
  make "$@"; code=$?
  echo "$code -" >"$m/ended"
  exit "$code"
fi
mkfifo "$m/fifo" || exit 70
tail -c 4096 <"$m/fifo" >"$m/tail" &
{ make "$@"; echo "$?" >"$m/code"; } | tee "$m/fifo"
wait
read -r code <"$m/code" || code=70
seen=no
! grep -aqF -e "$trailer" "$m/tail" || seen=yes
rm -f "$m/tail"
echo "$code $seen" >"$m/ended"
[ "$code" = 0 ] || exit "$code"
[ "$seen" = yes ] || exit 66
PRODUCE
halt() { say stopped "$1"; exit 143; } # the item that was broken off, or -: the run is cancelled
heed() { # signal that ends it in order, then as for timeout
  signal=$1; shift
  sh -c "$noted" "$w/$signal" timeout -s "$signal" "$@"
}
begin() { [ ! -e "$w/stop" ] || halt -; n=$1 limit=$2; rm -f "$m/ended"; say begin "$n" "$(date +%s)"; }
end() {
  code=$1
  [ ! -s "$m/ended" ] || say producer "$n" "$(cat "$m/ended")"
  [ ! -s "$w/pid" ] || { read -r pid <"$w/pid"; say pid "$n" "$pid"; rm -f "$w/pid"; }
  say end "$n" "$code" "$(date +%s)"
  # What was told to stop has not ended by itself, unless it had just done it all.
  case $code in 0|3) ;; *) [ ! -s "$w/stop" ] || halt "$n";; esac
}
below() { # a path: whether other filesystems are mounted below it
  cut -d' ' -f5 /proc/self/mountinfo | while read -r t; do
    t=$(printf '%b.' "$t"); t=${t%.}
    case $t in "${1%/}"/?*) echo yes; break;; esac
  done | grep -q yes
}
frozen() { # auto, btrfs or lvm; bytes; one file system: yes or no; paths
  want=$1 size=$2 alone=$3 count=0 seen=; shift 3
  for p in "$@"; do
    [ -e "$p" ] || continue
    why=; t=$(stat -c %m -- "$p"); type=$(stat -f -c %T -- "$p")
    dev=$(findmnt -n -v -o SOURCE --mountpoint "$t" | tail -n 1)
    if [ "$p" = / ]; then why="of / itself none can be read from; name its folders"
    elif [ "$alone" = no ] && below "$p"; then why="another filesystem is mounted below it"
    elif [ "$type" = btrfs ] && [ "$want" != lvm ]; then
      command -v btrfs >/dev/null 2>&1 || why="there is no btrfs program"
      [ "$(stat -c %i -- "$t")" = 256 ] || why="$t is no subvolume"
      [ "$alone" = yes ] || [ "$why" ] || [ -z "$(btrfs subvolume list -o "$t")" ] || why="$t has subvolumes below it"
    elif [ "$want" = btrfs ]; then why="it is on $type"
    elif ! command -v lvs >/dev/null 2>&1 || ! lvs "$dev" >/dev/null 2>&1; then why="it is on no logical volume"; fi
    if [ "$why" ]; then
      [ "$want" = auto ] && { say nosnap "$n" "$p: $why"; continue; }
      stop "no snapshot can be taken of $p: $why"; return 1
    fi
    count=$((count + 1)) from=$w/from.$count
    mkdir "$from"
    if [ "$type" = btrfs ] && [ "$want" != lvm ]; then
      from=$t/.mainstay-$name-$n.$count
      echo "btrfs $from" >>"$w/made"
      btrfs subvolume snapshot -r "$t" "$from" >/dev/null || { stop "the snapshot of $t failed"; return 1; }
    else
      lvm "$dev" "$from" || return 1
    fi
    printf 'bind\t%s\t%s\n' "$from${p#"${t%/}"}" "$p" >>"$w/mounts"
  done
}
lvm() { # device of a mounted volume, where its snapshot is to be mounted
  vg=$(lvs --noheadings -o vg_name "$1" | tr -d ' ') lv=$(lvs --noheadings -o lv_name "$1" | tr -d ' ')
  new=mainstay-$(printf '%s' "$name-$n.$count" | sha256sum | cut -c1-20)
  echo "lvm $vg/$new" >>"$w/made"
  case $(lvs --noheadings -o lv_attr "$1" | tr -d ' ') in
  V*) lvcreate -q -s -kn -n "$new" "$vg/$lv" >/dev/null;;
  *) lvcreate -q -s -L "${size}b" -n "$new" "$vg/$lv" >/dev/null;;
  esac || { stop "the snapshot of $vg/$lv failed"; return 1; }
  options=ro; [ "$type" != xfs ] || options=ro,nouuid
  printf '%s\t%s\t%s\n' "$options" "/dev/$vg/$new" "$2" >>"$w/mounts"
}
thaw() { # one that has filled up holds nothing that can be relied on
  [ -s "$w/made" ] || return 0
  while read -r kind what; do
    [ "$kind" = lvm ] || continue
    case $(lvs --noheadings -o lv_attr "$what" 2>/dev/null | tr -d ' ') in ????I*|'') say filled "$n" "$what";; esac
  done <"$w/made"
  undo "$w"; rm -f "$w/made" "$w/mounts"
}
stop() { say cannot "$n" "$(printf '%s' "$*" | tr '\n' ' ')"; end 70; }
files() { # paths
  any=
  for p in "$@"; do
    if [ -e "$p" ] || [ -L "$p" ]; then any=yes; else say missing "$n" "$p"; fi
    [ ! -L "$p" ] || say link "$n" "$p"
  done
  if [ "$any" ]; then read_from "$@"; else stop "nothing of it is there"; fi
}
read_from() { tags --exclude "$d/cache" --exclude "$d/taking" -- "$@"; code=$?; thaw; end "$code"; }
listed() { # user or "", then the program that prints paths
  heed TERM -k 10 "$limit" sh "$w/produce" "$m" "" "$@" >"$w/list" || { stop "its command ended with $?"; return; }
  rm -f "$m/ended"
  if bad=$(grep -v '^/' "$w/list" | head -n 1) && [ "$bad" ]; then stop "it printed what is no absolute path: $bad"; return; fi
  tags --files-from-verbatim "$w/list"
  end $?
}
sqlite() { # file, name in the snapshot
  command -v sqlite3 >/dev/null 2>&1 || { stop "there is no sqlite3"; return; }
  [ -f "$1" ] || { say missing "$n" "$1"; stop "nothing of it is there"; return; }
  copy=$w/copy; rm -f "$copy"
  heed TERM -k 10 "$limit" sqlite3 -batch -bail -cmd '.timeout 60000' "$1" ".backup main '$copy'" 5<&- 7<&- 8<&- ||
    { stop "sqlite3 ended with $?"; return; }
  whole=$(sqlite3 -batch -bail "$copy" 'PRAGMA integrity_check' 5<&- 7<&- 8<&- | head -n 20)
  [ "$whole" = ok ] || { rm -f "$copy"; stop "its own check finds: $whole"; return; }
  stream "$2" "" "" cat "$copy"
  rm -f "$copy"
}
stream() { # name in the snapshot, trailer or "", user or "", then the program and its arguments
  as=$1; shift
  tags --stdin-filename "$as" --stdin-from-command -- sh "$w/produce" "$m" "$@"
  end $?
}
"""
)

_END = r"""
say done
"""

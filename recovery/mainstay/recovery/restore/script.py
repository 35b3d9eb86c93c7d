"""The POSIX sh of a restore on a host: one detached job, and what is asked of the host before and after it.

Secrets come as a backup's do (see `backup.script`): three files in memory that the job opens and removes. A marker is a line
`@mainstay TOKEN WORD …`; what varies comes quoted.
"""

from __future__ import annotations

from collections.abc import Sequence
from posixpath import normpath
from typing import Protocol

from mainstay.recovery.backup.change import Program
from mainstay.recovery.backup.way import Comes
from mainstay.recovery.restic.environment import pattern
from mainstay.recovery.restic.replies import Node
from mainstay.recovery.restore.change import RestoreChange
from mainstay.recovery.restore.order import Piece
from mainstay.runner.shell.quote import quote


class Reads(Comes, Protocol):
    """A change whose job reads a repository."""

    @property
    def program(self) -> Program: ...

    @property
    def state_dir(self) -> str: ...

    @property
    def token(self) -> str:
        """Random. Only what the job itself prints has it."""

    @property
    def region(self) -> str:
        """Of an S3 storage that the host reaches by itself; empty where none is said."""

    @property
    def download(self) -> int:
        """KiB per second, at the most; 0: no limit."""


_BEGIN = r"""
umask 077
cd /
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL=C.UTF-8 RESTIC_PROGRESS_FPS=0.5
name=${0%/script}; name=${name##*/}
m=$m/mainstay/$name
say() { printf '\n@mainstay %s %s\n' "$tok" "$*"; }
trap '' HUP PIPE
trap 'rm -rf "$m"' EXIT
trap 'exit 143' TERM INT
# What is open stays readable after it has been removed, for this job and what it starts alone.
{ exec 7<"$m/password" 8<"$m/repository"; } 2>/dev/null || { say unready; exit 97; }
if [ -e "$m/credentials" ]; then
  exec 5<"$m/credentials"
  export AWS_SHARED_CREDENTIALS_FILE=/proc/self/fd/5
fi
rm -f "$m/password" "$m/repository" "$m/credentials"
export RESTIC_PASSWORD_FILE=/proc/self/fd/7 RESTIC_REPOSITORY_FILE=/proc/self/fd/8
mkdir -p "$d/cache" && chmod 700 "$d/cache"
noted='{ echo "$$"; cat "/proc/$$/stat"; } >"$0"; exec "$@"'
heed() { sh -c "$noted" "$m/INT" "$@"; } # what ends in order where the job is told to stop
halt() { say stopped; exit 143; }
limit() { :; } # what stands before restic, where it has to end in time
back() {
  [ ! -e "$m/stop" ] || return 130
  # 9: of a drill's place, which is to go when this shell does, whatever it has begun.
  heed $(limit) nice -n 5 "$program" --json --cache-dir "$d/cache" --retry-lock 5m $pace restore "$@" 9>&-
}
"""
_AGAIN = r"""
rm -f "$m/code" "$m/same"
# Read again, by a restic that writes nothing: told of is what is not as it should be, and counted what is.
{{ back --dry-run --verbose=2 {words}; echo $? >"$m/code"; }} | awk -v same=0 -v f="$m/same" '
  index($0, "\"action\":\"unchanged\"") {{ same++; next }}
  index($0, "\"message_type\":\"status\"") {{ next }}
  {{ print }}
  END {{ print same > f }}'
read -r code <"$m/code" || code=70
read -r same <"$m/same" || same=0
say compared {number} "$code" "$same" "$(date +%s)"
"""
PIECE = f"""
say begin {{number}} "$(date +%s)"
back {{words}}
say restored {{number}} $?
{_AGAIN}
"""
"""One point: restored, and compared by a restic that writes nothing. words: of restic's restore, quoted."""
_VERIFIED = f"""
say begin {{number}} "$(date +%s)"
back --verify {{words}}
code=$?
say restored {{number}} "$code"
if [ "$code" = 0 ]; then say verified {{number}} "$(date +%s)"; else
{_AGAIN}
fi
"""
"""The same, where the restic that restores reads all of it again itself; by another one where that one did not end well, which
tells what is wrong."""
_GOES_ON = '[ ! -e "$m/stop" ] || halt'


def head(change: Reads) -> list[str]:
    return [
        f"tok={quote([change.token])} d={quote([change.state_dir])} m={quote([change.memory])}",
        f"program={quote([change.program.path])}",
        f"export AWS_DEFAULT_REGION={quote([change.region])}" if change.region else "",
        f"pace='--limit-download {change.download:d}'" if change.download else "pace=",
        _BEGIN,
    ]


def job_script(change: RestoreChange, pieces: Sequence[Piece]) -> str:
    lines = [
        *head(change),
        # A folder that is made here is root's alone until it is known what comes into it.
        f"to={quote([normpath(change.to)])}; mkdir -p -m 700 -- {quote([change.to])} || exit 70",
        # Looked at before this job was there: who owns a folder above it could have sent it elsewhere since.
        '[ "$(cd -P -- "$to" && pwd -P)" = "$to" ] || { echo "$to leads elsewhere now" >&2; exit 71; }',
    ]
    for number, piece in enumerate(pieces):
        words = [piece.point.id, "--target", change.to, "--overwrite", "always"]
        words += [word for path in piece.paths for word in ("--include", pattern(path))]
        lines += [_GOES_ON, _VERIFIED.format(number=number, words=quote(words)), f'[ "$code" = 0 ] || {_GOES_ON}']
    return "\n".join([*lines, "say done"])


_DATABASE = r"""
as() {{ # account, then the program and its arguments
  who=$1; shift
  home=$(getent passwd "$who" | cut -d: -f6)
  set -- runuser -u "$who" -- env -i PATH="$PATH" LC_ALL=C.UTF-8 "HOME=${{home:-/}}" "$@"
  sh -c "$noted" "$m/${{heeds:-none}}" "$@" 5<&- 7<&- 8<&-
}}
again() {{ # who has just read the dump may not have let go of the database yet
  "$@" || {{ sleep 2; "$@"; }}
}}
# Only what this job itself has made is dropped.
moved= made=
undo() {{
  stays=
  [ -z "$made" ] || again as {user} {drop} || {{ stays=yes; say stays; }}
  [ -z "$moved" ] || {{ [ -z "$stays" ] && as {user} {move_back}; }} || say aside
}}
[ ! -e "$m/stop" ] || halt
{move}as {user} {make} || {{ undo; exit 70; }}
made=yes
mkfifo "$m/count" || exit 70
wc -c <"$m/count" >"$m/bytes" &
{{ heed nice -n 5 "$program" --cache-dir "$d/cache" --retry-lock 5m $pace dump {words}; echo $? >"$m/dumped"; }} |
  tee "$m/count" | {{ heeds=TERM; as {reader} {read}; echo $? >"$m/taken"; }}
wait
read -r dumped <"$m/dumped" || dumped=70
read -r taken <"$m/taken" || taken=70
read -r bytes <"$m/bytes" || bytes=0
[ "$dumped$taken$bytes" = "00{size}" ] || {{ undo; [ ! -e "$m/stop" ] || halt; }}
say database "$dumped" "$taken" "$bytes"
"""


def database_script(
    change: RestoreChange,
    snapshot: str,
    dump: Node,
    user: str,
    *,
    reader: str = "",
    make: Sequence[str],
    read: Sequence[str],
    drop: Sequence[str],
    move: Sequence[str] = (),
    move_back: Sequence[str] = (),
) -> str:
    """argv of the server's user; of the reader, where there is one: read. make: the new database; read: the dump from a pipe,
    into it; drop: takes it away again. move:
    gives the one that is there another name; move_back: its own again."""
    text = _DATABASE.format(
        user=quote([user]),
        reader=quote([reader or user]),
        make=quote(make),
        read=quote(read),
        drop=quote(drop),
        move=f"as {quote([user, *move])} || exit 70\nmoved=yes\n" if move else "",
        move_back=quote(move_back or ["true"]),
        words=quote([snapshot, dump.path]),
        size=dump.size,
    )
    return "\n".join([*head(change), text, "say done"])


LOOK_AT = r"""
path=$1 here=/ rest=${1#/} links=0
no() { printf 'refused %s\n' "$*"; exit 0; }
while [ -n "$rest" ]; do
  part=${rest%%/*}
  case $rest in */*) rest=${rest#*/};; *) rest=;; esac
  case $part in ''|.) continue;; ..) here=${here%/*}; here=${here:-/}; continue;; esac
  there=${here%/}/$part
  if [ -L "$there" ]; then
    links=$((links + 1)); [ "$links" -le 40 ] || no "$path goes through symlinks in a circle"
    owner=$(stat -c %u -- "$there") above=$(stat -c %u -- "$here") mode=$(stat -c %a -- "$here")
    open=; case $mode in *[2367]?|*[2367]) open=yes;; esac
    case $mode in [1357]???) open=;; esac
    { [ "$owner" = 0 ] && [ "$above" = 0 ] && [ -z "$open" ]; } || no "$there is a symlink that somebody else may change"
    to=$(readlink -- "$there")
    case $to in /*) here=/;; esac
    rest=$to${rest:+/$rest}
    continue
  fi
  if [ ! -e "$there" ]; then
    [ -x "$here" ] || { printf 'unseen %s\n' "$here"; }
    real=$there${rest:+/$rest}
    break
  fi
  here=$there
done
if [ -n "$real" ]; then printf 'real %s\nthere no\nempty yes\n' "$real"
else
  [ -d "$here" ] || no "$path is no folder"
  printf 'real %s\nthere yes\n' "$here"
  if one=$(ls -A -- "$here" 2>/dev/null); then [ -n "$one" ] && echo 'empty no' || echo 'empty yes'
  else echo 'empty unknown'; fi
fi
printf 'free %s\n' "$(df -Pk -- "$here" | tail -n 1 | awk '{print $4}')"
"""
"""absolute folder → lines: refused WHY; or real PATH, there yes|no, empty yes|no|unknown, free KIBIBYTES, unseen FOLDER."""

STAT = "export LC_ALL=C; xargs -0 -r stat --printf '%f %s %Y %h %d:%i %n\\0' --; true"
"""NUL-separated paths on stdin → for each that is there: mode in hex, size, time of change in seconds, names, inode,
path, NUL. On stderr why another one could not be asked for."""

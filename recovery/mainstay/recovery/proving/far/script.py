"""The POSIX sh of a drill on a host: one detached job. Secrets and markers are as a restore's (`restore.script`)."""

from __future__ import annotations

import json

from mainstay.recovery.backup.script import UNLOCKING
from mainstay.recovery.proving.attempt import RESERVE
from mainstay.recovery.proving.far.change import DrillChange, Take
from mainstay.recovery.proving.trying import GLOBALS
from mainstay.recovery.restic.environment import patterns
from mainstay.recovery.restore.script import PIECE, head
from mainstay.runner.shell.quote import quote

FILES = "files"
"""Of a scratch place: where the point is restored to."""
NAMES = "names"
"""Beside it: what is restored."""
ANSWER = 1 << 20
"""Bytes of what the tool says that are taken."""

_BEGIN = r"""
end=$(($(date +%s) + {seconds}))
left() {{ echo $((end - $(date +%s))); }}
limit() {{
  n=$(left); [ "$n" -gt 0 ] || n=1
  echo "timeout -s INT -k {unlocking} $n"
}}
tool={tool} root={root}
held= off= places={places}
# A place is held by a program that waits for this job's end, however that comes: then the place goes.
mkfifo "$m/hold" "$m/held" || exit 70
hold() {{ # number of the point → word: held; or ended, and the code that it ended with
  {{
    python3 -I "$tool" hold "$root" "$places-$1" -- sh -c 'echo held 0 >"$0"; exec cat' "$m/held" 5<&- 7<&- 8<&-
    echo ended $? >"$m/held"
  }} <"$m/hold" &
  exec 9>"$m/hold"
  read -r word code <"$m/held"
}}
take() {{ # number of the point, bytes → its place is held, and there is room
  [ ! -e "$m/stop" ] || {{ off=yes; return 1; }}
  [ "$(left)" -gt 0 ] || {{ say late "$1"; return 1; }}
  hold "$1"
  if [ "$word" != held ]; then exec 9>&-; say unheld "$1" "$code"; return 1; fi
  held=$1
  cd "$root/$places-$1" || return 1
  free=$(df -Pk . | tail -n 1 | awk '{{print $4}}')
  [ "$((free - {reserve}))" -lt "$2" ] || return 0
  say room "$1" "$free"
  return 1
}}
watching() {{ # bytes → what restores is told to end where it writes more
  python3 -I "$tool" watch "$PWD" "$1" "$m/INT" >"$m/watched" 2>&1 5<&- 7<&- 8<&- 9>&- &
  watcher=$!
}}
watched() {{ # number of the point
  # Told until it hears: a shell that is just about to start it loses what it is told.
  {{
    cd / && n=0 how=TERM
    while kill -s $how "$watcher"; do sleep 1; n=$((n + 1)); [ $n -lt 30 ] || how=KILL; done
  }} >/dev/null 2>&1 5<&- 7<&- 8<&- 9>&- &
  wait "$watcher" 2>/dev/null
  set -- "$1" $?
  kill $! 2>/dev/null
  say watched "$1" "$2" "$(head -c 4000 "$m/watched" | base64 -w 0)"
}}
over() {{
  [ -n "$held" ] || return 0
  cd /
  exec 9>&-
  read -r word code <"$m/held"
  say gone "$held" "$code" "$(date +%s)"
  held=
}}
trap 'over; rm -rf "$m"' EXIT
cd /
swept=$(python3 -I "$tool" sweep "$root" 9>&-) || say unswept $?
say swept "$(printf '%s' "$swept" | head -c {answer} | base64 -w 0)"
"""
_LINKS = r"""
say links {number} "$(find {to} -xdev -type f -links +1 -printf '%D:%i %P\0' | head -c 4000000 | base64 -w 0)"
"""
_PROVE = r"""
if [ "$code" = 0 ] && [ "$same" -eq 1 ]; then
  printf '%s, "seconds": %s, "roles": %s}}' {order} "$(left)" "$roles" >"$m/order"
  # It ends in time by itself.
  heed timeout -s INT -k 60 "$(($(left) + 300))" python3 -I "$tool" prove "$m/order" >"$m/answer" 5<&- 7<&- 8<&- 9>&-
  say proved {number} $? "$(head -c {answer} "$m/answer" | base64 -w 0)"
  {keep}
fi
"""
_KEEP = (
    'roles=$(python3 -I -c \'import json, sys; print(json.dumps(json.load(sys.stdin)["roles"]))\' <"$m/answer")'
    " || roles='[]'"
)


def job_script(change: DrillChange) -> str:
    begin = _BEGIN.format(
        seconds=max(0, int(change.seconds)),
        tool=quote([change.tool.path]),
        root=quote([change.root]),
        places=quote([change.places]),
        reserve=RESERVE // 1024,
        answer=ANSWER,
        unlocking=UNLOCKING,
    )
    lines, source = [*head(change), begin], ""
    for number, take in enumerate(change.takes):
        if source != (source := take.unit.partition("/")[0]):
            lines.append("roles='[]'")
        if take.files:
            lines.append(_take(change, take, number))
    return "\n".join([*lines, '[ -z "$off" ] && [ ! -s "$m/stop" ] || say halted', "say done"])


def _take(change: DrillChange, take: Take, number: int) -> str:
    folder = f"{change.root}/{change.places}-{number}"
    to = f"{folder}/{FILES}"
    words = [take.point, "--target", to, "--overwrite", "always"]
    names = patterns(node.path for node in take.files)
    words += ["--include-file", f"{folder}/{NAMES}"]
    # Written by the shell itself, which has no limit there.
    text = f"printf '%s\\n' {quote(names)} >{NAMES}\n"
    text += f"watching {take.bytes}\n{PIECE.format(number=number, words=quote(words))}watched {number}\n"
    text += _LINKS.format(number=number, to=quote([to]))
    if take.order:
        (node,) = take.files
        order = json.dumps({**take.order, "file": f"{to}{node.path}", "size": node.size, "place": folder})
        keep = _KEEP if take.order.get("item") == GLOBALS else ":"
        text += _PROVE.format(order=quote([order[:-1]]), number=number, answer=ANSWER, keep=keep)
    text += '\n[ "$code" = 0 ] || [ ! -e "$m/stop" ] || off=yes'
    return f"if take {number} $((({take.bytes} + 1023) / 1024)); then\n{text}\nfi\nover"

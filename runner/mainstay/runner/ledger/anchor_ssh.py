"""An anchor in a file on another machine, over SSH: one line per seal, appended and never rewritten.

The login needs to be able to append to that one file, and nothing else: no root's rights, no fence, no lock of a run.
With `chattr +a` on it (https://man7.org/linux/man-pages/man1/chattr.1.html) not even its owner can take a line back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host
from mainstay.runner.ledger.anchors import AnchorUnusable, lost, unknown_to
from mainstay.runner.ledger.chain import Seal
from mainstay.runner.ledger.seals import line_of, read_lines
from mainstay.runner.shell.contract import Command, Output, Shell, Shells
from mainstay.runner.shell.printable import printable

DEADLINE = 30.0
"""Seconds for one command there; connecting has the host's own deadline."""
FOLDER = "/var/lib/mainstay-anchor"
_TAIL = 64 * 1024
"""Bytes from the file's end that are looked at for what is there already: some five hundred lines."""
_GONE = 66

MAKE = r"""
path=$1
umask 077
[ ! -e "$path" ] && [ ! -L "$path" ] || exit 0
mkdir -p -- "$(dirname -- "$path")" && : >>"$path" && { sync "$path" "$(dirname -- "$path")" 2>/dev/null || sync; }
"""
"""path."""

TAIL = r"""
path=$1 bytes=$2
if ! said=$(LC_ALL=C ls -d -- "$path" 2>&1); then
  # Only what is certainly not there has seen nothing; one that must not be looked for is unknown.
  case $said in *"No such file"*) exit 0;; esac
  printf '%s\n' "$said" >&2; exit 70
fi
[ -f "$path" ] && [ ! -L "$path" ] || exit 66
exec tail -c "$bytes" -- "$path"
"""
"""path, bytes from the end (or +1: everything)."""

APPEND = r"""
trap '' PIPE
path=$1 size=$2
[ -f "$path" ] && [ ! -L "$path" ] || exit 66
new=$(cat; echo .) && new=${new%.}
[ "${#new}" -eq "$size" ] || { echo "only ${#new} of $size bytes came" >&2; exit 70; }
command -v flock >/dev/null 2>&1 || { echo "flock is missing there" >&2; exit 69; }
exec 9>>"$path" || exit 70
flock 9 || exit 70
# A line that was cut off is closed, not continued.
if [ -s "$path" ] && [ -n "$(tail -c 1 -- "$path")" ]; then printf '\n' >&9 || exit 70; fi
printf '%s' "$new" >&9 || exit 70
sync "$path" 2>/dev/null || sync
"""
"""path, size in bytes; the lines on stdin."""


class SshAnchor:
    """Implements RemoteAnchor. shells: made when first needed, and closed with the anchor."""

    def __init__(self, shells: Callable[[], Shells], host: Host, path: str) -> None:
        self.name = f"ssh {host.name}:{path}"
        self._make = shells
        self._host = host
        self._path = path
        self._shells: Shells | None = None
        self._shell: Shell | None = None
        self._lock = threading.Lock()

    def make(self) -> None:
        self._run(MAKE, self._path)

    def append(self, seals: Sequence[Seal]) -> None:
        new = unknown_to(self.name, seals, read_lines(self._run(TAIL, self._path, str(_TAIL)).stdout))
        lines = b"".join(line_of(seal) for seal in new)
        if lines:
            self._run(APPEND, self._path, str(len(lines)), stdin=lines)

    def last(self, near: int = 0) -> Seal | None:
        there = read_lines(self._run(TAIL, self._path, str(_TAIL)).stdout) or self.seals()
        return max(there, key=lambda seal: seal.seq, default=None)

    def seals(self) -> list[Seal]:
        return read_lines(self._run(TAIL, self._path, "+1").stdout)

    def close(self) -> None:
        # Not waited for: a thread that still hangs in it ends with its own deadline.
        if self._lock.acquire(timeout=1):
            try:
                if self._shell is not None:
                    self._shell.close()
                if self._shells is not None:
                    self._shells.close()
                self._shell = self._shells = None
            finally:
                self._lock.release()

    def _run(self, script: str, *words: str, stdin: bytes = b"") -> Output:
        command = Command(("sh", "-c", script, "mainstay", *words), stdin=stdin, deadline=DEADLINE)
        with self._lock:
            try:
                if self._shells is None or self._shell is None:
                    self._shells = self._make()
                    self._shell = self._shells.open(self._host)
                output = self._shell.run(command)
            except MainstayError as error:
                raise AnchorUnusable(f"anchor {self.name}: {error.message}", hint=error.hint) from error
        if output.status == _GONE:
            raise lost(self.name)
        if output.status != 0:
            said = printable(output.stderr) or f"status {output.status}"
            hint = "The login needs to be able to make and to append to that file; it is not done as root."
            raise AnchorUnusable(f"anchor {self.name}: {said}", hint=hint)
        return output

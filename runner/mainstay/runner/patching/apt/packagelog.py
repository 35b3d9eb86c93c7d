"""dpkg's own log: what changed on a host, whoever did it."""

from __future__ import annotations

from mainstay.runner.patching.apt import parse
from mainstay.runner.patching.apt.sections import new_mark, script, sections
from mainstay.runner.patching.contract import LogEntry
from mainstay.runner.shell.contract import Command, Shell


def log_mark(shell: Shell) -> str:
    """Where the log ends now: `inode size`. Reads only."""
    return _ask(shell, "log_mark")["mark"].strip()


def package_log_since(shell: Shell, mark: str) -> list[LogEntry]:
    """What the log has gained since `mark`, also when it was rotated once in between. Reads only."""
    inode, _, size = mark.partition(" ")
    if not (inode.isdigit() and size.isdigit()):
        return []
    return parse.log_entries(_ask(shell, "log_since", inode, size)["log"])


def _ask(shell: Shell, name: str, *args: str) -> dict[str, str]:
    mark = new_mark()
    return sections(shell.run(Command(("sh", "-c", script(name), "mainstay", mark, *args))), mark)

"""Checks on the host: a service that stays up, a command that says yes."""

from __future__ import annotations

from mainstay.inventory.host import Host
from mainstay.inventory.redaction import redact
from mainstay.runner.health import grammar
from mainstay.runner.health.contract import Look
from mainstay.runner.plan import Check
from mainstay.runner.shell.contract import (
    Command,
    ContactLost,
    DeadlineExceeded,
    HostKeyRefused,
    Output,
    Shell,
    ShellError,
    SudoRefused,
)

UNPRIVILEGED = "nobody"
"""Who runs a check that names nobody else."""

_PROPERTIES = "Id,LoadState,ActiveState,SubState,Type,Result,NRestarts,InvocationID,ActiveEnterTimestampMonotonic"
_SAID = 300


def service(check: Check, host: Host, shell: Shell) -> Look:
    """systemctl is-active says yes to a unit that is up for a moment between two crashes; so its identity is told too."""
    unit = grammar.service(check.service or "")
    argv = ("systemctl", "show", "--no-pager", "-p", _PROPERTIES, "--", unit)
    output = _ask(Command(argv=argv, env={"LC_ALL": "C"}, deadline=check.timeout, limit=65536), shell)
    if isinstance(output, Look):
        return output
    if output.status == 127:
        return Look(ok=False, detail="there is no systemd on this host; use a command, tcp or http check")
    told = dict(line.split("=", 1) for line in output.text.splitlines() if "=" in line)
    if output.status != 0 or "ActiveState" not in told:
        return Look(ok=False, detail=f"systemd did not answer: {_said(output)}")
    return _state(unit, told)


def _state(unit: str, told: dict[str, str]) -> Look:
    if told.get("LoadState") != "loaded":
        why = {"not-found": "there is no such unit", "masked": "it is masked"}
        state = told.get("LoadState", "unknown")
        return Look(ok=False, detail=f"{unit}: {why.get(state, state)}")
    active, sub = told["ActiveState"], told.get("SubState", "")
    restarts = told.get("NRestarts", "0")
    crashed = sub == "auto-restart" or active == "failed" or restarts not in ("0", "")
    identity = " ".join(told.get(key, "") for key in ("InvocationID", "ActiveEnterTimestampMonotonic", "NRestarts"))
    detail = f"{active} ({sub})"
    if active == "failed" and told.get("Result", "success") != "success":
        detail += f", {told['Result']}"
    if restarts not in ("0", ""):
        detail += f", restarted {restarts} times by itself"
    return Look(ok=active in ("active", "reloading"), detail=detail, identity=identity, crashed=crashed)


def command(check: Check, host: Host, shell: Shell) -> Look:
    """Status 0 is well. Runs as `user`, and as nobody where none is named."""
    user = check.user or UNPRIVILEGED
    argv = check.command or ()
    if user == host.ssh.user:
        asked = Command(argv=argv, deadline=check.timeout, limit=65536)
    elif user == "root":
        asked = Command(argv=argv, sudo=True, deadline=check.timeout, limit=65536)
    else:
        asked = Command(argv=argv, user=user, deadline=check.timeout, limit=65536)
    output = _ask(asked, shell)
    if isinstance(output, Look):
        return output
    if output.status == 0:
        return Look(ok=True, detail="status 0")
    if output.status == 127:
        return Look(ok=False, detail=f"{argv[0]}: not found on this host")
    if output.status == 126:
        return Look(ok=False, detail=f"{argv[0]}: {user} may not run it")
    return Look(ok=False, detail=f"status {output.status}: {_said(output)}".rstrip(": "))


def _ask(command: Command, shell: Shell) -> Output | Look:
    try:
        return shell.run(command)
    except HostKeyRefused:
        raise
    except SudoRefused as error:
        who = command.user or "root"
        return Look(ok=False, detail=f"the login may not become {who}: {error.plain}")
    except DeadlineExceeded:
        return Look(ok=False, detail=f"no answer within {command.deadline:g} s")
    except ContactLost as error:
        return Look(ok=False, detail=f"contact lost: {error.plain}")
    except ShellError as error:
        return Look(ok=False, detail=error.plain)


def _said(output: Output) -> str:
    """The last line that it printed, errors first."""
    for text in (redact(output.error_text), redact(output.text)):
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if lines:
            return lines[-1][:_SAID]
    return ""

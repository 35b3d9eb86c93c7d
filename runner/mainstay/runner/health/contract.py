"""What a health check tells."""

from __future__ import annotations

from typing import Protocol

from mainstay.inventory.host import Host
from mainstay.inventory.value import Value
from mainstay.runner.plan import Check
from mainstay.runner.shell.contract import Shell


class CheckResult(Value):
    """How one check came out. `detail` may quote the host: clean it before a person sees it."""

    name: str
    ok: bool
    detail: str = ""
    seconds: float = 0.0
    """How long the look took; after `until_well`: until it was well, or given up."""


class Look(Value):
    """One look at one check. `identity`: changes when the thing that is well is another one than before (a service that was
    started anew); `crashed`: it is seen to have fallen over since it was started on purpose."""

    ok: bool
    detail: str = ""
    identity: str = ""
    crashed: bool = False


class Looker(Protocol):
    """Looks once, within the check's timeout. What goes wrong on the way is a look that is not ok, never an exception,
    except HostKeyRefused: that host is not the one that was meant."""

    def __call__(self, check: Check, host: Host, shell: Shell) -> Look: ...

"""DrillChange: what one run restores and proves on one host, settled before it begins. Frozen, plain JSON."""

from __future__ import annotations

from hashlib import sha256

from pydantic import Field

from mainstay.inventory.value import Json, Value
from mainstay.recovery.backup.change import Program
from mainstay.recovery.restic.replies import Node
from mainstay.runner.verdict import Verdict


class Take(Value):
    """One point."""

    point: str
    """Its id."""
    unit: str
    files: tuple[Node, ...] = ()
    """What of it is restored."""
    bytes: int = 0
    scope: str = ""
    left_out: tuple[str, ...] = ()
    order: Json = {}
    """Of a dump: for the tool, without what only the job knows."""
    verdict: Verdict | None = None
    """Where nothing has to be restored to know it, or nothing can be."""
    reason: str = ""


class DrillChange(Value):
    version: int = 1
    run: str
    host: str
    """Which restores."""
    of: str
    """Whose points they are."""
    program: Program
    tool: Program
    """What holds scratch places and proves dumps; python3 runs it."""
    state_dir: str
    hostname: str = ""
    """What the machine calls itself: restic's locks say that."""
    memory: str
    token: str = Field(min_length=16)
    """Random. Only what the job itself prints has it."""
    port: int = 0
    """On the host's loopback, for the way through the controller; 0 where the host reaches the repository by itself."""
    region: str = ""
    """Of an S3 storage that the host reaches by itself."""
    download: int = 0
    """KiB per second, at the most; 0: no limit."""
    seconds: float
    """That the job has for all of it."""
    takes: tuple[Take, ...]

    @property
    def root(self) -> str:
        """Of the scratch places."""
        return f"{self.state_dir}/scratch"

    @property
    def places(self) -> str:
        """What the names of its scratch places begin with."""
        return f"{self.run}-{sha256(self.token.encode()).hexdigest()[:12]}"

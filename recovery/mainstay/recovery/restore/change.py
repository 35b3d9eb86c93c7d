"""RestoreChange: what one run brings back to one host, settled before it begins. Frozen, plain JSON."""

from __future__ import annotations

from pydantic import Field

from mainstay.inventory.value import Value
from mainstay.recovery.backup.change import Program


class RestoreChange(Value):
    version: int = 1
    run: str
    host: str
    to: str = ""
    """The folder as it really is, without symlinks; of a database, whether one of its name is `there` or it is `new`."""
    program: Program
    state_dir: str
    memory: str
    token: str = Field(min_length=16)
    """Random. Only what the job itself prints has it."""
    port: int = 0
    """On the host's loopback, for the way through the controller; 0 where the host reaches the repository by itself."""
    region: str = ""
    """Of an S3 storage that the host reaches by itself."""
    download: int = 0
    """KiB per second, at the most; 0: no limit."""
    count: int = 1
    """Files."""

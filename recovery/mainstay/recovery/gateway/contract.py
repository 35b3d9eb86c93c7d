"""Serves one repository as a REST server of restic's kind, to which can be added and from which nothing can be removed."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.secrets import Secret
from mainstay.recovery.repository import Access


class Served(NamedTuple):
    """Where it is, on the controller; what `Shell.forward` takes as `local`. Its address for restic: rest:http://…:PORT/"""

    host: str
    port: int


class Gateway(Protocol):
    def version(self) -> str:
        """Of the program behind it. Raises GatewayError, which says what to install."""

    def serve(self, access: Access, user: str, password: Secret) -> AbstractContextManager[Served]:
        """Serve this one repository (path, sftp, s3) on loopback for as long as it is open, to this user alone.

        When it is yielded it answers, and its storage has answered it. What is in the repository can be read; added to, but
        not written over; and not removed, but for restic's locks. Ended with everything it started when it is closed, and
        when this process dies. Whether a repository is there is not looked at, and none is made.
        Raises GatewayError: the storage can't be reached, the kind of repository can't be served, the program is missing.
        """


class GatewayError(MainstayError):
    """The way to a repository could not be opened. The text holds no secret."""

    kind = "gateway"

"""Repositories: where backups are kept, and what each side needs to reach them. As declared in a site's recovery/*.yml.

`{host}` in an address or a reference stands for the host's name: one repository and one password per host. Secrets are
references; `Access` alone holds them resolved.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from mainstay.inventory.amounts import Duration
from mainstay.inventory.names import shown
from mainstay.inventory.secrets import Secret, check_reference
from mainstay.inventory.value import Value

Purpose = Literal["write", "maintain"]
"""write: adds, never removes; what a host may hold. maintain: forget, prune, check; the controller's alone."""
Kind = Literal["path", "sftp", "rest", "s3"]
HOST = "{host}"

_HOSTS_NAME = "host"
"""Stands for `{host}` where a text is held against its grammar."""


def _only_host(text: str) -> str:
    if found := re.search(r"\{[^{}]*\}", text.replace(HOST, "")):
        raise ValueError(f"{shown(found[0])} stands for nothing; write {HOST} for the host's name")
    return text


def _reference(text: str) -> str:
    check_reference(_only_host(text).replace(HOST, _HOSTS_NAME))
    return text


Reference = Annotated[str, AfterValidator(_reference)]
"""Where a secret is to be found, never the secret; `{host}` may stand in it."""


def _address(text: str) -> str:
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text) or not text.strip():
        raise ValueError("is no address of a repository")
    if re.search(r"://[^/]*:[^/]*@", text):
        raise ValueError("holds a password; write it as a reference under write: and maintain:")
    if ".." in _only_host(text).split("/"):
        raise ValueError(f"{shown(text)} holds a ..; write the folder itself")
    if text.startswith("/") and text.strip("/"):
        return text
    if text.startswith("sftp:") and re.match(r"sftp:(//)?([\w.-]+@)?[\w.\[\]:-]+[:/].+", text):
        return text
    if text.startswith("rest:") and re.match(r"rest:https?://[^/\s]+(/|$)", text):
        return text
    if text.startswith("s3:") and re.match(r"s3:https?://[^/\s]+/[^/\s]+", text):
        return text
    raise ValueError(
        f"{shown(text)} is none of /folder, sftp:user@host:/folder, rest:https://host/folder/, s3:https://host/bucket/folder"
    )


class Credentials(Value):
    """user and password: of a REST server (user also names an S3 access key); `{host}` may stand in both."""

    user: str
    password: Reference


class Repository(Value):
    """One entry of `repositories:`. Of many repositories, where `{host}` stands in its address."""

    name: str = ""
    """Filled in from its key."""
    url: Annotated[str, AfterValidator(_address)]
    """/folder on the controller, sftp:, rest: or s3: in restic's own writing, without secrets."""
    password: Reference
    """restic's password."""
    shared: Literal["", "accepted"] = ""
    """`accepted`: several hosts share a repository or a password, and so each can read what the others keep."""
    via: Literal["controller", "host"] | None = None
    """Who reaches it: the controller, for its hosts (append-only, they hold no credentials of the storage), or each host."""
    write: Credentials | None = None
    maintain: Credentials | None = None
    append_only: bool = False
    """Whether what keeps it refuses to remove for `write`. Through the controller it always does."""
    key: str | None = None
    """sftp: file with the private key, relative to the site."""
    known_hosts: str | None = None
    """sftp: file with the server's pinned keys, relative to the site."""
    region: str | None = None
    parallel: int = Field(default=10, ge=1, le=500)
    """How many hosts write to it at once, over all runs."""
    upload: int | None = Field(default=None, gt=0)
    """KiB per second of each backup or copy into it."""
    download: int | None = Field(default=None, gt=0)
    lock_wait: Duration = 300.0
    """Seconds that a lock of somebody else is waited for."""
    source: str = ""
    """Where it was declared: `recovery/repositories.yml:3`."""

    @model_validator(mode="after")
    def _whole(self) -> Repository:
        if self.kind in ("path", "sftp") and self.through == "host":
            raise ValueError(f"a host can't reach {self.kind} by itself without holding its keys; leave via: out")
        if self.kind == "rest" and self.through == "controller":
            raise ValueError(
                "via: controller is for folders, sftp and s3; leave it out: hosts reach a REST server by themselves "
                "(give its append-only user under write:)"
            )
        if self.kind == "sftp" and not self.known_hosts:
            raise ValueError("known_hosts: is missing; nothing is sent to a server whose key is not pinned")
        if self.kind == "s3" and self.maintain is None:
            raise ValueError("maintain: {user: ACCESS KEY, password: REFERENCE} is missing")
        if self.through == "host" and self.kind == "s3" and self.write is None:
            raise ValueError("write: is missing; a host must not hold the credentials that can remove")
        if self.write and self.maintain and self.write.password == self.maintain.password:
            raise ValueError("write and maintain name the same secret; who may add must not be able to remove")
        for word, login in (("write", self.write), ("maintain", self.maintain)):
            if login and login.password == self.password:
                raise ValueError(f"password and {word} name the same secret; take two, so that one lost is not both")
        return self

    @property
    def kind(self) -> Kind:
        word, _, _ = self.url.partition(":")
        return word if word in ("sftp", "rest", "s3") else "path"  # type: ignore[return-value]  # one of the four

    @property
    def through(self) -> Literal["controller", "host"]:
        return self.via or ("controller" if self.kind in ("path", "sftp") else "host")

    @property
    def guarded(self) -> bool:
        """Whether a host that was broken into can't remove what it has backed up."""
        return self.append_only or self.through == "controller"

    @property
    def per_host(self) -> bool:
        """Whether each host has a repository and a password of its own."""
        return HOST in self.url and HOST in self.password

    def vault(self, host: str) -> str:
        """Whose repository it is: the host's own, or (empty) one of several hosts."""
        return host if HOST in self.url else ""

    def address(self, host: str) -> str:
        return self.url.replace(HOST, host)


@dataclass(frozen=True, slots=True)
class Access:
    """All that a restic process needs to reach one repository for one purpose. Secrets never become arguments.

    env: what restic, rclone or a library reads from its environment. key, known_hosts: absolute paths, for sftp.
    """

    repository: str
    """Name of the declaration."""
    host: str
    """Whose repository it is; of a shared one, who asks."""
    url: str
    password: Secret
    purpose: Purpose
    kind: Kind
    user: str = ""
    secret: Secret | None = None
    """With user: of a REST server, or of an S3 access key."""
    region: str | None = None
    key: str | None = None
    known_hosts: str | None = None
    upload: int | None = None
    """KiB per second."""
    download: int | None = None
    lock_wait: float | None = None
    """Seconds that a lock of somebody else is waited for; None: as long as is usual."""
    env: Mapping[str, str] = field(default_factory=dict)
    """More that is no secret."""


def access(
    repository: Repository,
    host: str,
    purpose: Purpose,
    resolve: Callable[[str], Secret],
    place: Callable[[str], str] = lambda path: path,
) -> Access:
    """Resolve what the purpose needs. resolve: reference → secret, raises SecretError. place: a path of the site → absolute."""
    given = (
        (repository.write or repository.maintain) if purpose == "write" else (repository.maintain or repository.write)
    )
    return Access(
        repository=repository.name,
        host=host,
        url=repository.address(host),
        password=resolve(repository.password.replace(HOST, host)),
        purpose=purpose,
        kind=repository.kind,
        user=given.user.replace(HOST, host) if given else "",
        secret=resolve(given.password.replace(HOST, host)) if given else None,
        region=repository.region,
        key=place(repository.key) if repository.key else None,
        known_hosts=place(repository.known_hosts) if repository.known_hosts else None,
        upload=repository.upload,
        download=repository.download,
        lock_wait=repository.lock_wait,
    )

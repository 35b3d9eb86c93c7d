"""Secrets for one job: what its files hold, and how they come into the memory of a host and out of it again."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from contextlib import suppress
from urllib.parse import quote

from mainstay.inventory.errors import Refused
from mainstay.inventory.secrets import Secret
from mainstay.recovery.backup.script import SECRETS
from mainstay.recovery.repository import Access
from mainstay.runner.operation import HostWork
from mainstay.runner.shell.contract import Command, ShellError

USER = "mainstay"
"""Of the way through the controller."""

_MAKE = 'umask 077; rm -rf -- "$1" && mkdir -p -- "${1%/*}" && mkdir -m 700 -- "$1"'


def way_secret(access: Access, run: str) -> Secret:
    """Password of the way through the controller: for this run and host alone, and the same in another process that goes on
    with it. It tells nothing of what it is made from."""
    text = f"mainstay way\0{run}\0{access.repository}\0{access.host}"
    return Secret(hmac.new(access.password.reveal().encode(), text.encode(), hashlib.sha256).hexdigest())


def files(access: Access) -> Mapping[str, bytes]:
    """Name → content. The address holds the user and the password of a REST server. Raises Refused."""
    secret = access.secret.reveal() if access.secret else ""
    address = access.url
    if access.kind == "rest" and access.user:
        scheme, _, rest = address.removeprefix("rest:").partition("://")
        address = f"rest:{scheme}://{quote(access.user, safe='')}:{quote(secret, safe='')}@{rest}"
    if any(letter in address + access.password.reveal() for letter in "\r\n"):
        raise Refused("a password of more than one line can't be handed to restic")
    found = {"password": access.password.reveal().encode() + b"\n", "repository": address.encode() + b"\n"}
    if access.kind == "s3":
        if any(letter in access.user + secret for letter in "\r\n"):
            raise Refused("an S3 key of more than one line can't be handed to restic")
        text = f"[default]\naws_access_key_id = {access.user}\naws_secret_access_key = {secret}\n"
        found["credentials"] = text.encode()
    return found


def place(memory: str, job: str) -> str:
    """The folder of a job's secrets."""
    return f"{memory}/mainstay/{job}"


def hand_over(work: HostWork, folder: str, content: Mapping[str, bytes]) -> None:
    """Into a folder of root's alone. Again is success."""
    made = work.shell.run(Command(("sh", "-c", _MAKE, "mainstay", folder), sudo=True, fence=work.fence))
    if made.status != 0:
        raise ShellError(work.host.name, f"{folder} could not be made")
    for name in SECRETS:
        if name in content:
            work.shell.put(content[name], f"{folder}/{name}", fence=work.fence, mode=0o600)


def take_back(work: HostWork, folder: str) -> None:
    """Where the job has not done so itself. What can't be reached keeps it until it goes down: it is in memory alone."""
    gone = Command(("rm", "-rf", "--", folder), sudo=True, fence=work.fence, deadline=20)
    with suppress(ShellError):
        work.shell.run(gone)

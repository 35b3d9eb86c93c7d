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

_MAKE = r"""
umask 077
top=${1%/*}
[ -d "$top" ] || mkdir -- "$top" 2>/dev/null || [ -d "$top" ] || exit 70 # another job may make it at the same time
# In /dev/shm anybody may have made it before us, and could exchange what is in it.
{ [ ! -L "$top" ] && [ "$(stat -c %u -- "$top")" = "$(id -u)" ]; } || exit 71
# What nobody has taken in an hour is not taken any more: its run is dead. A younger one may be another controller's.
find "$top" -mindepth 2 -maxdepth 2 -type f \( -name password -o -name repository -o -name credentials \) -mmin +60 \
  -exec rm -f -- {} + || : # another job's folder that goes meanwhile is no fault of this one
rm -rf -- "$1" && chmod 700 -- "$top" && mkdir -m 700 -- "$1" && cd -- "$1" || exit 70
folder=$1; shift
while [ "$#" -gt 0 ]; do
  head -c "$2" >"$1" && [ "$(($(wc -c <"$1")))" -eq "$2" ] || { rm -rf -- "$folder"; exit 70; }
  shift 2
done
"""
"""folder of the secrets, then for each its name and its bytes; on stdin what is in them → 71: the folder above it is not ours."""

# One that the job has taken is the job's: it may be at work in there, and removes it at its end.
_TAKE_BACK = '[ ! -e "$1/password" ] || rm -rf -- "$1"'


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
    """Into a folder of root's alone, in one round trip. Again is success."""
    given = {name: content[name] for name in SECRETS if name in content}
    sizes = [word for name, data in given.items() for word in (name, str(len(data)))]
    argv = ("sh", "-c", _MAKE, "mainstay", folder, *sizes)
    made = work.shell.run(Command(argv, sudo=True, stdin=b"".join(given.values()), fence=work.fence))
    if made.status == 71:
        raise Refused(f"{folder.rpartition('/')[0]} belongs to somebody else there: no secret is put into it")
    if made.status != 0:
        raise ShellError(work.host.name, f"{folder} could not be made")


def take_back(work: HostWork, folder: str) -> None:
    """Where the job has not taken them. What can't be reached keeps them until the next run there, or until it goes down: they are
    in memory alone."""
    gone = Command(("sh", "-c", _TAKE_BACK, "mainstay", folder), sudo=True, fence=work.fence, deadline=20)
    with suppress(ShellError):
        work.shell.run(gone)

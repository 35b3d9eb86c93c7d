"""Lock files of a repository, removed one by one where the repository lies. restic itself can remove all that it takes for
stale, or all; which are tied to a dead run of ours is known to us alone.

Safe against a lock that lives: restic refreshes one by writing another file, so that an id names what was looked at.
"""

from __future__ import annotations

import base64
import re
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from pathlib import Path

from mainstay.recovery.repository import Access
from mainstay.recovery.restic.environment import check_ids

DEADLINE = 60.0


class Kept(Exception):
    """The lock file could not be removed. The text holds no secret."""


def remove(access: Access, id: str) -> None:
    """One that is not there (any more) is success. Raises Kept."""
    check_ids([id])
    try:
        {"path": _path, "rest": _rest, "sftp": _sftp, "s3": _s3}[access.kind](access, id)
    except Kept:
        raise
    except Exception as error:  # whatever the libraries raise: their texts may hold an address with all that is in it
        raise Kept(f"the lock {id[:8]} could not be removed ({type(error).__name__})") from None


def _path(access: Access, id: str) -> None:
    (Path(access.url) / "locks" / id).unlink(missing_ok=True)


def _rest(access: Access, id: str) -> None:
    url = access.url.removeprefix("rest:").rstrip("/") + f"/locks/{id}"
    request = urllib.request.Request(url, method="DELETE")  # noqa: S310  # the scheme is http or https: see Repository
    if access.user:
        pair = f"{access.user}:{access.secret.reveal() if access.secret else ''}"
        request.add_header("Authorization", "Basic " + base64.b64encode(pair.encode()).decode())
    own = urllib.parse.urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")
    proxies = urllib.request.ProxyHandler({} if own else None)  # as restic does: none for this machine itself
    try:
        urllib.request.build_opener(proxies).open(request, timeout=DEADLINE).close()
    except urllib.error.HTTPError as error:
        error.close()
        if error.code != 404:
            raise Kept(f"the lock {id[:8]} could not be removed (status {error.code})") from None


def _sftp(access: Access, id: str) -> None:
    import paramiko

    found = re.fullmatch(r"sftp:(?://)?(?:([\w.-]+)@)?(\[[\w.:]+\]|[\w.-]+)(?::(\d+))?[:/](.*)", access.url)
    if found is None:
        raise Kept(f"the lock {id[:8]} could not be removed: its address is no sftp address")
    user, host, port, folder = found.groups()
    client = paramiko.SSHClient()
    if access.known_hosts:
        client.load_host_keys(access.known_hosts)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        client.connect(
            host.strip("[]"),
            port=int(port or 22),
            username=user,
            key_filename=access.key,
            allow_agent=False,
            look_for_keys=False,
            timeout=DEADLINE,
            banner_timeout=DEADLINE,
            auth_timeout=DEADLINE,
        )
        files = client.open_sftp()
        files.get_channel().settimeout(DEADLINE)
        with suppress(FileNotFoundError):
            files.remove(f"{folder.rstrip('/')}/locks/{id}")
    finally:
        client.close()


def _s3(access: Access, id: str) -> None:
    import boto3
    import botocore.config

    where = urllib.parse.urlsplit(access.url.removeprefix("s3:"))
    bucket, _, folder = where.path.strip("/").partition("/")
    client = boto3.session.Session().client(
        "s3",
        region_name=access.region or "us-east-1",
        endpoint_url=f"{where.scheme}://{where.netloc}",
        aws_access_key_id=access.user,
        aws_secret_access_key=access.secret.reveal() if access.secret else "",
        config=botocore.config.Config(
            s3={"addressing_style": "path"},
            connect_timeout=DEADLINE,
            read_timeout=DEADLINE,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    client.delete_object(Bucket=bucket, Key="/".join(part for part in (folder, "locks", id) if part))

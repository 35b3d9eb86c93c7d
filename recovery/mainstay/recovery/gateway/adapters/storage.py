"""How rclone is told which repository to serve: its path as an argument, how to get there by environment alone.

Source: https://rclone.org/sftp/, https://rclone.org/s3/ and https://rclone.org/docs/#environment-variables.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from mainstay.recovery.gateway.contract import GatewayError
from mainstay.recovery.repository import Access

PASSED = (
    *("PATH", "HOME", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
"""All that rclone takes over from the controller's own environment: no credentials, no settings that lie around there."""


def root(access: Access) -> str:
    """What is served, in rclone's writing. Holds no secret. Raises GatewayError."""
    if access.kind == "path":
        return f":local:{access.url}"
    if access.kind == "sftp":
        return f":sftp:{_sftp(access)[3]}"
    if access.kind == "s3":
        return f":s3:{urlsplit(access.url.removeprefix('s3:')).path.strip('/')}"
    raise GatewayError(
        f"the repository {access.repository} is a REST server: the controller does not stand between it and a host",
        hint="Leave via: controller out, and give the server's append-only user under write:.",
    )


def environment(access: Access) -> dict[str, str]:
    """What rclone reads. Holds secrets: never to be shown, written down or made an argument. Raises GatewayError."""
    passed = {name: os.environ[name] for name in PASSED if name in os.environ}
    # No configuration file: what lies in one could change what is served.
    common = {"RCLONE_CONFIG": "", "RCLONE_CONTIMEOUT": "30s", "RCLONE_LOG_LEVEL": "NOTICE"}
    # restic tries again by itself; a server of logins takes ten wrong keys in a row for an attack.
    common["RCLONE_LOW_LEVEL_RETRIES"] = "3"
    return {**passed, **access.env, **common, **_storage(access)}


def _storage(access: Access) -> dict[str, str]:
    if access.kind == "sftp":
        return _sftp_environment(access)
    if access.kind == "s3":
        return _s3_environment(access)
    return {}


def _sftp_environment(access: Access) -> dict[str, str]:
    user, host, port, _ = _sftp(access)
    if not access.known_hosts:
        raise GatewayError(f"the repository {access.repository}: no known_hosts:, so its server can't be known")
    if not access.key:
        raise GatewayError(
            f"the repository {access.repository}: no key:, and no agent is asked",
            hint="Set key: to a private key's file.",
        )
    for path in (access.key, access.known_hosts):
        if not os.access(path, os.R_OK):
            raise GatewayError(f"the repository {access.repository}: the file {path} can't be read")
    return {
        "RCLONE_SFTP_HOST": host,
        **({"RCLONE_SFTP_USER": user} if user else {}),
        "RCLONE_SFTP_PORT": str(port),
        "RCLONE_SFTP_KEY_FILE": access.key,
        "RCLONE_SFTP_KNOWN_HOSTS_FILE": access.known_hosts,
        # Newer ones ask for a kind of key that is pinned; 1.60 does not know this, and asks for ecdsa first.
        "RCLONE_SFTP_HOST_KEY_ALGORITHMS": " ".join(_pinned(Path(access.known_hosts))),
        # Files and nothing else: no command is run on the server, no time of a file is set.
        "RCLONE_SFTP_SHELL_TYPE": "none",
        "RCLONE_SFTP_DISABLE_HASHCHECK": "true",
        "RCLONE_SFTP_SET_MODTIME": "false",
    }


def _s3_environment(access: Access) -> dict[str, str]:
    address = urlsplit(access.url.removeprefix("s3:"))
    return {
        "RCLONE_S3_PROVIDER": "AWS" if (address.hostname or "").endswith(".amazonaws.com") else "Other",
        "RCLONE_S3_ENDPOINT": f"{address.scheme}://{address.netloc}",
        "RCLONE_S3_ENV_AUTH": "false",
        "RCLONE_S3_ACCESS_KEY_ID": access.user,
        "RCLONE_S3_SECRET_ACCESS_KEY": access.secret.reveal() if access.secret else "",
        **({"RCLONE_S3_REGION": access.region} if access.region else {}),
        # A bucket is never made, and not asked for: that needs rights that adding to one does not.
        "RCLONE_S3_NO_CHECK_BUCKET": "true",
    }


def _sftp(access: Access) -> tuple[str, str, int, str]:
    """User, host, port and path, as restic reads both of its writings (sftp:user@host:path, sftp://user@host:port//path)."""
    rest = access.url.removeprefix("sftp:")
    if rest.startswith("//"):
        address = urlsplit(rest)
        try:
            return address.username or "", address.hostname or "", address.port or 22, address.path[1:]
        except ValueError:
            raise GatewayError(
                f"the repository {access.repository}: {access.url} has no port that can be one"
            ) from None
    at, _, path = rest.partition(":")
    user, _, host = at.rpartition("@")
    return user, host, 22, path


def _pinned(known_hosts: Path) -> list[str]:
    """The kinds of keys in such a file, as they are asked for in a handshake."""
    kinds = re.findall(r"(?m)^[^#\s@][^\s]*\s+([a-z0-9@.-]+)\s", known_hosts.read_text(errors="replace"))
    named = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
    return [name for kind in dict.fromkeys(kinds) for name in named.get(kind, (kind,))]

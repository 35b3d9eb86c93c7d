"""How a restic process is told where its repository is and how to get in: everything secret, and the address, by environment.

Source: https://restic.readthedocs.io/en/stable/040_backup.html#environment-variables and `restic options`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mainstay.recovery.repository import Access

PASSED = (
    *("PATH", "HOME", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)
"""All that a restic of ours takes over from the controller's own environment: no credentials that lie around there."""


class Impossible(ValueError):
    """restic has no way to do that; the message says what."""


def location(access: Access) -> str:
    """The address in restic's writing; `local:` so that no folder's name is taken for another kind of storage."""
    return f"local:{access.url}" if access.kind == "path" else access.url


def environment(access: Access) -> dict[str, str]:
    """For `restic` on this one repository. Holds secrets: never to be shown, written down or made an argument."""
    told = {**access.env, "RESTIC_REPOSITORY": location(access), "RESTIC_PASSWORD": access.password.reveal()}
    return {**told, **_credentials(access)}


def copying(source: Access, to: Access) -> dict[str, str]:
    """For `restic copy` and `restic init --copy-chunker-params`. Raises Impossible where restic knows one set of
    credentials only, and these two need two."""
    if source.kind == to.kind == "s3" and _credentials(source) != _credentials(to):
        raise Impossible("restic can't copy between two S3 repositories with different keys or regions")
    told = environment(to)
    address = location(source)
    if source.kind == to.kind == "rest" and source.user and _credentials(source) != _credentials(to):
        raise Impossible("restic can't copy between two REST servers with different users")
    told |= {name: value for name, value in _credentials(source).items() if name not in told}
    return {**source.env, **told, "RESTIC_FROM_REPOSITORY": address, "RESTIC_FROM_PASSWORD": source.password.reveal()}


def options(*accesses: Access) -> list[str]:
    """Arguments for these repositories: sftp by ssh without questions, to pinned keys alone. Holds no secret. Raises Impossible."""
    over = [access for access in accesses if access.kind == "sftp"]
    if not over:
        return []
    keys = dict.fromkeys(_word(access.key) for access in over if access.key)
    known = dict.fromkeys(_word(access.known_hosts) for access in over if access.known_hosts)
    words = ["-F", "none", *(word for key in keys for word in ("-i", key))]
    settings = [
        f"UserKnownHostsFile={' '.join(known) or '/dev/null'}",
        *("GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes", "BatchMode=yes", "IdentitiesOnly=yes"),
        *("ForwardAgent=no", "ConnectTimeout=30", "ServerAliveInterval=30", "ServerAliveCountMax=4"),
    ]
    words += [word for setting in settings for word in ("-o", setting)]
    return ["-o", "sftp.args=" + " ".join(_quoted(word) for word in words)]


def limits(*accesses: Access) -> list[str]:
    """--limit-upload and --limit-download, KiB/s: the lower one where two repositories have one each."""
    upload = [access.upload for access in accesses if access.upload]
    download = [access.download for access in accesses if access.download]
    return [
        *(["--limit-upload", str(min(upload))] if upload else []),
        *(["--limit-download", str(min(download))] if download else []),
    ]


def _credentials(access: Access) -> dict[str, str]:
    secret = access.secret.reveal() if access.secret else ""
    if access.kind == "rest" and access.user:
        return {"RESTIC_REST_USERNAME": access.user, "RESTIC_REST_PASSWORD": secret}
    if access.kind == "s3":
        region = {"AWS_DEFAULT_REGION": access.region} if access.region else {}
        return {"AWS_ACCESS_KEY_ID": access.user, "AWS_SECRET_ACCESS_KEY": secret, **region}
    return {}


def _word(path: str | None) -> str:
    """A file's path as ssh reads it: it replaces %-letters and ${…}, and splits lists of files at blanks."""
    path = path or ""
    if re.search(r"[\"'\\\x00-\x1f]|\$\{", path):
        raise Impossible(f"ssh can't be given the file {path!r}: quotes, backslashes and ${{ have a meaning there")
    return path.replace("%", "%%")


def _quoted(word: str) -> str:
    """As restic splits it: blanks between words, quotes around one."""
    return f"'{word}'" if re.search(r"\s", word) else word


def pattern(path: str) -> str:
    """A path as a pattern that matches it and nothing else (Go's filepath.Match, as restic uses it)."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", path)


def patterns(paths: Iterable[str]) -> list[str]:
    """The same for many of them, as the lines of a file for --include-file: an argument list holds 2 MB, and none of a name that is
    longer than 128 kB. Source: https://restic.readthedocs.io/en/stable/040_backup.html#excluding-files: blanks around a line are
    cut off, $NAME is replaced. All paths are absolute: none is a comment."""
    return [_line(path) for path in paths]


def _line(path: str) -> str:
    text = pattern(path).replace("$", "$$").replace("\n", _LINE_BREAK)
    return f"{text[:-1]}[{text[-1]}]" if text[-1:].isspace() else text


_LINE_BREAK = "[^\x01-\t\v-\U0010ffff]"
"""A pattern of it that is on one line."""


def check_ids(ids: Sequence[str]) -> None:
    """Raises ValueError: whatever is to be removed or read is named in full, `latest` and prefixes are not taken."""
    for id in ids:
        if not re.fullmatch(r"[0-9a-f]{64}", id):
            raise ValueError(f"{id[:80]!r} is no full id of restic's")

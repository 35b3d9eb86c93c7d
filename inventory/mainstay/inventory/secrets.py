"""Secrets by reference: where one is to be found, never what it is. Resolved when used, kept in memory alone.

`env:NAME` · `file:PATH` (0600 or stricter, relative to the site) · `command:ARGV` (its first line of output) ·
`systemd:NAME` (a credential of the service: https://systemd.io/CREDENTIALS/). What has been resolved is known to `redaction`.
"""

from __future__ import annotations

import hmac
import os
import re
import shlex
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem, UsageError, WrongValue
from mainstay.inventory.names import shown
from mainstay.inventory.redaction import remember

KINDS = ("env", "file", "command", "systemd")
LATER = ("ansible-vault",)
COMMAND_DEADLINE = 30.0
LARGEST = 1024 * 1024

_ADVICE = "Write where it is to be found: file:PATH, env:NAME, command:ARGV or systemd:NAME."
_SECRET_KEY = re.compile(
    r"(?:^|[_.-])(?:password|passwd|pass|passphrase|pwd|secret|secrets|token|api[_-]?key|private[_-]?key|access[_-]?key)$",
    re.IGNORECASE,
)
_URL_PASSWORD = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@]*:[^/\s@]+@")
_ARGUMENT = re.compile(r"(?:^|\s)--?(?:password|passwd|passphrase|secret|token|api-?key)[= ][^\s-]", re.IGNORECASE)
_KEY_TEXT = re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----")


class SecretError(UsageError):
    """A secret can't be had. The message names the reference, never the value."""

    kind = "secret"


class Secret:
    """A value that doesn't show itself: not in str, repr, format, pickle or JSON."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    __hash__ = None  # type: ignore[assignment]  # a hash of a secret tells about it

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written down")


def check_reference(text: str) -> str:
    """Raises ValueError where `text` is no reference; the message never holds it, it may be the secret itself."""
    kind, colon, rest = text.partition(":")
    if colon and kind in LATER:
        raise WrongValue(f"secrets by {kind}: are not available yet.", hint=_ADVICE)
    if not colon or kind not in KINDS:
        raise WrongValue("a secret in plain text (or no reference).", hint=_ADVICE)
    if not rest.strip() or "\0" in rest or "\n" in rest:
        raise WrongValue(f"the reference {kind}: names nothing.", hint=_ADVICE)
    if kind == "env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", rest):
        raise ValueError("env: takes the name of a variable")
    if kind == "systemd" and not re.fullmatch(r"[A-Za-z0-9_.-]{1,255}", rest):
        raise ValueError("systemd: takes the name of a credential")
    if kind == "command":
        try:
            shlex.split(rest)
        except ValueError:
            raise ValueError("command: takes a command line; a quote in it is not closed") from None
    return text


def is_reference(text: str) -> bool:
    return text.partition(":")[0] in (*KINDS, *LATER) and ":" in text


def reference_path(reference: str, root: Path) -> Path | None:
    """The file that a `file:` reference names, relative ones from the site; None for other kinds."""
    kind, _, rest = reference.partition(":")
    return root / Path(rest).expanduser() if kind == "file" else None


def plaintext_secrets(spot: Spot) -> list[Problem]:
    """Every place in a document (from `spot` down) that seems to hold a secret itself."""
    found: list[Problem] = []
    _scan(spot, found)
    return found


def _scan(spot: Spot, found: list[Problem]) -> None:
    value: Any = spot.value
    if isinstance(value, dict):
        for key in value:
            _scan(spot.at(key), found)
    elif isinstance(value, list):
        for index in range(len(value)):
            _scan(spot.at(index), found)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        text, key = str(value), str(spot.path[-1]) if spot.path else ""
        plain = _SECRET_KEY.search(key) and not is_reference(text)
        if plain or any(pattern.search(text) for pattern in (_KEY_TEXT, _URL_PASSWORD, _ARGUMENT)):
            found.append(spot.problem("a secret in plain text.", hint=_ADVICE))


class Secrets:
    """Resolves references of one site and keeps what it found in memory. Safe to use from several threads."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, Secret] = {}
        self._lock = threading.Lock()

    def resolve(self, reference: str) -> Secret:
        """Raises SecretError."""
        with self._lock:
            if reference not in self._known:
                self._known[reference] = resolve(reference, self._root)
            return self._known[reference]


def resolve(reference: str, root: Path) -> Secret:
    """The secret that `reference` names, relative paths from the site's root; from now on it is redacted wherever this
    process writes or shows something. Raises SecretError."""
    try:
        check_reference(reference)
    except ValueError as error:
        raise SecretError(str(error)) from None
    value = _found(reference, root)
    remember(value)
    return Secret(value)


def _found(reference: str, root: Path) -> str:
    kind, _, rest = reference.partition(":")
    if kind == "env":
        value = os.environ.get(rest)
        if not value:
            raise SecretError(f"env:{rest}: the variable is not set", hint=f"Set {rest} where mainstay is started.")
        return value
    if kind == "command":
        return _from_command(rest, root)
    if kind == "systemd":
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            hint = f"Start mainstay as a systemd service with LoadCredential={rest}:…"
            raise SecretError(f"systemd:{rest}: there is no $CREDENTIALS_DIRECTORY", hint=hint)
        return _from_file(Path(folder) / rest, reference)
    return _from_file(root / Path(rest).expanduser(), reference)


def check_secret_file(path: Path, reference: str) -> None:
    """Raises SecretError where the file can't be read, or others could read it."""
    with _opened(path, reference):
        pass


def _from_file(path: Path, reference: str) -> str:
    with _opened(path, reference) as handle:
        content = handle.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise SecretError(f"{reference}: is larger than {LARGEST // 1024} kB")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise SecretError(f"{reference}: is not UTF-8 text") from None
    if not text.strip():
        raise SecretError(f"{reference}: is empty")
    # a key keeps its lines; a password's file ends with a line end that isn't part of it
    return text if "\n" in text.rstrip("\n") else text.rstrip("\r\n")


def _opened(path: Path, reference: str) -> BinaryIO:
    try:
        # O_NONBLOCK: a named pipe must not hang us before we have seen what it is
        handle = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    except OSError as error:
        hint = "Check the path (it is relative to the site) and who may read it."
        if isinstance(error, FileNotFoundError):
            folder, file = shlex.quote(str(path.parent)), shlex.quote(str(path))
            made = f"(umask 077; mkdir -p {folder}; openssl rand -base64 32 > {file})"
            hint = f"Check the path (it is relative to the site). A new repository's password is made with: {made}"
        raise SecretError(f"{reference}: can't be read: {error.strerror}", hint=hint) from None
    found = os.fstat(handle.fileno())
    fault: tuple[str, str | None] | None = None
    if not stat.S_ISREG(found.st_mode):
        fault = ("is not a plain file", None)
    elif found.st_mode & 0o077:
        fault = (f"others can read it (mode {stat.S_IMODE(found.st_mode):04o})", f"chmod 600 {shlex.quote(str(path))}")
    elif found.st_uid not in (os.geteuid(), 0):
        fault = ("belongs to another user", f"chown it to the user who runs mainstay: {shlex.quote(str(path))}")
    if fault:
        handle.close()
        raise SecretError(f"{reference}: {fault[0]}", hint=fault[1])
    return handle


def _from_command(line: str, root: Path) -> str:
    argv = shlex.split(line)
    name = shown(argv[0])
    try:
        done = subprocess.run(
            argv, cwd=root, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_DEADLINE, check=False
        )
    except subprocess.TimeoutExpired:
        # `from None`: the exception holds what was printed so far
        raise SecretError(f"command: {name} gave nothing within {COMMAND_DEADLINE:g} s") from None
    except (OSError, ValueError):
        raise SecretError(f"command: {name} can't be started") from None
    if done.returncode != 0:
        hint = "Its messages are not shown, they might hold the secret: try it by hand."
        raise SecretError(f"command: {name} ended with exit {done.returncode}", hint=hint)
    try:
        value = done.stdout.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise SecretError(f"command: {name} printed what is not UTF-8 text") from None
    if not value:
        raise SecretError(f"command: {name} printed nothing")
    return value

"""Opening a connection: pinned keys only, one deadline over TCP, key exchange and login, no agent, no ssh_config."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
import time
from pathlib import Path
from typing import Any

import fabric
import paramiko

from mainstay.inventory.host import Host
from mainstay.runner.shell.contract import HostKeyRefused, ShellError, Unreachable
from mainstay.runner.shell.pins import HostKey, change_in_words, label
from mainstay.runner.shell.printable import printable

# paramiko prints tracebacks of its threads to stderr otherwise; what went wrong is in our exceptions.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_ALGORITHMS = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}
_ALL = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", "ssh-rsa")
KEEPALIVE = 5
"""Seconds between two signs of life on a connection on which nothing else is said."""
_TCP_USER_TIMEOUT = 20_000
"""Milliseconds for which what was sent may go without an answer of the other machine: the connection counts as broken
then. With the signs of life, a silent partition is noticed within 25 s also where nothing is asked. Behind a jump host,
whose own connection stays well, only a command's deadline tells."""

# An explicit empty ssh_config and lazy=True: nothing is read from /etc, ~ or the current folder. Looking a host up in an
# ssh_config runs its `Match exec`.
CONFIG = fabric.Config(ssh_config=paramiko.SSHConfig(), lazy=True, overrides={"load_ssh_configs": False})


class Connection(fabric.Connection):  # type: ignore[misc]  # fabric ships no types
    """With every attribute a real one. fabric writes any other into the configuration that all connections share and
    merges it anew, and another thread that reads it just then finds it empty."""

    inline_ssh_env = None


class Deadline:
    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        return max(0.01, self._end - time.monotonic())

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._end


class Transport(paramiko.Transport):  # type: ignore[misc]  # paramiko ships no types
    """paramiko's transport with one deadline over its three waits, and the cheapest safe algorithms first."""

    # GCM is one call per packet; CTR takes a Python HMAC on top. The hybrid key exchange costs most and comes last.
    _preferred_ciphers = (
        "aes128-gcm@openssh.com",
        "aes256-gcm@openssh.com",
        "aes128-ctr",
        "aes192-ctr",
        "aes256-ctr",
    )
    _preferred_macs = (
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
    )
    _preferred_kex = (
        "curve25519-sha256@libssh.org",
        "ecdh-sha2-nistp256",
        "ecdh-sha2-nistp384",
        "ecdh-sha2-nistp521",
        "mlkem768x25519-sha256",
        "diffie-hellman-group16-sha512",
        "diffie-hellman-group-exchange-sha256",
        "diffie-hellman-group14-sha256",
    )

    deadline: Deadline

    def start_client(self, event: Any = None, timeout: float | None = None) -> None:
        self.banner_timeout = self.handshake_timeout = self.deadline.left()
        super().start_client(event, timeout=self.deadline.left())
        if not self.initial_kex_done:  # paramiko returns as if all were well when its timeout passes
            raise paramiko.SSHException("the key exchange took too long")

    @property
    def auth_timeout(self) -> float:
        return self.deadline.left()

    @auth_timeout.setter
    def auth_timeout(self, value: float) -> None:
        """paramiko's constructor sets its own default."""


def dial(host: Host, deadline: Deadline) -> socket.socket:
    """A TCP connection. Raises Unreachable."""
    failed = f"{host.address} port {host.ssh.port} did not answer within {host.ssh.connect_timeout:g} s"
    for family, kind, proto, _, address in _resolve(host, deadline):
        made = socket.socket(family, kind, proto)
        try:
            made.settimeout(deadline.left())
            made.connect(address)
        except OSError as error:
            made.close()
            if not isinstance(error, TimeoutError):
                failed = f"{host.address} port {host.ssh.port}: {(error.strerror or str(error)).lower()}"
            if deadline.over:
                break
            continue
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A silent partition is noticed by the kernel, also while a large write is stuck.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT)
        return made
    raise Unreachable(host.name, failed)


def _resolve(host: Host, deadline: Deadline) -> list[Any]:
    address, port = host.address, host.ssh.port
    try:
        ipaddress.ip_address(address)
    except ValueError:
        pass
    else:
        return socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    answer: list[Any] = []
    trouble: list[OSError] = []

    def ask() -> None:
        try:
            answer.extend(socket.getaddrinfo(address, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            trouble.append(error if isinstance(error, OSError) else OSError(str(error)))

    # The resolver knows no deadline, so it gets a thread of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(deadline.left())
    if answer:
        return answer
    why = (trouble[0].strerror or str(trouble[0])) if trouble else "the name server did not answer in time"
    raise Unreachable(host.name, f"the name {address} can't be resolved: {why}")


def connect(
    host: Host, user: str, pinned: tuple[HostKey, ...], key: paramiko.PKey, gateway: fabric.Connection | None
) -> fabric.Connection:
    """A connection that is logged in. Raises HostKeyRefused, Unreachable; nothing is sent before the key is known."""
    if not pinned:
        raise unknown_key(host)
    deadline = Deadline(host.ssh.connect_timeout)
    usable = [(one.type, _public(host, one)) for one in pinned if one.type in _ALL]
    if not usable:
        kinds = ", ".join(sorted({one.type for one in pinned}))
        raise HostKeyRefused(
            host.name,
            f"only a key of a kind that can't be used here is pinned ({kinds}); nothing was sent",
            hint=f"Pin another of its keys: mainstay hosts trust {host.name} --replace",
        )
    types = {kind for kind, _ in usable}
    kwargs = {
        "pkey": key,
        "allow_agent": False,
        "look_for_keys": False,
        "channel_timeout": host.ssh.connect_timeout,
        "transport_factory": _factory(deadline),
        # Only what is pinned may be negotiated; a host without it is refused before it proves anything.
        "disabled_algorithms": {"keys": [a for t in _ALL if t not in types for a in _ALGORITHMS.get(t, (t,))]},
    }
    if gateway is None:
        kwargs["sock"] = dial(host, deadline)
    connection = Connection(
        host.address,
        user=user,
        port=host.ssh.port,
        config=CONFIG,
        gateway=gateway,
        forward_agent=False,
        connect_kwargs=kwargs,
    )
    known = connection.client.get_host_keys()
    for kind, public in usable:
        known.add(label(host), kind, public)
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        connection.open()
        connection.transport.set_keepalive(KEEPALIVE)
        return connection
    except BaseException as error:
        hang_up(connection.client.get_transport())
        if isinstance(error, (OSError, paramiko.SSHException, EOFError)):
            raise _translated(host, user, pinned, error, deadline) from error
        raise


def _public(host: Host, key: HostKey) -> paramiko.PKey:
    try:
        return paramiko.PKey.from_type_string(key.type, key.blob)
    except Exception as error:
        # a blob that is no key ends in half a dozen kinds of exception
        raise HostKeyRefused(
            host.name,
            f"its pinned {key.type} key is damaged; nothing was sent",
            hint=f"Pin it again: mainstay hosts trust {host.name} --replace",
        ) from error


def offered(host: Host, gateway: fabric.Connection | None) -> tuple[HostKey, ...]:
    """The host keys that a host offers, one handshake per type; no login is tried. Raises Unreachable."""
    found: list[HostKey] = []
    for wanted in _ALL:
        deadline = Deadline(host.ssh.connect_timeout)
        others = [a for t in _ALL if t != wanted for a in _ALGORITHMS.get(t, (t,))]
        transport = None
        try:
            if gateway is None:
                sock: Any = dial(host, deadline)
            else:
                sock = gateway.transport.open_channel(
                    "direct-tcpip", (host.address, host.ssh.port), ("", 0), timeout=deadline.left()
                )
            transport = _factory(deadline)(sock, disabled_algorithms={"keys": others})
            transport.start_client()
            key = transport.get_remote_server_key()
            found.append(HostKey(key.get_name(), key.asbytes()))
        except paramiko.ssh_exception.IncompatiblePeer:
            continue
        except (OSError, paramiko.SSHException, EOFError) as error:
            raise _translated(host, "", (), error, deadline) from error
        finally:
            hang_up(transport)
    if not found:
        raise Unreachable(host.name, "offers no kind of host key that is known here")
    return tuple(found)


def hang_up(transport: paramiko.Transport | None) -> None:
    """Close at once: with its socket shut, paramiko's thread ends without waiting out its naps."""
    if transport is None:
        return
    try:
        sock = transport.sock
        sock.shutdown(socket.SHUT_RDWR) if isinstance(sock, socket.socket) else sock.close()
    except (OSError, EOFError):
        pass
    transport.close()


def load_key(host: Host, reference: str, root: Path, passphrase: str | None) -> paramiko.PKey:
    """The private key `file:PATH`, relative to root. Raises ShellError that names the file."""
    if not reference.startswith("file:"):
        raise ShellError(
            host.name,
            f'the key "{reference}" is no file',
            hint="Write it as file:PATH, for example file:~/.ssh/id_ed25519.",
        )
    path = root / Path(reference.removeprefix("file:")).expanduser()
    try:
        # Bytes, although paramiko says str: cryptography takes nothing else.
        return paramiko.PKey.from_path(path, passphrase.encode() if passphrase is not None else None)
    except FileNotFoundError:
        raise ShellError(host.name, f"the key {path} is not there", hint="Set ssh: key: in mainstay.yml.") from None
    except OSError as error:
        raise ShellError(host.name, f"the key {path} can't be read: {error.strerror}") from None
    except TypeError:  # what cryptography raises for a missing passphrase, and for one too many
        hint = (
            "Give its passphrase by reference: ssh: passphrase: …" if passphrase is None else "Remove ssh: passphrase."
        )
        need = "needs a passphrase" if passphrase is None else "has no passphrase, but one is given"
        raise ShellError(host.name, f"the key {path} {need}", hint=hint) from None
    except Exception as error:
        # cryptography and paramiko raise half a dozen kinds for a file that is no key, or none that they support
        wrong = "its passphrase is wrong, or " if passphrase is not None else ""
        raise ShellError(
            host.name,
            f"the key {path} can't be used: {wrong}it is no private key of a supported kind ({type(error).__name__})",
            hint="Supported: ed25519, ecdsa and rsa, as ssh-keygen writes them.",
        ) from None


def unknown_key(host: Host) -> HostKeyRefused:
    return HostKeyRefused(
        host.name,
        "its host key is not known; nothing was sent",
        hint=f"Look at it and pin it: mainstay hosts trust {host.name}",
    )


def _factory(deadline: Deadline) -> Any:
    def make(sock: Any, disabled_algorithms: Any = None) -> Transport:
        transport = Transport(sock, disabled_algorithms=disabled_algorithms)
        transport.deadline = deadline
        transport.daemon = True
        return transport

    return make


def _translated(
    host: Host, user: str, pinned: tuple[HostKey, ...], error: BaseException, deadline: Deadline
) -> Unreachable:
    hint = f"If the host was rebuilt on purpose: mainstay hosts trust {host.name} --replace"
    if isinstance(error, paramiko.BadHostKeyException):
        key = HostKey(error.key.get_name(), error.key.asbytes())
        return HostKeyRefused(host.name, change_in_words(pinned, [key]) + "; nothing was sent", hint=hint)
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer) and "host key" in str(error):
        return HostKeyRefused(host.name, change_in_words(pinned, []) + "; nothing was sent", hint=hint)
    if deadline.over:
        return Unreachable(host.name, f"did not answer within {host.ssh.connect_timeout:g} s")
    if isinstance(error, paramiko.AuthenticationException):
        return Unreachable(
            host.name, f"the login {user} was refused", hint=f"Is the key among the authorized_keys of {user}?"
        )
    said = printable(str(error)) or type(error).__name__
    return Unreachable(host.name, f"no SSH connection: {said}")

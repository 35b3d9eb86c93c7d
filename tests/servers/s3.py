"""S3 servers of the tests' own, on loopback: moto (quick), and OpenStack Swift, which keeps what it is given on disks.

Swift lives in an environment of its own, made when first asked for: that takes the better part of a minute, so that only
the long form asks for it.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import botocore.config
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from tests.fleet.system import wait_until
from tests.servers.ports import free_port

SWIFT = ("swift>=2.38,<3", "keystonemiddleware>=13,<14")
REGION = "us-east-1"
_BUCKETS = itertools.count()
"""All of moto's servers in one process are one store: a name that two of them give is the same bucket."""


@dataclass
class S3:
    """One server. secret: searched for in what mainstay writes."""

    endpoint: str
    access: str
    secret: str

    @cached_property
    def client(self) -> Any:
        """Made once: that takes longer than what it is asked for."""
        return boto3.session.Session().client(
            "s3",
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access,
            aws_secret_access_key=self.secret,
            config=botocore.config.Config(
                s3={"addressing_style": "path"},
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )

    def bucket(self) -> str:
        """A new one, empty."""
        name = f"anchors-{os.getpid()}-{next(_BUCKETS)}"
        self.client.create_bucket(Bucket=name)
        return name


@contextmanager
def moto() -> Iterator[S3]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3(f"http://{host}:{port}", "access", "s3-canary-77d1")
    finally:
        server.stop()


@contextmanager
def swift() -> Iterator[S3]:
    with tempfile.TemporaryDirectory(prefix="mainstay-swift-", ignore_cleanup_errors=True) as name:
        server = _Swift(Path(name))
        try:
            server.make()
            yield S3(f"http://127.0.0.1:{server.ports['proxy']}", "test:tester", "s3-canary-77d1")
        finally:
            server.close()


class _Swift:
    """One server of each kind, one device, one replica. folder: everything of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / "env" / "bin"
        self.ports = {kind: free_port() for kind in ("proxy", "account", "container", "object")}
        self._running: list[subprocess.Popen[bytes]] = []

    def make(self) -> None:
        self._run(sys.executable, "-m", "venv", str(self.folder / "env"))
        self._run(str(self.programs / "python"), "-m", "pip", "install", "-q", *SWIFT)
        (self.folder / "srv" / "d1").mkdir(parents=True)
        for kind in ("account", "container", "object"):
            self._ring(kind)
            self._write(kind, STORAGE.format(folder=self.folder, port=self.ports[kind], kind=kind))
        self._write("swift", HASHING)
        self._write("proxy", PROXY.format(folder=self.folder, port=self.ports["proxy"]))
        for kind in self.ports:
            self._start(kind)
        wait_until(self._answers, "Swift answers", deadline=120)

    def _write(self, name: str, text: str) -> None:
        (self.folder / f"{name}.conf").write_text(text)

    def _ring(self, kind: str) -> None:
        builder = str(self.folder / f"{kind}.builder")
        program = str(self.programs / "swift-ring-builder")
        self._run(program, builder, "create", "4", "1", "1")
        self._run(program, builder, "add", f"r1z1-127.0.0.1:{self.ports[kind]}/d1", "1")
        self._run(program, builder, "rebalance")

    def _run(self, *argv: str) -> None:
        done = subprocess.run(argv, cwd=self.folder, capture_output=True, text=True, timeout=300, check=False)
        # swift-ring-builder ends with 1 to say that it has a warning.
        if done.returncode not in (0, 1) or (done.returncode == 1 and "ring-builder" not in argv[0]):
            raise RuntimeError(f"{' '.join(argv)} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")

    def _start(self, kind: str) -> None:
        argv = [str(self.programs / f"swift-{kind}-server"), str(self.folder / f"{kind}.conf"), "-v"]
        with (self.folder / "log").open("ab") as log:
            self._running.append(subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def _answers(self) -> bool:
        dead = [process.args for process in self._running if process.poll() is not None]
        if dead:
            raise RuntimeError(f"{dead} ended: {self._log()}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{self.ports['proxy']}/healthcheck", timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-3000:]

    def close(self) -> None:
        for process in self._running:
            process.terminate()
        for process in self._running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()


HASHING = """\
[swift-hash]
swift_hash_path_suffix = tests
swift_hash_path_prefix = tests
[storage-policy:0]
name = default
default = yes
"""
STORAGE = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = root
swift_dir = {folder}
devices = {folder}/srv
mount_check = false
workers = 0
log_address = /dev/null
fallocate_reserve = 0
disable_fallocate = true
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = root
swift_dir = {folder}
workers = 0
log_address = /dev/null
[pipeline:main]
pipeline = catch_errors cache listing_formats s3api tempauth copy slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = s3-canary-77d1 .admin
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
location = us-east-1
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:symlink]
use = egg:swift#symlink
"""

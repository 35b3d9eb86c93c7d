"""Shell's suite on the fake and on a real sshd on loopback, where jobs run without systemd."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.echo import Echo, said
from tests.contract.shell_suite import MINE, ShellSuite, until_it_ends
from tests.contract.sshd import Sshd
from tests.fleet.system import wait_until

from mainstay.inventory.host import Host, Ssh
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.adapters.fabric import FabricShells
from mainstay.runner.shell.contract import (
    Command,
    ContactLost,
    DeadlineExceeded,
    Fence,
    Job,
    JobStatus,
    Shell,
    ShellError,
)
from mainstay.runner.shell.fake import FakeHost, FakeShells


class FakeRig:
    scratch = "/scratch"

    def __init__(self) -> None:
        self.there = FakeHost("h")
        self.shells = FakeShells([self.there])
        self.host = self.there.host()
        there = self.there
        there.answer(shlex.join(("sh", "-c", "echo out; echo err >&2; exit 7")), "out\n", stderr="err\n", status=7)
        there.on("printf", lambda host, command: _printf(command.argv[1:]))
        there.on("cat", lambda host, command: command.stdin)
        there.on(shlex.join(("sh", "-c", 'printf %s "$NAME"')), lambda host, command: command.env["NAME"])
        there.on("seq", lambda host, command: "".join(f"{n}\n" for n in range(1, 200001)))
        there.on("id -un", lambda host, command: f"{command.user or 'root'}\n")
        there.answer("sleep 60", seconds=30)
        there.answer("sleep 20")
        there.answer("no-such-program", status=127)
        there.job("once", "a  b|it's\nerr\n", exit=3)
        there.job("old-one", "hello\n")
        there.job("long", "begun\nended\n", seconds=2)
        there.job("doomed", "begun\n", seconds=600)

    def content(self, path: str) -> bytes:
        return self.there.files[path]

    def mode(self, path: str) -> int:
        return self.there.modes[path]

    def break_contact(self) -> None: ...

    def lose_next(self, *argv: str) -> Command:
        self.there.drop(shlex.join(argv), after=False)
        return Command(argv)

    def away(self, *, away: bool) -> None:
        self.there.unreachable = "no route to host" if away else ""

    def change_key(self) -> None:
        self.there.key = "changed"

    def forget_key(self) -> None:
        self.there.key = "unknown"

    def reboot(self) -> None:
        self.there.reboot()

    def local(self) -> tuple[str, int]:
        return "127.0.0.1", 8000

    def leads(self, port: int, to: tuple[str, int]) -> bool:
        return any(one.open and (one.port, one.local) == (port, to) for one in self.there.forwards)


def _printf(words: tuple[str, ...]) -> bytes:
    return words[1].encode() if words[0] == "%s" else words[0].encode().decode("unicode_escape").encode("latin-1")


class LoopbackRig:
    def __init__(self, server: Sshd, folder: Path) -> None:
        self.server = server
        self.known_hosts = folder / "known_hosts"
        self.state_dir = folder / "state"
        self.scratch = str(folder / "scratch")
        ssh = Ssh(user="root", key=f"file:{server.key}", port=server.port, connect_timeout=8)
        self.host = Host(name="loop", address="127.0.0.1", ssh=ssh)
        self.shells = FabricShells(lambda name: self.host, self.known_hosts, str, state_dir=str(self.state_dir))
        self.shells.pins.pin(self.host, self.shells.scan(self.host))
        self.echoes: list[Echo] = []

    def content(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def mode(self, path: str) -> int:
        return stat.S_IMODE(Path(path).stat().st_mode)

    def break_contact(self) -> None:
        self.server.cut()
        wait_until(lambda: not self.server.sessions(), "the sessions are gone", deadline=60)

    def lose_next(self, *argv: str) -> Command:
        mark = Path(f"{self.scratch}.begun")

        def cut_when_begun() -> None:
            wait_until(mark.exists, "the command runs", deadline=60)
            self.server.cut()

        threading.Thread(target=cut_when_begun, daemon=True).start()
        return Command(("sh", "-c", 'touch "$1"; shift; exec "$@"', "mainstay", str(mark), *argv))

    def away(self, *, away: bool) -> None:
        os.kill(self.server.process.pid, signal.SIGSTOP if away else signal.SIGCONT)

    def change_key(self) -> None:
        other = self.known_hosts.with_name("other")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
        kind, key, *_ = other.with_suffix(".pub").read_text().split()
        self.known_hosts.write_text(f"[127.0.0.1]:{self.server.port} {kind} {key} loop pinned 2026-01-02\n")

    def forget_key(self) -> None:
        self.known_hosts.unlink()

    def reboot(self) -> None:
        for file in self.state_dir.glob("jobs/*/pid"):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(int(file.read_text().split()[0]), signal.SIGKILL)

    def local(self) -> tuple[str, int]:
        self.echoes.append(Echo())
        return self.echoes[-1].address

    def leads(self, port: int, to: tuple[str, int]) -> bool:
        return said(port) == f"{to[1]}".encode()

    def close(self) -> None:
        self.away(away=False)
        self.reboot()
        self.shells.close()
        for echo in self.echoes:
            echo.close()


class TestFake(ShellSuite):
    @pytest.fixture
    def rig(self) -> FakeRig:
        return FakeRig()

    def test_a_job_goes_on_without_us_and_is_found_again(self, rig: FakeRig, held: Shell) -> None:  # type: ignore[override]
        # The same promise; its seconds pass when they are let.
        held.launch(Job("long", ""), MINE)
        assert held.poll("long").status is JobStatus.RUNNING
        rig.there.time.advance(2)
        assert until_it_ends(held, "long").output == b"begun\nended\n"


class TestLoopback(ShellSuite):
    @pytest.fixture
    def rig(self, server: Sshd, tmp_path: Path) -> Iterator[LoopbackRig]:
        rig = LoopbackRig(server, tmp_path)
        yield rig
        rig.close()

    def test_megabytes_on_both_streams_take_time_in_proportion(self, shell: Shell) -> None:
        """0.3 s were measured for 10 MB; what is quadratic takes 9 s for them, and four minutes for 50 MB."""
        line = "head -c 50000000 /dev/zero | tr '\\0' x"
        shell.run(Command(("true",)))
        started = time.monotonic()
        output = shell.run(Command(("sh", "-c", f"{line} & {line} >&2; wait")))
        assert (output.stdout, output.stderr) == (b"x" * 50_000_000, b"x" * 50_000_000)
        assert time.monotonic() - started < 90

    def test_a_large_file_and_its_answer_pass_at_the_same_time(self, shell: Shell) -> None:
        data = os.urandom(1 << 20) * 12
        assert shell.run(Command(("cat",), stdin=data)).stdout == data

    def test_a_background_process_that_keeps_the_streams_open_does_not_hold_us(self, shell: Shell) -> None:
        started = time.monotonic()
        assert shell.run(Command(("sh", "-c", "echo done; sleep 100 & exit 4"))).status == 4
        assert time.monotonic() - started < 90

    def test_a_job_that_prints_without_end_fills_no_disk_and_is_not_disturbed(
        self, rig: LoopbackRig, held: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("mainstay.runner.shell.scripts.JOB_CAP", 1 << 20)
        monkeypatch.setattr("mainstay.runner.shell.scripts.JOB_CAP_EVERY", 1)
        script = "head -c 8000000 /dev/zero | tr '\\0' x; until [ -e \"$1\" ]; do sleep 0.1; done; echo end; exit 3"
        go_on = Path(rig.scratch) / "go-on"
        held.launch(Job("chatty", script, (str(go_on),)), MINE)
        out = rig.state_dir / "jobs/chatty/out"
        wait_until(lambda: out.stat().st_size == 8_000_000, "it has printed", deadline=60)
        wait_until(lambda: out.stat().st_blocks * 512 < 2_000_000, "the disk has its blocks back", deadline=60)
        go_on.parent.mkdir(exist_ok=True)
        go_on.touch()
        state = until_it_ends(held, "chatty")
        assert (state.status, state.exit) == (JobStatus.EXITED, 3)
        assert state.output.startswith(b"x" * (1 << 20) + b"\nmainstay: what it printed beyond 1048576 bytes")
        assert len(state.output) < (1 << 20) + 100 and held.poll("chatty", state.offset).output == b""

    def test_a_host_tells_the_end_of_a_job_without_being_asked_again(self, rig: LoopbackRig, held: Shell) -> None:
        held.launch(Job("short", 'echo begun; until [ -e "$0.go" ]; do sleep 0.1; done; sleep 2; exit 3'), MINE)
        wait_until(lambda: held.poll("short").output == b"begun\n", "it runs", deadline=60)
        (rig.state_dir / "jobs/short/script.go").touch()
        found = held.poll("short", patience=60)
        assert (found.status, found.exit) == (JobStatus.EXITED, 3)

    def test_what_jobs_printed_does_not_stay_on_a_host_that_is_given_back(self, rig: LoopbackRig, held: Shell) -> None:
        """It has been read, and may be anything, a password too. How they ended stays, and what is still at work too."""
        for name in ("run-1-h-drain", "run-2-h-drain"):
            held.launch(Job(name, "echo the password is x; exit 3"), MINE)
            until_it_ends(held, name)
        held.launch(Job("run-1-h-late", "echo begun; exec sleep 600"), MINE)
        wait_until(lambda: held.poll("run-1-h-late").output == b"begun\n", "it runs", deadline=60)
        hostlock.release(held, MINE)
        printed = {path.parent.name: path.read_bytes() for path in rig.state_dir.glob("jobs/*/out")}
        assert printed == {
            "run-1-h-drain": b"",
            "run-2-h-drain": b"the password is x\n",
            "run-1-h-late": b"begun\n",
        }
        found = held.poll("run-1-h-drain", len("the password is x\n"))
        assert (found.status, found.exit, found.output) == (JobStatus.EXITED, 3, b"")

    def test_a_command_that_dies_of_a_signal_has_its_status(self, shell: Shell) -> None:
        assert shell.run(Command(("sh", "-c", "kill -9 $$"))).status == 137

    def test_a_truncated_upload_leaves_the_old_file(self, rig: LoopbackRig, held: Shell, tmp_path: Path) -> None:
        path = f"{rig.scratch}/file"
        held.put(b"old", path, fence=MINE)
        big = tmp_path / "big"
        big.write_bytes(b"x" * 60_000_000)
        part = Path(rig.scratch)

        def cut_when_it_flows() -> None:
            wait_until(
                lambda: any(f.stat().st_size > 1_000_000 for f in part.glob(".mainstay.*")), "bytes", deadline=60
            )
            rig.server.cut()

        threading.Thread(target=cut_when_it_flows, daemon=True).start()
        with pytest.raises(ContactLost):
            held.put(big, path, fence=MINE)
        wait_until(lambda: not list(part.glob(".mainstay.*")), "the part is gone", deadline=60)
        assert rig.content(path) == b"old"

    def test_a_folder_is_not_overwritten_by_a_file(self, rig: LoopbackRig, held: Shell) -> None:
        held.put(b"x", f"{rig.scratch}/folder/file", fence=MINE)
        with pytest.raises(ShellError, match="folder could not be written: it is a folder"):
            held.put(b"y", f"{rig.scratch}/folder", fence=MINE)

    def test_only_the_last_twenty_jobs_are_kept(self, rig: LoopbackRig, held: Shell) -> None:
        for number in range(23):
            held.launch(Job(f"job{number}", "exit 0"), MINE)
        until_it_ends(held, "job22")
        kept = {folder.name for folder in (rig.state_dir / "jobs").iterdir() if folder.is_dir()}
        assert "job22" in kept and "job0" not in kept
        assert 20 <= len(kept) <= 21

    def test_what_the_host_keeps_is_readable_and_its_jobs_are_roots(self, rig: LoopbackRig, held: Shell) -> None:
        held.launch(Job("private", "echo secret"), MINE)
        assert {
            name: rig.mode(f"{rig.state_dir}/{name}") for name in ("", "owner", "lock", "fence", "guard", "jobs")
        } == {
            "": 0o755,
            "owner": 0o644,
            "lock": 0o644,
            "fence": 0o644,
            "guard": 0o600,
            "jobs": 0o700,
        }
        assert rig.mode(f"{rig.state_dir}/jobs/private/script") == 0o600

    def test_a_newer_claim_waits_for_the_command_of_the_older_one(self, rig: LoopbackRig, held: Shell) -> None:
        """When a higher number is on the host, nothing with a lower one is running there any more."""
        mark = Path(rig.scratch + ".mark")
        script = 'touch "$1.begun"; sleep 1; touch "$1.ended"'
        command = Command(("sh", "-c", script, "sh", str(mark)), fence=MINE)
        worker = threading.Thread(target=held.run, args=(command,))
        worker.start()
        wait_until(Path(f"{mark}.begun").exists, "the older one's command runs", deadline=60)
        other = rig.shells.open(rig.host)
        hostlock.acquire(other, Fence(6, "state-a", "run-1", "acme"))
        assert Path(f"{mark}.ended").exists()
        worker.join()
        other.close()

    def test_a_hung_command_gives_the_guard_back(self, rig: LoopbackRig, held: Shell) -> None:
        with pytest.raises(DeadlineExceeded):
            held.run(Command(("sleep", "600"), fence=MINE, deadline=0.5))
        hostlock.acquire(held, Fence(6, "state-a", "run-1", "acme"))
        assert held.run(Command(("printf", "x"), fence=Fence(6, "state-a", "run-1"))).status == 0

"""What every Shell promises. Each adapter and the fake run the same tests; what differs between them is the rig."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from tests.fleet.system import wait_until

from mainstay.inventory.host import Host
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.contract import (
    Command,
    ContactLost,
    DeadlineExceeded,
    Fence,
    FenceRefused,
    FileMissing,
    ForwardRefused,
    HostKeyRefused,
    Job,
    JobState,
    JobStatus,
    Shell,
    ShellError,
    Shells,
    SudoRefused,
    Unreachable,
)

AWKWARD = "a b;$c `d` '\"\\ é * \n|&"
MINE = Fence(5, "state-a", "run-1", "acme")


class Rig(Protocol):
    """One host as a suite needs it: scratch is a folder on it that may be written."""

    shells: Shells
    host: Host
    scratch: str

    def content(self, path: str) -> bytes: ...
    def mode(self, path: str) -> int: ...
    def break_contact(self) -> None:
        """Every connection to the host breaks."""

    def lose_next(self, *argv: str) -> Command:
        """A command at which contact is lost in the middle."""

    def away(self, *, away: bool) -> None: ...
    def change_key(self) -> None: ...
    def forget_key(self) -> None: ...
    def reboot(self) -> None:
        """What runs there is gone, what was written is there."""

    def local(self) -> tuple[str, int]:
        """Where something listens on the controller's side."""

    def leads(self, port: int, to: tuple[str, int]) -> bool:
        """Whether what connects to the port of the host's loopback arrives there."""


class ShellSuite:
    @pytest.fixture
    def shell(self, rig: Rig) -> Iterator[Shell]:
        shell = rig.shells.open(rig.host)
        yield shell
        shell.close()

    @pytest.fixture
    def held(self, shell: Shell) -> Shell:
        hostlock.acquire(shell, MINE)
        return shell

    # -- commands

    def test_a_command_gives_both_streams_and_its_status(self, shell: Shell) -> None:
        output = shell.run(Command(("sh", "-c", "echo out; echo err >&2; exit 7")))
        assert (output.status, output.stdout, output.stderr) == (7, b"out\n", b"err\n")

    def test_arguments_arrive_as_they_are(self, shell: Shell) -> None:
        assert shell.run(Command(("printf", "%s", AWKWARD))).stdout == AWKWARD.encode()

    def test_stdin_and_environment_arrive(self, shell: Shell) -> None:
        assert shell.run(Command(("cat",), stdin=b"\x00\xff\n" * 1000)).stdout == b"\x00\xff\n" * 1000
        output = shell.run(Command(("sh", "-c", 'printf %s "$NAME"'), env={"NAME": AWKWARD}))
        assert output.stdout == AWKWARD.encode()

    def test_output_that_is_no_utf8_is_bytes(self, shell: Shell) -> None:
        assert shell.run(Command(("printf", r"\377\376"))).stdout == b"\xff\xfe"

    def test_a_program_that_is_not_there_is_an_answer(self, shell: Shell) -> None:
        assert shell.run(Command(("no-such-program",))).status == 127

    def test_what_is_over_the_limit_is_counted_and_head_and_tail_are_kept(self, shell: Shell) -> None:
        output = shell.run(Command(("seq", "1", "200000"), limit=1000))
        assert output.stdout.startswith(b"1\n2\n3\n") and output.stdout.endswith(b"199999\n200000\n")
        assert len(output.stdout) == 1000
        assert output.dropped == 1288895 - 1000

    def test_a_command_runs_as_root_or_as_somebody_else(self, shell: Shell) -> None:
        assert shell.run(Command(("id", "-un"), sudo=True)).text == "root\n"
        assert shell.run(Command(("id", "-un"), user="nobody")).text == "nobody\n"

    def test_a_fenced_command_has_no_more_rights_than_it_asks_for(self, rig: Rig, held: Shell) -> None:
        login = rig.host.ssh.user
        assert held.run(Command(("id", "-un"), fence=MINE)).text == f"{login}\n"
        assert held.run(Command(("id", "-un"), fence=MINE, sudo=True)).text == "root\n"
        assert held.run(Command(("id", "-un"), fence=MINE, user="nobody")).text == "nobody\n"

    def test_a_deadline_is_kept(self, shell: Shell) -> None:
        shell.run(Command(("printf", "on")))
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            shell.run(Command(("sleep", "60"), deadline=0.5))
        assert time.monotonic() - started < 45, "not as long as it sleeps"
        assert shell.run(Command(("printf", "on"))).stdout == b"on"

    @pytest.mark.parametrize("argv", [(), ("a\0b",)])
    def test_what_can_not_be_a_command_is_an_error(self, shell: Shell, argv: tuple[str, ...]) -> None:
        with pytest.raises(ValueError, match=r"program|NUL"):
            shell.run(Command(argv))

    def test_a_shell_for_reading_never_uses_sudo(self, rig: Rig, held: Shell) -> None:
        reading = rig.shells.open(rig.host, write=False)
        assert reading.run(Command(("printf", "fine"))).stdout == b"fine"
        for command in (Command(("id", "-un"), sudo=True), Command(("id", "-un"), fence=MINE)):
            with pytest.raises(SudoRefused, match="reading"):
                reading.run(command)
        with pytest.raises(SudoRefused):
            reading.launch(Job("j", ""), MINE)
        reading.close()

    # -- contact

    def test_a_broken_connection_is_opened_again(self, rig: Rig, shell: Shell) -> None:
        shell.run(Command(("printf", "x")))
        rig.break_contact()
        assert shell.run(Command(("printf", "again"))).stdout == b"again"

    def test_contact_lost_in_the_middle_is_said(self, rig: Rig, shell: Shell) -> None:
        shell.run(Command(("printf", "x")))
        with pytest.raises(ContactLost) as caught:
            shell.run(rig.lose_next("sleep", "20"))
        assert not isinstance(caught.value, DeadlineExceeded)
        assert caught.value.host == rig.host.name

    def test_a_host_that_is_away_is_unreachable(self, rig: Rig, shell: Shell) -> None:
        rig.away(away=True)
        with pytest.raises(Unreachable) as caught:
            shell.run(Command(("printf", "x")))
        assert not isinstance(caught.value, HostKeyRefused)
        rig.away(away=False)
        assert shell.run(Command(("printf", "x"))).stdout == b"x"

    def test_an_unknown_key_is_refused_with_what_to_do(self, rig: Rig, shell: Shell) -> None:
        rig.forget_key()
        with pytest.raises(HostKeyRefused, match="not known; nothing was sent") as caught:
            shell.run(Command(("printf", "x")))
        assert f"mainstay hosts trust {rig.host.name}" in str(caught.value.hint)

    def test_a_changed_key_is_refused_with_what_to_do(self, rig: Rig, shell: Shell) -> None:
        rig.change_key()
        with pytest.raises(HostKeyRefused, match=r"has changed.*nothing was sent") as caught:
            shell.run(Command(("printf", "x")))
        assert f"mainstay hosts trust {rig.host.name} --replace" in str(caught.value.hint)

    # -- owner, lock, fence

    def test_a_host_that_nobody_claimed_obeys_no_fence(self, shell: Shell) -> None:
        assert hostlock.read(shell) == hostlock.Holding()
        with pytest.raises(FenceRefused, match="claimed"):
            shell.run(Command(("printf", "x"), fence=MINE))

    def test_a_claim_is_seen_and_given_back(self, shell: Shell) -> None:
        assert hostlock.acquire(shell, MINE) == hostlock.Holding()
        assert hostlock.read(shell) == hostlock.Holding("acme", "state-a", "", "run-1", 5)
        assert shell.run(Command(("printf", "x"), fence=MINE)).stdout == b"x"
        hostlock.release(shell, MINE)
        assert hostlock.read(shell) == hostlock.Holding("acme", "state-a", "run-1", "", 5)
        hostlock.release(shell, MINE)
        with pytest.raises(FenceRefused, match="does not hold"):
            shell.run(Command(("printf", "x"), fence=MINE))

    def test_the_same_run_may_claim_again_also_with_a_higher_number(self, held: Shell) -> None:
        assert hostlock.acquire(held, MINE).lock_run == "run-1"
        newer = Fence(6, "state-a", "run-1", "acme")
        hostlock.acquire(held, newer)
        with pytest.raises(FenceRefused, match="newer commander, number 6"):
            held.run(Command(("printf", "x"), fence=MINE))
        with pytest.raises(FenceRefused, match="newer commander"):
            hostlock.acquire(held, MINE)
        with pytest.raises(FenceRefused, match="newer commander"):
            hostlock.release(held, MINE)
        assert held.run(Command(("printf", "x"), fence=newer)).status == 0

    def test_a_command_with_a_higher_number_raises_it(self, held: Shell) -> None:
        held.run(Command(("printf", "x"), fence=Fence(9, "state-a", "run-1", "acme")))
        assert hostlock.read(held).fence == 9
        with pytest.raises(FenceRefused):
            held.run(Command(("printf", "x"), fence=MINE))

    def test_another_run_waits_for_the_lock_or_takes_one_that_is_known_to_be_stale(self, held: Shell) -> None:
        other = Fence(7, "state-a", "run-2", "acme")
        with pytest.raises(FenceRefused, match="held by run run-1 since"):
            hostlock.acquire(held, other)
        with pytest.raises(FenceRefused, match="held by run run-1"):
            held.run(Command(("printf", "x"), fence=other))
        assert hostlock.read(held).fence == 5  # a refused one leaves nothing behind
        assert hostlock.acquire(held, other, stale=frozenset({"run-0", "run-1"})).lock_run == "run-1"
        hostlock.release(held, MINE)  # the old holder's, late: not held any more
        assert hostlock.read(held).lock_run == "run-2"

    def test_another_state_is_refused_until_it_adopts_on_purpose(self, held: Shell) -> None:
        theirs = Fence(1, "state-b", "run-x", "other site")
        with pytest.raises(FenceRefused, match='site "acme", state state-a') as caught:
            hostlock.acquire(held, theirs, stale=frozenset({"run-1"}))
        assert "mainstay hosts adopt" in str(caught.value.hint)
        with pytest.raises(FenceRefused, match="acme"):
            held.run(Command(("printf", "x"), fence=theirs))
        was = hostlock.adopt(held, theirs)
        assert (was.site, was.state, was.lock_run, was.fence) == ("acme", "state-a", "run-1", 5)
        with pytest.raises(FenceRefused, match="other site"):
            held.run(Command(("printf", "x"), fence=MINE))
        hostlock.acquire(held, theirs)
        assert held.run(Command(("printf", "x"), fence=theirs)).stdout == b"x"

    # -- files

    def test_a_file_is_written_whole_with_its_mode_and_parents(self, rig: Rig, held: Shell, tmp_path: Path) -> None:
        path = f"{rig.scratch}/new folder/it's.conf"
        held.put(b"\x00one\xff\n", path, fence=MINE)
        assert (rig.content(path), rig.mode(path)) == (b"\x00one\xff\n", 0o600)
        (tmp_path / "big").write_bytes(b"0123456789abcdef" * 200_000)
        held.put(tmp_path / "big", path, fence=MINE, mode=0o644)
        assert (rig.content(path), rig.mode(path)) == (b"0123456789abcdef" * 200_000, 0o644)
        held.put(b"", path, fence=MINE)
        assert rig.content(path) == b""

    def test_a_file_is_read_with_its_digest(self, rig: Rig, held: Shell) -> None:
        data = bytes(range(256)) * 5000
        held.put(data, f"{rig.scratch}/f", fence=MINE)
        into = io.BytesIO()
        assert held.get(f"{rig.scratch}/f", into, sudo=True) == hashlib.sha256(data).hexdigest()
        assert into.getvalue() == data
        with pytest.raises(ShellError, match="larger than"):
            held.get(f"{rig.scratch}/f", io.BytesIO(), sudo=True, limit=1000)
        with pytest.raises(FileMissing):
            held.get(f"{rig.scratch}/missing", io.BytesIO(), sudo=True)

    def test_files_and_jobs_obey_the_fence(self, rig: Rig, held: Shell) -> None:
        old = Fence(4, "state-a", "run-1", "acme")
        with pytest.raises(FenceRefused):
            held.put(b"x", f"{rig.scratch}/never", fence=old)
        with pytest.raises(FileMissing):
            held.get(f"{rig.scratch}/never", io.BytesIO(), sudo=True)
        with pytest.raises(FenceRefused):
            held.launch(Job("never", "exit 0"), old)
        assert held.poll("never").status is JobStatus.ABSENT

    # -- jobs

    def test_a_job_is_launched_once_and_its_end_is_kept(self, held: Shell) -> None:
        job = Job("once", 'echo "$1|$NAME"; echo err >&2; exit 3', ("a  b",), {"NAME": "it's"})
        held.launch(job, MINE)
        done = until_it_ends(held, "once")
        assert (done.status, done.exit, done.output) == (JobStatus.EXITED, 3, b"a  b|it's\nerr\n")
        held.launch(job, MINE)
        assert held.poll("once") == JobState(JobStatus.EXITED, 3, done.output, len(done.output))
        assert held.poll("once", done.offset) == JobState(JobStatus.EXITED, 3, b"", done.offset)

    def test_a_job_goes_on_without_us_and_is_found_again(self, rig: Rig, held: Shell) -> None:
        go = f"{rig.scratch}/go"
        held.launch(Job("long", 'echo begun; until [ -e "$1" ]; do sleep 0.1; done; echo ended', (go,)), MINE)
        assert held.poll("long").status is JobStatus.RUNNING
        rig.break_contact()
        again = rig.shells.open(rig.host)
        assert again.poll("long").status is JobStatus.RUNNING
        again.put(b"", go, fence=MINE)
        assert until_it_ends(again, "long").output == b"begun\nended\n"
        again.close()

    def test_a_job_that_was_killed_is_lost(self, rig: Rig, held: Shell) -> None:
        held.launch(Job("doomed", "echo begun; sleep 600"), MINE)
        rig.reboot()
        lost = held.poll("doomed")
        assert (lost.status, lost.exit) == (JobStatus.LOST, None)
        held.launch(Job("doomed", "echo twice"), MINE)
        assert held.poll("doomed").status is JobStatus.LOST

    def test_polling_goes_on_under_a_newer_commander(self, held: Shell) -> None:
        held.launch(Job("old-one", "echo hello"), MINE)
        hostlock.acquire(held, Fence(50, "state-a", "run-9", "acme"), stale=frozenset({"run-1"}))
        assert until_it_ends(held, "old-one").output == b"hello\n"

    def test_a_job_that_nobody_launched_is_absent(self, shell: Shell) -> None:
        assert shell.poll("nothing") == JobState(JobStatus.ABSENT)

    # -- forwards

    def test_a_forward_leads_from_the_host_to_the_controllers_side_while_it_is_open(
        self, rig: Rig, shell: Shell
    ) -> None:
        local = rig.local()
        with shell.forward(local) as port:
            assert 0 < port < 65536 and rig.leads(port, local)
            assert shell.run(Command(("printf", "meanwhile"))).stdout == b"meanwhile"
            with shell.forward(rig.local()) as other:
                assert other != port
            assert rig.leads(port, local)
        assert not rig.leads(port, local)

    def test_a_port_may_be_asked_for_and_is_free_again_afterwards(self, rig: Rig, shell: Shell) -> None:
        local = rig.local()
        with shell.forward(local) as port:
            with (
                pytest.raises(ForwardRefused, match=f"port {port} of its loopback is taken"),
                shell.forward(local, port),
            ):
                pass
            assert rig.leads(port, local)

        def free_again() -> bool:  # the host's sshd may need a moment to see that we have gone
            try:
                with shell.forward(local, port) as again:
                    return again == port and rig.leads(port, local)
            except ForwardRefused:
                return False

        wait_until(free_again, "the port is free", deadline=60)

    def test_a_forward_is_closed_also_by_an_error(self, rig: Rig, shell: Shell) -> None:
        local = rig.local()
        with pytest.raises(KeyError), shell.forward(local) as port:
            raise KeyError
        assert not rig.leads(port, local)

    def test_a_forward_outlives_a_broken_connection(self, rig: Rig, shell: Shell) -> None:
        local = rig.local()
        with shell.forward(local) as port:
            rig.break_contact()
            wait_until(lambda: rig.leads(port, local), "the forward is there again", deadline=60)

    def test_a_shell_for_reading_may_forward(self, rig: Rig) -> None:
        reading, local = rig.shells.open(rig.host, write=False), rig.local()
        with reading.forward(local) as port:
            assert rig.leads(port, local)
        reading.close()

    def test_nothing_is_forwarded_from_a_host_with_another_key(self, rig: Rig, shell: Shell) -> None:
        rig.change_key()
        with pytest.raises(HostKeyRefused, match="nothing was sent"), shell.forward(rig.local()):
            pass

    @pytest.mark.parametrize("name", ["", "../x", "a b", "x;y", "é"])
    def test_a_name_that_can_not_be_a_unit_is_an_error(self, shell: Shell, name: str) -> None:
        with pytest.raises(ValueError, match="name"):
            shell.poll(name)
        with pytest.raises(ValueError, match="name"):
            shell.launch(Job(name, ""), MINE)


def until_it_ends(shell: Shell, name: str, deadline: float = 60) -> JobState:
    """Polls on from each offset; returns the last state with all of the output."""
    output, offset, end = b"", 0, time.monotonic() + deadline
    while True:
        state = shell.poll(name, offset)
        output, offset = output + state.output, state.offset
        if state.status is not JobStatus.RUNNING:
            return JobState(state.status, state.exit, output, offset)
        assert time.monotonic() < end, f"{name} is still {state}"
        time.sleep(0.05)

"""Drills on a host, as far as they are words: what is made of a job that is whole, cut off, hostile; and what is refused."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import Any, cast

import pytest
from tests.unit.recovery.points import before, point
from tests.unit.recovery.tending.desk import World, plan

from mainstay.inventory.facts import Facts
from mainstay.inventory.secrets import Secret
from mainstay.recovery.backup.change import Program
from mainstay.recovery.proving.attempt import NotProved
from mainstay.recovery.proving.drawing import draw_dump
from mainstay.recovery.proving.far import output
from mainstay.recovery.proving.far.change import DrillChange, Take
from mainstay.recovery.proving.far.judging import tried
from mainstay.recovery.proving.far.operation import DrillOperation
from mainstay.recovery.proving.far.script import job_script
from mainstay.recovery.proving.order import DrillOrder
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.replies import Node
from mainstay.runner.operation import HostWork, Look
from mainstay.runner.shell import hostlock
from mainstay.runner.shell.contract import ContactLost, Fence
from mainstay.runner.shell.fake import FakeHost, FakeShells
from mainstay.runner.steps import HostFailed

TOKEN = "t" * 32
ACCESS = Access("main", "web1", "/srv/web1", Secret("x"), "maintain", "path")
FILES = Take(
    point="a" * 64,
    unit="etc",
    files=(Node(path="/etc/a", type="file", size=1), Node(path="/etc/b", type="file", size=2)),
    bytes=3,
    scope="2 of 9 files, 3 B",
)
DUMP = Take(
    point="b" * 64,
    unit="db/app",
    files=(Node(path="/app.dump", type="file", size=9),),
    bytes=9,
    order={"kind": "postgresql", "item": "app"},
)
ANSWER = {"verdict": "succeeded", "reason": "", "scope": "3 tables", "left_out": [], "roles": [], "limit": False}


def change(*takes: Take) -> DrillChange:
    return DrillChange(
        run="RUN1",
        host="drill1",
        of="web1",
        program=Program(path="/usr/bin/restic", version="0.18.0"),
        tool=Program(path="/s/bin/drill-0123", version="", sha256="0" * 64),
        state_dir="/s",
        memory="/run",
        token=TOKEN,
        seconds=60.0,
        takes=takes or (FILES,),
    )


def says(*words: object) -> str:
    return f"\n@mainstay {TOKEN} {' '.join(map(str, words))}\n"


def coded(data: Any) -> str:
    return base64.b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).decode()


def message(**data: Any) -> str:
    return json.dumps(data) + "\n"


GOOD = [
    *(says("swept", ""), says("begin", 0, 100), says("restored", 0, 0), says("compared", 0, 0, 2, 101)),
    *(says("watched", 0, 143, ""), says("links", 0, ""), says("gone", 0, 0, 102), says("done")),
]
PROVED = [
    *(says("begin", 0, 100), says("restored", 0, 0), says("compared", 0, 0, 1, 101)),
    *(
        says("watched", 0, 143, ""),
        says("links", 0, ""),
        says("proved", 0, 0, coded(ANSWER | {"measures": {"recover": 1.5}})),
        says("gone", 0, 0, 104),
        says("done"),
    ),
]


def judged(text: str, take: Take = FILES) -> tuple[str, str]:
    """(verdict, reason or scope)."""
    asked = change(take)
    job = output.JobSaid.from_json(output.read(text.encode(), asked).to_json())
    found, _ = tried(asked, 0, job, ACCESS)
    return found.verdict.value, found.reason or found.scope


def without(*words: object, of: list[str] = GOOD) -> list[str]:
    return [line for line in of if line != says(*words)]


def test_what_was_restored_and_compared_is_proved() -> None:
    assert judged("".join(GOOD)) == ("succeeded", "2 of 9 files, 3 B")
    assert judged("".join(PROVED), DUMP) == ("succeeded", "3 tables")
    found, measures = tried(change(DUMP), 0, output.read("".join(PROVED).encode(), change(DUMP)), ACCESS)
    assert measures == {"transfer": 2.5, "files": 1, "bytes": 9, "recover": 1.5}, found


@pytest.mark.parametrize("take", [FILES, DUMP])
def test_what_was_cut_off_anywhere_is_never_proved(take: Take) -> None:
    whole = "".join(GOOD if take is FILES else PROVED)
    settled = "".join(GOOD[:5] if take is FILES else PROVED[:6])
    for at in range(len(whole)):
        verdict, reason = judged(whole[:at], take)
        if at < len(settled):
            assert verdict == "unknown", (at, verdict, whole[:at])
            assert "the job was broken off" in reason
        assert verdict in ("succeeded", "unknown"), (at, verdict)


@pytest.mark.parametrize(
    ("lines", "verdict", "words"),
    [
        ([says("late", 0), says("done")], "refused", "max_time was over"),
        ([says("room", 0, 4), says("gone", 0, 0, 1), says("done")], "refused", "drill1 has 4.1 kB free"),
        (["there is no python3\n", says("unheld", 0, 127), says("done")], "unknown", "there is no python3"),
        (["process 7\n", says("unheld", 0, 71), says("done")], "failed", "no clean scratch place on drill1: process 7"),
        ([*GOOD[:2], says("restored", 0, 124), *GOOD[3:]], "refused", "max_time was over"),
        ([*GOOD[:3], says("compared", 0, 124, 0, 101), *GOOD[4:]], "refused", "max_time was over"),
        ([*GOOD[:2], says("restored", 0, 137), *GOOD[3:]], "unknown", "restic was killed on drill1"),
        (
            ["sh: restic: Argument list too long\n", *GOOD[:2], says("restored", 0, 126)],
            "unknown",
            "Argument list too long",
        ),
        ([*GOOD[:3], says("compared", 0, 0, 1, 101), *GOOD[4:]], "failed", "restic compared 1 of 2 files"),
        (
            [*GOOD[:6], "still there\n", says("gone", 0, 71, 102), says("done")],
            "failed",
            "could not be cleaned: still there",
        ),
        (
            [*GOOD[:2], "Fatal: unable to open config file: connection refused\n", says("restored", 0, 1), *GOOD[3:]],
            "unknown",
            "connection refused",
        ),
        ([*GOOD[:2], says("restored", 0, 11), *GOOD[3:]], "unknown", "could not be tried"),
        ([*GOOD[:2], says("restored", 0, 12), *GOOD[3:]], "failed", "password is wrong"),
    ],
)
def test_what_else_may_come_of_files(lines: list[str], verdict: str, words: str) -> None:
    found, reason = judged("".join(lines))
    assert found == verdict and words in reason, reason


def other(path: str) -> str:
    return message(message_type="verbose_status", action="updated", item=path, size=1)


def test_what_is_not_as_in_the_repository_is_named_with_restics_words() -> None:
    error = message(message_type="error", error={"message": "ciphertext verification failed"}, item="/etc/a")
    lines = [*GOOD[:2], error, says("restored", 0, 1), other("/etc/a"), says("compared", 0, 0, 1, 101), *GOOD[4:]]
    verdict, reason = judged("".join(lines))
    assert verdict == "failed" and reason.startswith("not as in the repository: /etc/a")
    assert "ciphertext verification failed" in reason
    # Folders on the way to a file are always among what a restore would write.
    lines = [*GOOD[:3], other("/etc"), *GOOD[3:]]
    assert judged("".join(lines))[0] == "succeeded"


def test_a_disk_that_was_full_does_not_speak_against_the_point() -> None:
    def judge(*errors: str) -> tuple[str, str]:
        said = [message(message_type="error", error={"message": one}, item="/etc/a") for one in errors]
        said.append(message(message_type="exit_error", code=1, message="Fatal: There were 2 errors"))
        lines = [*GOOD[:2], *said, says("restored", 0, 1), other("/etc/a"), says("compared", 0, 0, 1, 101), *GOOD[4:]]
        return judged("".join(lines))

    full = "write /s/scratch/a: no space left on device"
    assert judge(full) == ("refused", f"not tried: the disk of drill1 was full: {full}")
    # Not where something else is wrong too, or a name says so.
    assert judge(full, "ciphertext verification failed")[0] == "failed"
    assert judge("open /no space left on device: input/output error")[0] == "failed"


def test_a_point_that_was_removed_meanwhile_is_not_spoken_against() -> None:
    said = message(message_type="exit_error", code=1, message="Fatal: no matching ID found")
    text = "".join([*GOOD[:2], said, says("restored", 0, 1), says("compared", 0, 1, 0, 101), *GOOD[4:]])

    def judge(text: str, there: bool, take: Take = FILES) -> tuple[str, str]:
        found, _ = tried(change(take), 0, output.read(text.encode(), change(take)), ACCESS, lambda point: not there)
        return found.verdict.value, found.reason

    assert judge(text, there=True)[0] == "failed"
    verdict, reason = judge(text, there=False)
    assert verdict == "unknown" and "point aaaaaaaaaaaa is gone from the repository: retention" in reason
    # What was restored whole, and was no good, stays so.
    bad = {**ANSWER, "verdict": "failed", "reason": "pg_restore failed"}
    lines = [*PROVED[:5], says("proved", 0, 0, coded(bad)), *PROVED[6:]]
    assert judge("".join(lines), there=False, take=DUMP) == ("failed", "pg_restore failed")


def test_a_further_name_of_a_file_that_is_well_is_well() -> None:
    same = [*GOOD[:3], other("/etc/b"), says("compared", 0, 0, 1, 101), GOOD[4]]
    links = b"1:7 etc/a\0001:7 etc/b\0"
    assert judged("".join([*same, says("links", 0, coded(links)), *GOOD[6:]]))[0] == "succeeded"
    for wrong in (b"1:7 etc/a\0001:8 etc/b\0", b"1:7 etc/c\0001:7 etc/b\0", b"", b"\xff\0 \0", b"1:7 etc/b\0"):
        assert judged("".join([*same, says("links", 0, coded(wrong)), *GOOD[6:]]))[0] == "failed", wrong


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"null",
        b'"succeeded"',
        b'{"verdict": "green"}',
        b'{"verdict": ["succeeded"]}',
        b'{"verdict": "degraded"}',
        b"\xff\xfe",
    ],
)
def test_an_answer_that_is_none_proves_nothing(answer: bytes) -> None:
    lines = [*PROVED[:5], says("proved", 0, 0, coded(answer)), *PROVED[6:]]
    verdict, reason = judged("".join(lines), DUMP)
    assert verdict == "unknown" and "what proves dumps ended with 0 on drill1" in reason


def test_an_answer_is_cleaned_and_bounded() -> None:
    hostile = {
        **ANSWER,
        "verdict": "failed",
        "reason": "\x1b[2J" + "x" * 100_000,
        "left_out": ["\x07"] * 1000 + [{}],
        "measures": {"recover": "now", "verify": -1, "bytes": True, "files": 1e400, "more": 1},
    }
    said = output.read("".join([*PROVED[:5], says("proved", 0, 0, coded(hostile))]).encode(), change(DUMP))
    answer = said.takes["0"].answer
    assert "\x1b" not in answer["reason"] and len(answer["reason"]) <= 1001
    assert len(answer["left_out"]) == 100 and answer["measures"] == {}


def test_a_job_that_was_lost_is_known_by_what_its_machine_calls_itself() -> None:
    """What restic's locks say, wherever contact is lost: else one that is left there could be tied to no run."""
    asked = change().model_copy(update={"hostname": "drill1.example.com"})
    for text in (b"", "".join(GOOD).encode()):
        found = DrillOperation(order(), World().depot).outcome(asked, None, text)
        assert found.measures["job"]["hostname"] == "drill1.example.com"


def test_markers_of_nobody_are_no_markers() -> None:
    """Whoever is restored can't know the token; and what is no number is none."""
    forged = [line.replace(TOKEN, "f" * 32) for line in GOOD]
    assert judged("".join(forged))[0] == "unknown"
    for line in (
        "restored",
        "restored 0",
        "restored x y",
        "compared 0 ²",
        "gone",
        "proved 0 0 %%%",
        "begin 99 1",
        "begin -1 1",
    ):
        assert judged("".join([*GOOD[:2], says(line), says("done")]))[0] == "unknown", line
    assert output.read(says("swept", coded(b'{"removed": "A\\u001b"}\n[]\n{')).encode(), change()).swept == ("A",)


def test_the_region_of_a_storage_that_the_host_reaches_itself_is_told_to_restic() -> None:
    assert "AWS_DEFAULT_REGION" not in job_script(change())
    told = job_script(change().model_copy(update={"region": "eu-north 1", "download": 40}))
    assert "\nexport AWS_DEFAULT_REGION='eu-north 1'\n" in told
    assert "\npace='--limit-download 40'\n" in told


def test_the_script_holds_no_shell_of_others() -> None:
    odd = "/srv/it's; rm -rf $HOME `x` \\*"
    files = (Node(path=odd, type="file", size=1),)
    order = {"kind": "sqlite", "item": "o'clock", "unit": "db/o'clock", "checks": [{"query": "select '$(id)'"}]}
    text = job_script(change(FILES.model_copy(update={"files": files, "order": order})))
    assert "$(id)" in text and "'select '" not in text.replace("'\"'\"'", "")
    assert "x" not in change().places.removeprefix("RUN1-") and TOKEN not in change().places


# With a host that is only asked


def order(**prove: Any) -> DrillOrder:
    asked = plan().model_copy(update={"prove": plan().prove})
    return DrillOrder(plan=asked, points={"web1": (point(before(hours=1)),)}, on="drill1")


SEEN = "state /s\nmachine x86_64\nname drill1\nmemory /run\npath /usr/bin/restic\nrestic restic 0.18.0 compiled\n"


@pytest.mark.parametrize(
    ("lacks", "python", "why"),
    [
        ("", 0, ""),
        ("lacks timeout\n", 0, "a drill needs timeout there: install coreutils"),
        ("", 127, "a drill needs python3 there, 3.11 or newer: install python3"),
        ("", 1, "a drill needs python3 there, 3.11 or newer: install python3"),
    ],
)
def test_a_host_without_what_it_needs_is_refused_before_anything_is_begun(lacks: str, python: int, why: str) -> None:
    host = FakeHost("drill1")
    host.answer(lambda command: "uname -m" in command.argv[-1], SEEN + lacks)
    host.answer(lambda command: command.argv[0] == "python3", status=python)
    world = World()
    shell = FakeShells([host]).open(host.host())
    found = DrillOperation(order(), world.depot).preview(Look(host.host(), shell, Facts(), 0.0, {}))
    assert found.refused == why
    assert "it gets the password of web1's repository in its memory for the time of the drill" in found.notes


def work(host: FakeHost, asked: DrillChange, text: str) -> tuple[DrillOperation, HostWork, World]:
    """When the job has ended."""
    world = World()
    world.repository()
    operation = DrillOperation(order(), world.depot)
    shell, fence = FakeShells([host]).open(host.host()), Fence(1, "state", "RUN1")
    hostlock.acquire(shell, fence)
    found = operation.outcome(asked, None, text.encode()).measures
    made = HostWork("RUN1", host.host(), shell, fence, Facts(), cast(Any, None), found=found)
    return operation, made, world


def test_a_job_that_was_lost_leaves_proofs_that_say_so() -> None:
    host = FakeHost("drill1")
    host.answer(lambda command: "python3" in command.argv, '{"removed": "RUN1-x"}\n')
    host.answer(lambda command: command.argv[0] == "sh", "")
    operation, at, world = work(host, change(), "".join(GOOD[:3]))
    with pytest.raises(HostFailed, match=r"0 of 1 point proved.*the job was broken off"):
        operation.verify(at, change())
    (proof,) = world.points.proofs()
    assert (proof.verdict, proof.machine) == ("unknown", "drill1")
    (noted,) = world.points.tended()
    assert (noted.what, noted.verdict, noted.run) == ("prove", "failed", "RUN1")


def test_what_is_left_there_is_never_green() -> None:
    host = FakeHost("drill1")
    host.answer(lambda command: "python3" in command.argv, "")
    host.answer(lambda command: command.argv[0] == "sh", f"{change().places}-0\n")
    operation, at, world = work(host, change(), "".join(GOOD))
    with pytest.raises(HostFailed, match="still there after the drill: /s/scratch: RUN1-"):
        operation.verify(at, change())
    assert [one.verdict for one in world.points.proofs()] == ["failed"]


def test_a_host_that_is_away_then_leaves_no_proof() -> None:
    host = FakeHost("drill1")

    def lost(*_: Any) -> Any:
        raise ContactLost("drill1", "gone")

    operation, at, world = work(host, change(), "".join(GOOD))
    host.on(lambda command: True, lost)
    with pytest.raises(ContactLost):
        operation.verify(at, change())
    assert world.points.proofs() == [] and world.points.tended() == []


def test_a_point_that_is_gone_or_can_not_be_read_is_settled_before_the_job() -> None:
    world = World()
    world.repository()
    operation = DrillOperation(order(), world.depot)
    noting = operation.noting("RUN1", "drill1")
    (take,) = operation._takes(noting)
    assert take.verdict == "unknown" and "is gone from the repository" in take.reason and take.files == ()
    world.memory.away.add("/srv/web1")
    (take,) = operation._takes(noting)
    assert take.verdict == "unknown" and "could not be tried" in take.reason
    said, _ = tried(change(take), 0, output.JobSaid(done=True), ACCESS)
    assert said.verdict == "unknown" and replace(said, reason="").scope == ""


@pytest.mark.parametrize(
    ("path", "why"),
    [
        *((path, "leads out of the place") for path in ("/../../etc/shadow", "/a/../b", "/..")),
        *((path, "can't be asked for the dump") for path in ("/db\0.sql", "/db\ufffd.sql")),
    ],
)
def test_a_dump_whose_path_leads_elsewhere_or_can_not_be_named_is_none(path: str, why: str) -> None:
    class Listed:
        def ls(self, id: str, each: Any) -> None:
            each(Node(path=path, type="file", size=9))

    with pytest.raises(NotProved, match=why):
        draw_dump(cast(Any, Listed()), "a" * 64, 1000)

"""Samples that don't fit into an argument list, and names that mean something else to restic: by real restic."""

from __future__ import annotations

import pytest
from tests.unit.recovery.proving.drills import Drill
from tests.unit.recovery.restore.repositories import tree

from mainstay.runner.verdict import Verdict

pytestmark = pytest.mark.server

ODD = (
    *(
        "$HOME",
        "a$",
        "${HOME}",
        "$$",
        "#c",
        "!no",
        " lead",
        "end ",
        "end\t",
        "end\r",
        "end\u00a0",
        "end\u2028",
        "\u0085",
    ),
    *(
        "a\nb",
        "a\tb",
        "end\n",
        "\n",
        "\t",
        " ",
        "a\rb",
        "bs\\",
        "*",
        "**",
        "q?",
        "[a]",
        "[",
        "]",
        "^",
        "-",
        "\x01",
        "\ufeff",
    ),
)


@pytest.fixture
def drill(tmp_path_factory: pytest.TempPathFactory) -> Drill:
    return Drill(tmp_path_factory.mktemp("drill"))


def test_every_name_is_restored_and_no_other_for_it(drill: Drill) -> None:
    data = tree(drill.folder / "data", {name: f"of {name!r}" for name in ODD})
    tree(data / "in\n$HOME ", {"file ": "below such a folder"})
    point = drill.world.backup(data, source="data")
    restic = drill.world.depot.open(drill.world.repositories["main"], "web1")
    for number, names in enumerate((ODD[::2], ODD[1::2])):
        into = drill.folder / f"out{number}"
        restic.restore(point.id, str(into), include=[str(data / name) for name in names])
        assert {path.name for path in into.rglob("*") if path.is_file()} == set(names)
    said, _ = drill.do({"data": {"paths": [str(data)]}}, sample=100)
    (proof,) = drill.proofs()
    assert (proof.verdict, proof.left_out) == (Verdict.SUCCEEDED, ()), proof
    assert proof.scope.startswith(f"{len(ODD) + 1} of {len(ODD) + 1} files"), said


def test_a_sample_that_is_longer_than_an_argument_list_is_proved(drill: Drill) -> None:
    """Of 3 MB of names; 2 MB are what a program can be given."""
    deep = drill.folder / "/".join(["d" * 250] * 10)
    tree(deep, {f"{number:04}{'f' * 240}": f"{number}" for number in range(1_100)})
    drill.world.backup(drill.folder / ("d" * 250), source="data")
    drill.do({"data": {"paths": [str(drill.folder)]}}, sample=1_100)
    (proof,) = drill.proofs()
    assert proof.verdict is Verdict.SUCCEEDED and proof.scope.startswith("1,100 of 1,100 files"), proof

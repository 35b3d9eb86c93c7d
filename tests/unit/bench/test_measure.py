"""The measuring itself: if it were wrong, every figure would be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from bench.measure import Cost, Failed, measure, middle
from bench.table import COSTS, Part, costs, dump, load

BURN = "import time\nwhile time.process_time() < {0}: pass"


@pytest.mark.thorough
def test_the_whole_process_tree_counts_also_what_is_left_behind(tmp_path: Path) -> None:
    """A child of a child that outlives its parent, as ansible's ssh masters do."""
    burnt = tmp_path / "burnt"
    child = BURN.format(0.2) + f"\nopen({str(burnt)!r}, 'w').close()\ntime.sleep(60)"
    program = (
        "import pathlib, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True)\n"
        f"while not pathlib.Path({str(burnt)!r}).exists(): time.sleep(0.01)\n"
        "held = bytes([1]) * 60_000_000"
    )
    cost = measure([sys.executable, "-c", program], cwd=tmp_path)
    assert cost.cpu >= 0.2
    assert cost.wall < 30, "what was left behind is ended, not waited for"
    assert 55 < cost.peak < 150


def test_a_command_that_does_not_do_its_work_gives_no_figures(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="no such host"):
        measure([sys.executable, "-c", "raise SystemExit('no such host')"], cwd=tmp_path)
    assert measure([sys.executable, "-c", "exit(3)"], cwd=tmp_path, ends=lambda status: status == 3).status == 3


def test_a_table_says_how_many_times_as_much_the_others_take() -> None:
    found = {"ours": middle([Cost(2, 1, 10), Cost(9, 9, 90), Cost(1, 0.5, 9)]), "theirs": Cost(5, 4, 30)}
    part = Part("Title", "scripts/bench part", COSTS, costs(found, "ours"), notes=("a note",))
    assert list(part.rows[1]) == ["theirs", "5.00 s", "2.50", "4.00 s", "4.00", "30 MB"]
    (again,) = load(dump([part]))
    assert again.markdown() == part.markdown()
    assert "| ours | 2.00 s | 1.00 | 1.00 s | 1.00 | 10 MB |" in part.markdown()

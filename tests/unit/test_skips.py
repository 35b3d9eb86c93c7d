"""What CI does not run, nobody runs: where CI=true a skip is a failure. Long sweeps wait until they are asked for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.thorough]

ROOT = Path(__file__).parents[2]

TESTS = {
    "test_one.py": "import pytest\n\ndef test_skips() -> None:\n    pytest.skip('no such tool')\n",
    "test_all.py": "import pytest\npytest.skip('no such module', allow_module_level=True)\n",
    "test_long.py": "import pytest\n\n@pytest.mark.long\ndef test_sweep() -> None:\n    pass\n",
    "test_well.py": "def test_well() -> None:\n    pass\n",
}

MANY = """
from pathlib import Path
from hypothesis import given, strategies
tried = []

@given(strategies.integers())
def test_each(number):
    tried.append(number)
    Path(__file__).with_name("tried").write_text(str(len(tried)))
"""


def outcome(tests: Path, *options: str, ci: str = "") -> str:
    for name, text in TESTS.items():
        (tests / name).write_text(text)
    (tests / "pytest.ini").write_text("[pytest]\nmarkers =\n    long\n    thorough\n    fleet\n    xdist_group\n")
    plugins = ["-p", "xdist.plugin", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    argv = [sys.executable, "-m", "pytest", *plugins, "-rfsE", *options, str(tests)]
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # for speed
    done = subprocess.run(argv, cwd=tests, env=environment, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_outside_ci_a_skip_is_a_skip(tmp_path: Path) -> None:
    said = outcome(tmp_path)

    assert "1 passed, 2 skipped, 1 deselected" in said


@pytest.mark.parametrize("workers", ["0", "1"])
def test_in_ci_a_skip_is_a_failure_that_says_what_was_missing(tmp_path: Path, workers: str) -> None:
    said = outcome(tmp_path, "--continue-on-collection-errors", "-n", workers, ci="true")

    assert "CI allows no skip: Skipped: no such tool" in said
    assert "CI allows no skip: Skipped: no such module" in said
    assert " skipped" not in said.splitlines()[-1]


def test_long_sweeps_run_when_asked_for(tmp_path: Path) -> None:
    assert "2 passed, 2 skipped in" in outcome(tmp_path, "--long")


def test_brief_leaves_out_the_thorough_ones_and_most_examples(tmp_path: Path) -> None:
    (tmp_path / "test_sweeps.py").write_text(
        "import pytest\n\n@pytest.mark.thorough\ndef test_sweep() -> None:\n    pass\n"
    )
    (tmp_path / "test_many.py").write_text(MANY)
    assert "3 passed, 2 skipped, 1 deselected" in outcome(tmp_path)
    assert (tmp_path / "tried").read_text() == "100"
    assert "2 passed, 2 skipped, 2 deselected" in outcome(tmp_path, "--brief")
    assert (tmp_path / "tried").read_text() == "20"

"""The house plan, checked: every room in every table, one arrow, the outside world through adapters only, a quick start."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOL = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
ROOMS: list[str] = TOOL["hatch"]["build"]["dev-mode-dirs"]
BELOW_CONSOLE = [room for room in ROOMS if room != "console"]
BEGINS = re.compile(r"\s*(async def|def|class) ")
HEAVY = {"pydantic", "sqlalchemy", "alembic", "psycopg", "dbos", "paramiko", "fabric", "rich", "structlog", "boto3"}


def test_every_room_holds_one_package_of_its_own_name() -> None:
    """A stray <room>/mainstay/__init__.py would hide all the other rooms."""
    for room in ROOMS:
        inside = {p.name for p in (ROOT / room / "mainstay").iterdir()}
        assert inside - {"__pycache__"} == {room}


def test_all_tools_know_the_same_rooms() -> None:
    """A room missing from one table would be unshipped, untyped or unmeasured."""
    wheel = TOOL["hatch"]["build"]["targets"]["wheel"]

    assert sorted(p.parent.name for p in ROOT.glob("*/mainstay")) == sorted(ROOMS)
    assert wheel["sources"] == ROOMS
    assert wheel["only-include"] == [f"{room}/mainstay" for room in ROOMS]
    assert TOOL["mypy"]["mypy_path"].split(":") == ROOMS
    assert TOOL["mypy"]["files"] == [*ROOMS, "tests", "scripts", "bench"]
    assert TOOL["coverage"]["run"]["source"] == ROOMS
    assert TOOL["ruff"]["src"] == ROOMS
    packages = [f"mainstay.{room}" for room in ROOMS]
    assert TOOL["importlinter"]["root_packages"] == packages


def test_every_package_can_be_found_by_the_tools() -> None:
    """Without its __init__.py a folder is left out by import-linter, and nothing would say so."""
    folders = {file.parent for room in ROOMS for file in (ROOT / room / "mainstay" / room).rglob("*.py")}

    assert [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").exists()] == []


def too_long(name: str, text: str) -> list[str]:
    """What of a file is longer than it may be: a file of 400 lines, or a function of 70, has a piece that wants its own name."""
    lines = text.splitlines()
    found = [f"{name}: {len(lines)} lines"] if len(lines) > 400 else []
    begun = [(at, len(line) - len(line.lstrip())) for at, line in enumerate(lines) if BEGINS.match(line)]
    # To parse all of them would take seconds: a function ends at the latest where another begins beside it.
    far = any(
        next((other for other, depth in begun[n + 1 :] if depth <= begun[n][1]), len(lines)) - at > 70
        for n, (at, _) in enumerate(begun)
    )
    for node in ast.walk(ast.parse(text)) if far else ():
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            count = (node.end_lineno or node.lineno) - node.lineno + 1
            found += [f"{name}:{node.lineno} {node.name}: {count} lines"] if count > 70 else []
    return found


def test_files_and_functions_are_short() -> None:
    """Of the product, its tests and its tools alike, with no exception."""
    files = [file for folder in TOOL["mypy"]["files"] for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 700, "they were looked at"
    assert [told for file in files for told in too_long(str(file.relative_to(ROOT)), file.read_text())] == []


def test_what_is_too_long_is_told() -> None:
    function = "def f():\n" + "    pass\n" * 70
    assert too_long("a.py", "x = 1\n" * 400) == too_long("a.py", function.removesuffix("    pass\n")) == []
    assert too_long("a.py", "x = 1\n" * 401) == ["a.py: 401 lines"]
    assert too_long("a.py", f"class A:\n  async {function}\ndef g(): ...\n") == ["a.py:2 f: 71 lines"]


def lint_imports(rooms: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "lint-imports"
    path = os.pathsep.join(str(rooms / room) for room in ROOMS)
    argv = [str(program), "--no-cache", "--no-logo", "--config", str(rooms / "pyproject.toml")]
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    return subprocess.run(argv, cwd=rooms, env=environment, capture_output=True, text=True, check=False)


def plant(rooms: Path, module: str, line: str) -> None:
    """Add a module with one import; the folders on its way become packages."""
    room = module.split(".")[1]
    file = rooms / room / (module.replace(".", "/") + ".py")
    file.parent.mkdir(parents=True, exist_ok=True)
    for folder in file.relative_to(rooms / room / "mainstay").parents[:-1]:
        (rooms / room / "mainstay" / folder / "__init__.py").touch()
    file.write_text(f"{line}\n")


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """A copy of all rooms, to plant violations in."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.thorough
def test_a_foreign_package_is_found_in_every_room_unless_in_an_adapter(rooms: Path) -> None:
    for room in BELOW_CONSOLE:
        plant(rooms, f"mainstay.{room}.planted", "import sqlalchemy.orm")
        plant(rooms, f"mainstay.{room}.concern.planted", "from paramiko import Transport")
        plant(rooms, f"mainstay.{room}.concern.adapters.planted", "import dbos")
        plant(rooms, f"mainstay.{room}.concern.adapters.deeper.planted", "import boto3")

    report = lint_imports(rooms)

    assert report.returncode == 1, report.stderr
    for room in BELOW_CONSOLE:
        assert f"mainstay.{room}.planted -> sqlalchemy" in report.stdout
        assert f"mainstay.{room}.concern.planted -> paramiko" in report.stdout
    assert ".adapters." not in report.stdout


@pytest.mark.thorough
def test_an_arrow_that_points_up_is_found_between_any_two_rooms(rooms: Path) -> None:
    """ROOMS stands in the order of the house, from the bottom."""
    upward = [(lower, upper) for i, lower in enumerate(ROOMS) for upper in ROOMS[i + 1 :]]
    for lower, upper in upward:
        plant(rooms, f"mainstay.{upper}.planted_in_{upper}", "")
        plant(rooms, f"mainstay.{lower}.planted_to_{upper}", f"from mainstay.{upper} import planted_in_{upper}")

    report = lint_imports(rooms)

    assert report.returncode == 1, report.stderr
    for lower, upper in upward:
        assert f"mainstay.{lower}.planted_to_{upper} -> mainstay.{upper}" in report.stdout


def test_help_imports_nothing_heavy() -> None:
    """Each verb imports what it needs: together these take a second, and help is what people ask for first."""
    program = (
        "import sys\n"
        "sys.argv = ['mainstay', '--help']\n"
        "from mainstay.console import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print('modules:', *sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    help_text, _, modules = said.rpartition("modules:")
    assert "Usage: mainstay" in help_text
    assert HEAVY & set(modules.split()) == set()

"""The tool that proves dumps elsewhere: what it is made of, what it is told and says, and that nothing of it stays."""

from __future__ import annotations

import ast
import io
import json
import os
import signal
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.unit.recovery.proving.tools import PYTHON, Tool
from tests.waiting import until

from mainstay.inventory.errors import UsageError
from mainstay.recovery.proving import scratch
from mainstay.recovery.proving.scratch import Place
from mainstay.recovery.proving.tool import archive
from mainstay.recovery.proving.tool.handed import Order

pytestmark = [pytest.mark.thorough]


@pytest.fixture
def tool(tmp_path: Path) -> Tool:
    return Tool(tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    made = sqlite3.connect(path)
    made.execute("CREATE TABLE t (a, at)")
    made.executemany("INSERT INTO t VALUES (?, '2026-11-22 11:00:00')", [(n,) for n in range(2000)])
    made.commit()
    made.close()
    return path


def check(query: str, **more: Any) -> dict[str, Any]:
    return {"source": "db", "database": "app", "query": query, **more}


def ended(pid: int) -> bool:
    """Whoever is its parent by now may not have asked how."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


# What it is made of


def test_it_is_the_same_whenever_it_is_built(tool: Tool) -> None:
    code = "import sys; from mainstay.recovery.proving.tool.archive import build; sys.stdout.buffer.write(build())"
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    other = subprocess.run([sys.executable, "-c", code], env=env, cwd="/", check=True, capture_output=True).stdout
    assert other == tool.path.read_bytes()


def test_it_is_built_from_where_its_modules_are_no_files(tool: Tool, tmp_path: Path) -> None:
    with zipfile.ZipFile(tool.path, "a") as packed:
        packed.writestr("mainstay/recovery/proving/tool/archive.py", archive.__loader__.get_data(archive.__file__))  # type: ignore[union-attr] # a SourceLoader
    code = f"import sys; sys.path.insert(0, {str(tool.path)!r})\n"
    code += "from mainstay.recovery.proving.tool.archive import build; sys.stdout.buffer.write(build())"
    assert subprocess.run([*PYTHON, "-c", code], check=True, capture_output=True).stdout == archive.build()


def test_it_holds_what_it_imports_and_nothing_else(tool: Tool) -> None:
    """Without site-packages: whatever else it imported would be missing."""
    code = f"import sys; sys.path.insert(0, {str(tool.path)!r})\n"
    code += "import mainstay.recovery.proving.tool.main, mainstay.recovery.proving.sqlite; print(*sorted(sys.modules))"
    done = subprocess.run([*PYTHON, "-c", code], check=True, capture_output=True, text=True)
    ours = [name for name in done.stdout.split() if name.startswith("mainstay.")]
    assert ours == sorted(archive.MODULES)


def test_nothing_in_it_imports_later_what_it_does_not_hold() -> None:
    """Imports inside of functions too; those for the types alone are none."""
    allowed = {*sys.stdlib_module_names, *archive.MODULES}
    with zipfile.ZipFile(io.BytesIO(archive.build())) as packed:
        for path in packed.namelist():
            tree = ast.parse(packed.read(path))
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    names = [one.name for one in node.names]
                elif isinstance(node, ast.ImportFrom):
                    names = [node.module or "."]
                else:
                    continue
                for name in names:
                    known = name if name.startswith("mainstay.") else name.split(".")[0]
                    assert known in allowed, f"{path} imports {name}"


def test_an_older_python_is_told_what_is_lacking(tool: Tool) -> None:
    ast.parse(archive.MAIN, feature_version=(3, 0))
    code = f"import runpy, sys; sys.version_info = (3, 9, 2); runpy.run_path({str(tool.path)!r}, run_name='__main__')"
    done = subprocess.run([*PYTHON, "-c", code], check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (69, "")
    assert done.stderr == "it needs Python 3.11 or newer, and python3 is 3.9 here\n"


def test_a_python_without_a_part_of_its_library_is_told(tool: Tool, database: Path) -> None:
    run = f"import runpy, sys; sys.argv[1:] = ['sweep', {str(tool.root)!r}]; sys.modules['{{}}'] = None\n"
    run += f"runpy.run_path({str(tool.path)!r}, run_name='__main__')"
    done = subprocess.run([*PYTHON, "-c", run.format("csv")], check=False, capture_output=True, text=True)
    assert done.returncode == 69 and done.stderr.startswith("python3 is not whole here: ") and "csv" in done.stderr
    # What asks SQLite is a Python of its own.
    lacking = tool.folder / "python"
    code = 'import sys; sys.modules["_sqlite3"] = None; exec(sys.argv.pop(1))'
    lacking.write_text(f"#!/bin/sh\nshift 3\nexec {sys.executable} -I -S -c '{code}' \"$@\"\n")
    lacking.chmod(0o755)
    order = tool.order(database, kind="sqlite")
    code = run.format("none").replace("'sweep'", "'prove'").replace(str(tool.root), str(order))
    code = f"import sys; sys.executable = {str(lacking)!r}\n{code}"
    answer = json.loads(tool.run("hold", tool.root, "place", "--", *PYTHON, "-c", code).stdout)
    assert answer["verdict"] == "unknown" and "has a Python without sqlite3" in answer["reason"]


# Orders and answers


def test_a_dump_is_proved_and_nothing_stays(tool: Tool, database: Path) -> None:
    asked = [
        check("SELECT count(*) FROM t", equals="2000"),
        check("SELECT max(at) FROM t", equals=None, at_least=None, newer_than=7200.0),
    ]
    answer = tool.prove(database, kind="sqlite", checks=asked)
    measures = answer.pop("measures")
    assert {"recover", "verify"} <= set(measures) and measures["bytes"] == database.stat().st_size
    assert answer.pop("scope").endswith("2 assertions held")
    assert answer == {"verdict": "succeeded", "reason": "", "left_out": [], "roles": [], "limit": False}


def test_a_database_is_opened_by_somebody_without_rights(tool: Tool, database: Path) -> None:
    """It may be made to break the library that reads it: then that is all that is reached."""
    closed = tool.folder / "closed.db"
    with sqlite3.connect(closed) as made:
        made.execute("CREATE TABLE secret AS SELECT 'x' AS n")
    made.close()
    closed.chmod(0o600)
    asked = [check(f"ATTACH 'file:{closed}?mode=ro' AS closed", equals="")]
    answer = tool.prove(database, kind="sqlite", checks=asked)
    assert "could not be asked: unable to open database" in answer["reason"], answer


def test_rights_are_given_up_for_good(tool: Tool) -> None:
    code = "import ctypes, os, resource; from mainstay.recovery.proving.sqlite_asking import drop\n"
    code += "drop(ctypes, resource, 65534, 65534); print(open('/proc/self/status').read()); "
    for call in ("os.setuid(0)", "os.setgid(0)", "os.fork()"):
        code += f"\ntry: {call}; print('done')\nexcept OSError: pass"
    code = f"import sys; sys.path.insert(0, sys.argv[1])\n{code}"
    said = subprocess.run([*PYTHON, "-c", code, str(tool.path)], check=True, capture_output=True, text=True).stdout
    lines = {line.split(":")[0]: line.split(":")[1].split() for line in said.splitlines() if ":" in line}
    assert lines["Uid"] == lines["Gid"] == ["65534"] * 4 and lines["Groups"] == []
    assert lines["NoNewPrivs"] == ["1"] and lines["CapEff"] == ["0" * 16] and "done" not in said


def test_who_is_nobody_else_has_no_more_rights_than_a_user_either(tool: Tool) -> None:
    code = "import ctypes, resource, sys; sys.path.insert(0, sys.argv[1])\n"
    code += "from mainstay.recovery.proving.sqlite_asking import drop\n"
    code += "drop(ctypes, resource); print(open('/proc/self/status').read())"
    said = subprocess.run([*PYTHON, "-c", code, str(tool.path)], check=True, capture_output=True, text=True).stdout
    rights = {line.split(":")[0]: line.split(":")[1].strip() for line in said.splitlines() if line.startswith("Cap")}
    assert [rights[f"Cap{of}"] for of in ("Inh", "Prm", "Eff", "Amb")] == ["0" * 16] * 4


def test_what_is_wrong_with_a_dump_is_an_answer(tool: Tool, database: Path) -> None:
    stale = tool.prove(database, kind="sqlite", checks=[check("SELECT max(at) FROM t", newer_than=600)])
    assert stale["verdict"] == "failed" and stale["reason"].startswith("stale: ")
    early: dict[str, Any] = {"at": "2026-11-22T10:00:00Z", "checks": [check("SELECT max(at) FROM t", newer_than=600)]}
    future = tool.prove(database, kind="sqlite", **early)
    assert future["verdict"] == "failed" and future["reason"].startswith("from the future: ")
    assert tool.prove(database, kind="sqlite", made_at="2026-11-22T10:55:00Z", **early)["verdict"] == "succeeded"
    whole = database.read_bytes()
    cut = tool.folder / "cut.db"
    cut.write_bytes(whole[: len(whole) // 2])
    assert "SQLite can't read it" in tool.prove(cut, kind="sqlite")["reason"]
    other = tool.prove(cut, kind="sqlite", size=len(whole))
    assert other["verdict"] == "failed" and "were restored, and the point says" in other["reason"]
    gone = tool.prove(tool.folder / "gone", kind="sqlite", size=1)
    assert gone["reason"] == "the restored dump can't be read: No such file or directory"
    late = tool.prove(database, kind="sqlite", seconds=0)
    assert (late["verdict"], late["limit"], late["left_out"]) == ("refused", True, ["db/app: max_time was over"])
    link = tool.folder / "link"
    link.symlink_to(database)
    assert tool.prove(link, kind="sqlite", size=len(whole))["reason"] == "what was restored is no file"


def test_what_this_machine_lacks_leaves_it_open(tool: Tool) -> None:
    dump = tool.folder / "shop.sql"
    dump.write_text("CREATE TABLE t (a int);\n-- Dump completed\n")
    answer = tool.prove(dump, path="/nonexistent", kind="mysql", machine="drill1")
    assert (answer["verdict"], answer["limit"]) == ("unknown", False)
    assert answer["reason"].startswith("not tried: drill1 has no mariadb: install the packages")
    dump.write_bytes(b"PGDMP of whatever")
    order = tool.order(dump, kind="postgresql")
    code = f"import sys; sys.path.insert(0, {str(tool.path)!r})\n"
    code += "from mainstay.recovery.proving import pgdump; pgdump.installed = dict\n"
    code += f"from mainstay.recovery.proving.tool.main import main; sys.exit(main(['prove', {str(order)!r}]))"
    done = tool.run("hold", tool.root, "place", "--", *PYTHON, "-c", code)
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "unknown"
    assert answer["reason"] == "not tried: this machine has no PostgreSQL server: install the package postgresql"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": None}, "kind: it is no text"),
        ({"kind": "paths"}, "kind: paths is none of postgresql, mysql, sqlite"),
        ({"at": "2026-11-22T12:00:00"}, "at: '2026-11-22T12:00:00' is no time with a zone"),
        ({"made_at": "2026-11-22"}, "made_at: '2026-11-22' is no time with a zone"),
        ({"file": "app.db"}, "file: it is no absolute path"),
        ({"size": True}, "size: it is no number of bytes"),
        ({"seconds": float("nan")}, "seconds: it is no number"),
        ({"roles": "owner"}, "roles: it is no list of names"),
        ({"checks": {}}, "checks: it is no list"),
        ({"checks": [{"source": "db"}]}, "checks: database: it is missing"),
        ({"checks": [check("SELECT 1")]}, "checks: it is exactly one of"),
        ({"checks": [check("SELECT 1", equals="1", at_least=1)]}, "checks: it is exactly one of"),
        ({"checks": [check("SELECT 1", equals=1)]}, "checks: equals: it is not what it should be"),
        ({"checks": [check("SELECT 1", at_least="1")]}, "checks: at_least: it is not what it should be"),
        ({"more": 1}, "more: there is no such key"),
    ],
)
def test_an_order_that_is_wrong_is_refused(tool: Tool, database: Path, change: dict[str, Any], said: str) -> None:
    order = json.loads(tool.order(database, kind="sqlite").read_text())
    path = tool.write({**order, **change})
    with pytest.raises(UsageError) as refused:
        Order.read(path)
    assert refused.value.message.startswith(f"{path} is no order: {said}")


def test_a_command_that_is_wrong_is_refused(tool: Tool, database: Path) -> None:
    order = tool.order(database, kind="sqlite")
    assert "nobody holds the place" in tool.run("prove", order, status=64).stderr
    data = json.loads(order.read_text())
    del data["size"]
    assert "size: it is missing" in tool.run("prove", tool.write(data), status=64).stderr
    assert "it is no object" in tool.run("prove", tool.write([]), status=64).stderr
    assert "is no order" in tool.run("prove", tool.folder / "gone.json", status=64).stderr
    assert "it is one of" in tool.run(status=64).stderr
    assert "it is one of" in tool.run("hold", tool.root, "place", "--", status=64).stderr
    assert "is no name of a folder" in tool.run("hold", tool.root, "../place", "--", "true", status=64).stderr
    open_ = tool.folder / "open"
    open_.mkdir()
    open_.chmod(0o755)
    (open_ / "others").mkdir()
    assert "is no folder of ours alone" in tool.run("sweep", open_, status=64).stderr
    assert (open_ / "others").is_dir()


# Places


def test_a_place_is_there_as_long_as_its_program_runs(tool: Tool) -> None:
    code = 'pwd; cat; echo "$MAINSTAY_PLACE"; exit 5'
    done = subprocess.run(tool.held("sh", "-c", code), input="given\n", capture_output=True, text=True, check=False)
    place = str(tool.root / "place")
    assert (done.returncode, done.stdout) == (5, f"{place}\ngiven\n{place}\n")
    assert list(tool.root.iterdir()) == []
    assert "there is no program" in tool.run("hold", tool.root, "place", "--", "/gone", status=127).stderr
    tool.run("hold", tool.root, "place", "--", "sh", "-c", "kill -9 $$", status=128 + signal.SIGKILL)
    assert list(tool.root.iterdir()) == []


def test_what_a_program_leaves_behind_ends_with_it(tool: Tool) -> None:
    done = tool.run("hold", tool.root, "place", "--", "sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!")
    until(lambda: ended(int(done.stdout)))


def test_a_signal_lets_what_works_there_end_and_cleans_the_place(tool: Tool) -> None:
    code = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit('told'))\n"
    code += "print('ready', file=sys.stderr); signal.pause()"
    with subprocess.Popen(tool.held(*PYTHON, "-c", code), stderr=subprocess.PIPE, text=True) as holder:
        assert holder.stderr is not None
        assert holder.stderr.readline() == "ready\n"
        holder.terminate()
        assert holder.stderr.readline() == "told\n"
        assert holder.wait(90) == 128 + signal.SIGTERM
    assert list(tool.root.iterdir()) == []


def test_a_place_that_was_killed_is_swept_and_one_that_is_held_is_not(tool: Tool) -> None:
    with subprocess.Popen(
        tool.held("sh", "-c", "echo $$; exec sleep 600"), stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        sleeper = int(holder.stdout.readline())
        elsewhere = Place(tool.root / "place").elsewhere(os.geteuid(), os.getegid())
        assert tool.run("sweep", tool.root).stdout == ""
        assert not ended(sleeper)
        holder.kill()
        holder.wait(90)
        assert tool.run("sweep", tool.root).stdout == '{"removed": "place"}\n'
    until(lambda: ended(sleeper))
    assert list(tool.root.iterdir()) == [] and not elsewhere.exists()
    assert scratch.working_in([tool.root]) == []
    assert tool.run("sweep", tool.root).stdout == ""

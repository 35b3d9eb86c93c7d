"""The servers that tests start for themselves: that they are what tests take them for."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.fleet.system import FleetError
from tests.servers import restic as binaries
from tests.servers.mariadb import running
from tests.servers.restic import folder, rclone, restic, version


def test_each_name_is_a_restic_of_its_line() -> None:
    assert (0, 17, 1) <= version(restic("oldest")) <= version(restic("newest")) >= (0, 19)
    assert folder() / "restic" == restic("newest")
    assert (folder("oldest") / "rclone").samefile(rclone())


def test_what_can_not_be_had_is_said_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    there = restic("newest").parent.parent
    monkeypatch.setattr(binaries, "_fetched", lambda: there)
    monkeypatch.setattr(binaries, "LEAST", {**binaries.LEAST, "newest": (99,)})

    with pytest.raises(FleetError, match=r"no restic 99 or newer \(newest\) can be had here.*have 0\."):
        restic.__wrapped__("newest")


@pytest.mark.server
def test_mariadb_answers_asks_for_passwords_comes_back_and_takes_nothing_from_another() -> None:
    # One that starts removes the temporary tables that it finds, whosever they are.
    theirs = Path(tempfile.gettempdir()) / f"#sql-temptable-{os.getpid()}-tests.MAI"
    theirs.touch()
    with ExitStack() as after:
        after.callback(theirs.unlink, missing_ok=True)
        server = after.enter_context(running())
        assert theirs.exists()
        server.execute("CREATE DATABASE shop; CREATE TABLE shop.item (id INT PRIMARY KEY) ENGINE=InnoDB")
        server.execute("INSERT INTO item VALUES (1), (2)", database="shop")
        server.stop()
        server.start()

        assert server.execute("SELECT COUNT(*) FROM item", database="shop") == [["2"]]
        with pytest.raises(FleetError, match="Access denied"):
            server.execute("SELECT 1", user="mainstay")
    assert not server.folder.exists()

"""Which snapshot belongs to what, by its tags alone."""

from __future__ import annotations

from mainstay.recovery.backup.change import BackupChange, Item, Program


def test_a_name_can_t_become_another_tag() -> None:
    item = Item(source="db", name="a,run=OTHER, b", kind="mysql", filename="x.sql")
    tags = item.tags("RUN1", "nightly")
    assert tags == (
        "mainstay",
        "run=RUN1",
        "plan=nightly",
        "source=db",
        "item=a%2Crun=OTHER%2C%20b".replace("=OTHER", "%3DOTHER"),
    )
    assert not any("," in tag or " " in tag for tag in tags)
    assert Item(source="files", kind="paths").tags("R", "p")[-1] == "source=files"
    assert Item(source="files", kind="paths").tags("R", "p", "a,b")[-1] == "state=a%2Cb"


def test_another_process_reads_what_this_one_has_settled() -> None:
    change = BackupChange(
        run="R",
        host="h",
        items=(Item(source="db", name="x", kind="globals"),),
        lost={"gone": "why"},
        program=Program(path="/usr/bin/restic", version="0.18.0"),
        state_dir="/s",
        memory="/run",
        token="t" * 32,
        port=4711,
    )
    assert BackupChange.from_json(change.to_json()) == change

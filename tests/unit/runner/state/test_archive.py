"""A backup holds all of a state, and a state made from it is that state; what is no backup makes nothing."""

from __future__ import annotations

import io
import stat
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstay.inventory.errors import UsageError
from mainstay.runner.ledger.contract import LedgerBehind
from mainstay.runner.record import HostPart, hosts_digest
from mainstay.runner.state.adapters.stores import Stores, open_state
from mainstay.runner.state.archive import ArchiveDamaged, backup, restore
from mainstay.runner.state.contract import RunRow
from mainstay.runner.verdict import Verdict

URL = "sqlite:///state/mainstay.db"


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    opened = open_state(URL, tmp_path / "old")
    for id, state in (("r1", "ended"), ("r2", "running")):
        data = {"id": id, "kind": "patch", "plan": "p", "state": state, "request": {}, "started_at": "s"}
        opened.state.add_run(RunRow.model_validate(data))
    part = HostPart(host="a", verdict=Verdict.SUCCEEDED)
    opened.state.write_part("r1", part)
    opened.ledger.seal("r1", {"hosts_digest": hosts_digest([part])})
    opened.artifacts.put(b"output", kind="output")
    opened.artifacts.put(b"package", kind="package")
    opened.state.raise_fence(41)
    yield opened
    opened.close()


@pytest.fixture
def archive(stores: Stores, tmp_path: Path) -> Path:
    (tmp_path / "known_hosts").write_text("a ssh-ed25519 AAAA\n")
    backup(stores, tmp_path / "backup.tar", known_hosts=tmp_path / "known_hosts")
    return tmp_path / "backup.tar"


def test_what_comes_back_is_the_same_state(stores: Stores, archive: Path, tmp_path: Path) -> None:
    restored = restore(archive, tmp_path / "new" / "state", known_hosts=tmp_path / "new" / "known_hosts")
    assert restored.state == stores.state.id
    assert restored.records == 1
    assert restored.in_flight == ("r2",)
    again = open_state(URL, tmp_path / "new")
    again.guard()
    assert again.state.id == stores.state.id
    assert again.ledger.verify() == []
    assert list(again.ledger.entries()) == list(stores.ledger.entries())
    assert again.state.runs() == stores.state.runs()
    for kind in ("output", "package"):
        (name,) = again.artifacts.hashes(kind)
        assert again.artifacts.read(name) == kind.encode()
    assert (tmp_path / "new" / "known_hosts").read_text() == "a ssh-ed25519 AAAA\n"
    assert not (tmp_path / "new" / "state" / "known_hosts").exists()
    again.close()


def test_a_restored_state_commands_hosts_that_have_moved_on(stores: Stores, archive: Path, tmp_path: Path) -> None:
    for _ in range(50):
        ahead = stores.state.next_fence()
    restore(archive, tmp_path / "new" / "state")
    again = open_state(URL, tmp_path / "new")
    assert again.state.next_fence() > ahead
    again.close()


def test_everything_is_for_its_owner_alone(archive: Path, tmp_path: Path) -> None:
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    restore(archive, tmp_path / "new" / "state")
    for path in [tmp_path / "new" / "state", *(tmp_path / "new" / "state").rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_backup_can_be_made_while_records_are_sealed(stores: Stores, tmp_path: Path) -> None:
    stop = threading.Event()

    def seal() -> None:
        number = 0
        while not stop.is_set():
            stores.ledger.seal(f"busy{number}", {"n": number})
            number += 1

    thread = threading.Thread(target=seal)
    thread.start()
    try:
        for number in range(5):
            backup(stores, tmp_path / f"{number}.tar")
    finally:
        stop.set()
        thread.join()
    for number in range(5):
        restore(tmp_path / f"{number}.tar", tmp_path / f"new{number}" / "state")
        again = open_state(URL, tmp_path / f"new{number}")
        again.guard()
        assert again.ledger.verify() == []
        again.close()


def test_an_existing_file_and_a_used_folder_stay_as_they_are(stores: Stores, archive: Path, tmp_path: Path) -> None:
    before = archive.read_bytes()
    with pytest.raises(UsageError, match="there already"):
        backup(stores, archive)
    assert archive.read_bytes() == before
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "mine").touch()
    with pytest.raises(UsageError, match="not empty"):
        restore(archive, tmp_path / "new")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mine"]


def test_an_empty_folder_will_do(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "new" / "state").mkdir(parents=True)
    restore(archive, tmp_path / "new" / "state", database="other.db")
    open_state("sqlite:///state/other.db", tmp_path / "new").close()


def test_an_anchor_that_has_seen_more_is_not_overruled(stores: Stores, archive: Path, tmp_path: Path) -> None:
    stores.ledger.seal("r3", {})
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(stores.anchor.read_bytes())
    with pytest.raises(UsageError, match="2 records; the backup holds 1"):
        restore(archive, tmp_path / "new" / "state", anchor=outside)
    assert not (tmp_path / "new" / "state").exists()
    outside.unlink()
    restore(archive, tmp_path / "new" / "state", anchor=outside)
    again = open_state(URL, tmp_path / "new", anchor=outside)
    again.guard()
    again.close()
    with pytest.raises(LedgerBehind):
        open_state(URL, tmp_path / "new")


def repacked(archive: Path, change: Callable[[dict[str, tuple[tarfile.TarInfo, bytes]]], None]) -> None:
    with tarfile.open(archive) as tar:
        held = {info.name: (info, reader.read()) for info in tar if (reader := tar.extractfile(info)) is not None}
    change(held)
    with tarfile.open(archive, "w") as tar:
        for info, data in held.values():
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def renamed(name: str, **attributes: object) -> Callable[[dict[str, tuple[tarfile.TarInfo, bytes]]], None]:
    def change(held: dict[str, tuple[tarfile.TarInfo, bytes]]) -> None:
        info = tarfile.TarInfo(name)
        for key, value in attributes.items():
            setattr(info, key, value)
        held[name] = (info, b"" if attributes else b"evil")

    return change


def altered(name: str) -> Callable[[dict[str, tuple[tarfile.TarInfo, bytes]]], None]:
    def change(held: dict[str, tuple[tarfile.TarInfo, bytes]]) -> None:
        info, data = held[name]
        held[name] = (info, data[:-1] + b"!")

    return change


@pytest.mark.parametrize(
    "change",
    [
        renamed("../evil"),
        renamed("/tmp/evil"),
        renamed("artifacts/package/aa/../../../evil"),
        renamed("evil", type=tarfile.SYMTYPE, linkname="/etc"),
        renamed("known_hosts", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        renamed("known_hosts", type=tarfile.LNKTYPE, linkname="ledger.key"),
        renamed("known_hosts", type=tarfile.FIFOTYPE),
        renamed("artifacts/package/" + "aa/" + "0" * 62),
        altered("ledger.key"),
        altered("anchor.jsonl"),
        lambda held: held.pop("ledger.key"),
        lambda held: held.pop("engine.db"),
        lambda held: held.pop("manifest.json"),
        altered("manifest.json"),
    ],
)
def test_what_is_no_whole_backup_makes_nothing(
    archive: Path, tmp_path: Path, change: Callable[[dict[str, tuple[tarfile.TarInfo, bytes]]], None]
) -> None:
    repacked(archive, change)
    with pytest.raises(ArchiveDamaged):
        restore(archive, tmp_path / "new" / "state")
    assert list((tmp_path / "new").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_cut_off_backup_makes_nothing(archive: Path, tmp_path: Path) -> None:
    whole = archive.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 15_000):
        archive.write_bytes(whole[:size])
        with pytest.raises(ArchiveDamaged):
            restore(archive, tmp_path / "new" / "state")
    assert list((tmp_path / "new").iterdir()) == []


def test_a_backup_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not there"):
        restore(tmp_path / "none.tar", tmp_path / "state")

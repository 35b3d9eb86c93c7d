"""What every artifact store promises. The real one and its fake pass the same suite."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path

import pytest

from mainstay.runner.artifacts.adapters.files import FileArtifacts
from mainstay.runner.artifacts.contract import ArtifactDamaged, ArtifactMissing, Artifacts
from mainstay.runner.artifacts.memory import MemoryArtifacts
from mainstay.runner.artifacts.trim import HEAD, OUTPUT_CAP, TAIL, marker

KINDS = ["output", "package", "json"]


@pytest.fixture(params=["files", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    return FileArtifacts(tmp_path / "artifacts") if request.param == "files" else MemoryArtifacts()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [b"", b"text\n", os.urandom(100_000)])
def test_content_comes_back(store: Artifacts, kind: str, data: bytes) -> None:
    name = store.put(data, kind=kind)
    assert name == sha(data)
    assert store.has(name)
    assert store.read(name) == data
    assert store.put(data, kind=kind) == name
    assert list(store.hashes(kind)) == [name]


@pytest.mark.parametrize("kind", KINDS)
def test_large_content_is_written_in_pieces(store: Artifacts, kind: str) -> None:
    with store.writer(kind=kind) as (file, names):
        for _ in range(100):
            file.write(b"0123456789" * 100)
        assert names == []
    assert names == [sha(b"0123456789" * 10_000)]
    assert store.read(names[0]) == b"0123456789" * 10_000


def test_what_breaks_off_is_not_kept(store: Artifacts, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="connection"), store.writer(kind="package") as (file, _):
        file.write(b"half")
        raise OSError("the connection broke")
    assert list(store.hashes("package")) == []
    assert not store.has(sha(b"half"))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("written", ["put", "writer"])
def test_output_over_the_cap_keeps_its_two_ends_and_says_what_is_missing(store: Artifacts, written: str) -> None:
    data = b"A" * HEAD + b"B" * 1234 + b"C" * TAIL
    if written == "put":
        name = store.put(data, kind="output")
    else:
        with store.writer(kind="output") as (file, names):
            file.write(data)
        (name,) = names
    assert name == sha(data)
    kept = store.read(name)
    assert kept == b"A" * HEAD + marker(1234) + b"C" * TAIL
    assert b"1234 bytes left out" in kept


def test_output_at_the_cap_and_packages_over_it_are_whole(store: Artifacts) -> None:
    data = b"A" * OUTPUT_CAP
    assert store.read(store.put(data, kind="output")) == data
    assert store.read(store.put(data + b"more", kind="package")) == data + b"more"


def test_a_package_has_a_file_and_output_has_none(store: Artifacts) -> None:
    package, output = store.put(b"deb", kind="package"), store.put(b"text", kind="output")
    assert store.path(package).read_bytes() == b"deb"
    with pytest.raises(ArtifactMissing):
        store.path(output)


@pytest.mark.parametrize("name", ["0" * 64, "short", "../../etc/passwd", "", "A" * 64])
def test_what_is_not_there_is_missing(store: Artifacts, name: str) -> None:
    with pytest.raises(ArtifactMissing):
        store.read(name)
    with pytest.raises(ArtifactMissing):
        store.path(name)


def test_pruning_takes_the_old_then_the_oldest_above_the_cap_and_never_what_is_kept(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path / "artifacts")
    names = [store.put(bytes([number]) * 1000, kind="package") for number in range(5)]
    other = store.put(b"another kind", kind="json")
    for number, name in enumerate(names):
        age = time.time() - 1000 + number * 100
        os.utime(store.path(name), (age, age))
    gone = store.prune(kind="package", older_than=850, keep=frozenset({names[0]}), cap=10_000)
    assert gone == [names[1]]
    gone = store.prune(kind="package", older_than=10_000, keep=frozenset({names[0]}), cap=2500)
    assert gone == names[2:4]
    assert list(store.hashes("package")) == sorted([names[0], names[4]])
    assert store.read(other) == b"another kind"


def test_pruning_takes_what_a_killed_process_left_half_written(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path / "artifacts")
    store.put(b"x", kind="package")
    old, new = (tmp_path / "artifacts" / "package" / name for name in ("new-old", "new-new"))
    for path, age in ((old, 90_000), (new, 0)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age, time.time() - age))
    assert store.prune(kind="package", older_than=1e9, keep=frozenset(), cap=10**9) == []
    assert (old.exists(), new.exists()) == (False, True)


def test_pruning_with_room_and_youth_takes_nothing(store: Artifacts) -> None:
    name = store.put(b"x", kind="package")
    assert store.prune(kind="package", older_than=60, keep=frozenset(), cap=100) == []
    assert store.prune(kind="package", older_than=60, keep=frozenset(), cap=0) == [name]
    assert not store.has(name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("harm", ["flip", "cut", "empty", "another"])
def test_damaged_content_is_found_when_it_is_read(tmp_path: Path, kind: str, harm: str) -> None:
    store = FileArtifacts(tmp_path / "artifacts")
    data = b"what was there " * 50
    name = store.put(data, kind=kind)
    place = tmp_path / "artifacts" / kind / name[:2] / name[2:]
    held = place.read_bytes()
    if harm == "another":
        other = store.put(b"something else", kind=kind)
        held = (tmp_path / "artifacts" / kind / other[:2] / other[2:]).read_bytes()
    changed = {"flip": held[:-3] + bytes([held[-3] ^ 1]) + held[-2:], "cut": held[:-5], "empty": b"", "another": held}
    place.write_bytes(changed[harm])
    with pytest.raises(ArtifactDamaged):
        store.read(name)
    if kind == "package":
        with pytest.raises(ArtifactDamaged):
            store.path(name)


def test_a_capped_output_that_was_changed_is_found(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path / "artifacts")
    name = store.put(b"A" * (OUTPUT_CAP + 5), kind="output")
    short = store.put(b"short", kind="output")
    place = tmp_path / "artifacts/output" / name[:2] / name[2:]
    place.write_bytes((tmp_path / "artifacts/output" / short[:2] / short[2:]).read_bytes())
    with pytest.raises(ArtifactDamaged):
        store.read(name)


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path / "artifacts")
    for kind in KINDS:
        store.put(kind.encode(), kind=kind)
    for path in (tmp_path / "artifacts").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_identical_content_is_kept_once(tmp_path: Path) -> None:
    store = FileArtifacts(tmp_path / "artifacts")
    for _ in range(3):
        store.put(b"same", kind="output")
    assert len([path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]) == 1

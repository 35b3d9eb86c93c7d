"""What every artifact store promises. The real one and its fake pass the same suite."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.postgres import Postgres
from tests.servers.state import lent, opened
from ulid import ULID

from mainstay.runner.artifacts.adapters.files import FileArtifacts
from mainstay.runner.artifacts.adapters.shared import CHUNK, SharedArtifacts
from mainstay.runner.artifacts.contract import ArtifactDamaged, ArtifactMissing, Artifacts, ArtifactUnkept
from mainstay.runner.artifacts.memory import MemoryArtifacts
from mainstay.runner.artifacts.trim import HEAD, OUTPUT_CAP, TAIL, marker

KINDS = ["output", "package", "json"]


class OnPostgres:
    """A store in a database, as somebody sees it who can write that."""

    def __init__(self, server: Postgres, name: str, cache: Path) -> None:
        self.server, self.name, self.cache = server, name, cache
        self.database = opened(server, name)
        self.store = SharedArtifacts(self.database, cache)

    def raw(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        return self.server.execute(statement, *values, database=self.name)


@pytest.fixture
def on_postgres(postgres: Postgres, tmp_path: Path) -> Iterator[OnPostgres]:
    with lent(postgres) as name:
        one = OnPostgres(postgres, name, tmp_path / "cache")
        yield one
        one.database.close()


@pytest.fixture(params=["files", "postgres", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Artifacts:
    if request.param == "memory":
        return MemoryArtifacts()
    if request.param == "files":
        return FileArtifacts(tmp_path / "artifacts")
    one: OnPostgres = request.getfixturevalue("on_postgres")
    return one.store


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [b"", b"text\n", os.urandom(100_000)], ids=["empty", "text", "large"])
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


def test_a_package_that_is_captured_again_is_as_young_as_one_that_was_not_there(on_postgres: OnPostgres) -> None:
    """Between its capture and the row that needs it, another run may tidy."""
    for _ in range(2):
        on_postgres.raw("UPDATE mainstay.artifact SET made_at = 0")
        with on_postgres.store.writer(kind="package") as (file, names):
            file.write(b"deb")
    assert on_postgres.store.prune(kind="package", older_than=3600.0, keep=frozenset(), cap=2**30) == []
    assert on_postgres.store.has(names[0])


@pytest.mark.parametrize("store", ["files", "postgres"], indirect=True)
def test_a_full_disk_is_no_outcome_of_a_step(store: Artifacts) -> None:
    with pytest.raises(ArtifactUnkept, match="No space left"), store.writer(kind="package"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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


# Shared in a database.

CHUNKS = "mainstay.artifact_chunk"


def test_another_machine_reads_what_one_has_written(on_postgres: OnPostgres, tmp_path: Path) -> None:
    data = os.urandom(CHUNK * 2 + 17)
    with on_postgres.store.writer(kind="package") as (file, names):
        for at in range(0, len(data), 1000):
            file.write(data[at : at + 1000])
    other = SharedArtifacts(on_postgres.database, tmp_path / "other")
    assert other.path(names[0]).read_bytes() == data
    assert other.read(names[0]) == data
    assert on_postgres.raw(f"SELECT octet_length(data) FROM {CHUNKS} ORDER BY number") == [(CHUNK,), (CHUNK,), (17,)]


def test_a_copy_of_this_machine_that_was_changed_is_fetched_anew(on_postgres: OnPostgres) -> None:
    name = on_postgres.store.put(b"deb", kind="package")
    place = on_postgres.store.path(name)
    place.write_bytes(b"evil")
    assert on_postgres.store.path(name).read_bytes() == b"deb"
    assert stat.S_IMODE(place.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "harm",
    [
        f"UPDATE {CHUNKS} SET data = set_byte(data, octet_length(data) - 2, 1 + get_byte(data, octet_length(data) - 2) % 200)",
        f"UPDATE {CHUNKS} SET data = substr(data, 1, octet_length(data) - 5)",
        f"UPDATE {CHUNKS} SET data = ''",
        f"UPDATE {CHUNKS} SET data = data || data",
        f"DELETE FROM {CHUNKS}",
    ],
)
def test_damage_in_the_database_is_found_when_it_is_read(on_postgres: OnPostgres, kind: str, harm: str) -> None:
    name = on_postgres.store.put(b"what was there " * 50, kind=kind)
    on_postgres.raw(harm)
    with pytest.raises(ArtifactDamaged):
        on_postgres.store.read(name)
    if kind == "package":
        with pytest.raises(ArtifactDamaged):
            on_postgres.store.path(name)
    assert [path for path in on_postgres.cache.rglob("*") if path.is_file()] == []


def test_what_two_machines_write_at_once_is_kept_once(on_postgres: OnPostgres, tmp_path: Path) -> None:
    other = SharedArtifacts(on_postgres.database, tmp_path / "other")
    with on_postgres.store.writer(kind="package") as (first, names), other.writer(kind="package") as (second, others):
        first.write(b"same")
        second.write(b"same")
    assert names == others
    assert on_postgres.raw(f"SELECT count(*) FROM {CHUNKS}") == [(1,)]
    assert other.read(names[0]) == b"same"


def test_the_oldest_go_first_and_so_do_their_chunks_and_copies(on_postgres: OnPostgres) -> None:
    store = on_postgres.store
    names = [store.put(bytes([number]) * 1000, kind="package") for number in range(5)]
    for number, name in enumerate(names):
        store.path(name)
        age = "UPDATE mainstay.artifact SET made_at = extract(epoch FROM now()) - %s WHERE hash = %s"
        on_postgres.raw(age, 1000 - number * 100, name)
    assert store.prune(kind="package", older_than=850, keep=frozenset({names[0]}), cap=10_000) == [names[1]]
    assert store.prune(kind="package", older_than=10_000, keep=frozenset({names[0]}), cap=2500) == names[2:4]
    assert list(store.hashes("package")) == sorted([names[0], names[4]])
    assert on_postgres.raw(f"SELECT count(*) FROM {CHUNKS}") == [(2,)]
    assert len([path for path in on_postgres.cache.rglob("*") if path.is_file()]) == 2


def test_what_a_process_left_that_died_while_it_wrote_goes_after_a_day(on_postgres: OnPostgres) -> None:
    old, new = (str(ULID.from_timestamp(time.time() - age)) for age in (90_000, 10))
    for upload in (old, new):
        on_postgres.raw(f"INSERT INTO {CHUNKS} VALUES (%s, 0, 'half')", upload)
    assert on_postgres.store.prune(kind="package", older_than=1e9, keep=frozenset(), cap=10**9) == []
    assert on_postgres.raw(f"SELECT upload FROM {CHUNKS}") == [(new,)]


def test_a_large_package_is_never_in_memory_as_a_whole(on_postgres: OnPostgres) -> None:
    piece = os.urandom(CHUNK)
    tracemalloc.start()
    try:
        with on_postgres.store.writer(kind="package") as (file, names):
            for _ in range(40):
                file.write(piece)
        on_postgres.store.path(names[0]).unlink()
        assert on_postgres.store.path(names[0]).stat().st_size == 40 * CHUNK
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * CHUNK

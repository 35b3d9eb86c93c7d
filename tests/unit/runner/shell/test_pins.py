"""known_hosts: OpenSSH reads what we write, and we read what OpenSSH writes."""

from __future__ import annotations

import base64
import multiprocessing
import subprocess
from pathlib import Path

import pytest

from mainstay.inventory.errors import ConfigError
from mainstay.inventory.host import Host, Ssh
from mainstay.runner.shell.pins import HostKey, KeyChanged, Pins, compare, label


def host(name: str = "web1", address: str = "10.0.0.1", port: int = 22) -> Host:
    return Host(name=name, address=address, ssh=Ssh(port=port))


def made(folder: Path, name: str, kind: str = "ed25519") -> HostKey:
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", folder / name], check=True)
    type_, blob, *_ = (folder / f"{name}.pub").read_text().split()
    return HostKey(type_, base64.b64decode(blob))


@pytest.fixture
def pins(tmp_path: Path) -> Pins:
    return Pins(tmp_path / "inventory" / "known_hosts")


def test_what_is_pinned_is_found_with_its_day_and_by_openssh(pins: Pins, tmp_path: Path) -> None:
    key, other = made(tmp_path, "a"), made(tmp_path, "b")
    assert pins.keys(host()) == ()
    assert pins.pin(host(), [key])
    assert pins.pin(host("web2", "10.0.0.1", 2222), [other])
    assert not pins.pin(host(), [key])
    assert (pins.keys(host()), pins.keys(host(port=2222))) == ((key,), (other,))
    assert len(pins.keys(host())[0].pinned) == len("2026-11-22")
    argv = ["ssh-keygen", "-F", "[10.0.0.1]:2222", "-l", "-f", str(pins.path)]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert other.fingerprint in said


def test_a_changed_key_needs_replace_and_names_both(pins: Pins, tmp_path: Path) -> None:
    old, new, neighbour = made(tmp_path, "a"), made(tmp_path, "b"), made(tmp_path, "c")
    pins.pin(host(), [old])
    pins.pin(host("web2", "10.0.0.2"), [neighbour])
    with pytest.raises(KeyChanged) as caught:
        pins.pin(host(), [new])
    assert old.fingerprint in caught.value.message and new.fingerprint in caught.value.message
    assert f"(since {pins.keys(host())[0].pinned})" in caught.value.message
    assert "--replace" in str(caught.value.hint)
    assert pins.keys(host()) == (old,)
    assert pins.pin(host(), [new], replace=True)
    assert pins.keys(host()) == (new,)
    assert pins.keys(host("web2", "10.0.0.2")) == (neighbour,)


def test_a_key_of_another_type_is_added_to_one_that_the_host_still_has(pins: Pins, tmp_path: Path) -> None:
    first, second, third = made(tmp_path, "a"), made(tmp_path, "b", "ecdsa"), made(tmp_path, "c")
    pins.pin(host(), [first])
    assert compare([first], [first, second]) == "pinned"
    assert pins.pin(host(), [first, second])
    assert set(pins.keys(host())) == {first, second}
    assert compare([first], [second]) == "changed"
    assert compare([first, second], [first, third]) == "changed"
    assert compare([], [first]) == "new"


def test_a_replaced_host_leaves_the_others_of_its_line(pins: Pins, tmp_path: Path) -> None:
    old, new = made(tmp_path, "a"), made(tmp_path, "b")
    pins.path.parent.mkdir()
    blob = base64.b64encode(old.blob).decode()
    pins.path.write_text(f"# mine\nweb,10.0.0.1,10.0.0.9 {old.type} {blob} a comment\n")
    pins.pin(host(), [new], replace=True)
    assert pins.keys(host()) == (new,)
    assert pins.keys(host(address="10.0.0.9")) == (old,)
    assert pins.path.read_text().startswith("# mine\nweb,10.0.0.9 ")


def test_files_of_openssh_are_read(pins: Pins, tmp_path: Path) -> None:
    key = made(tmp_path, "a")
    blob = base64.b64encode(key.blob).decode()
    source = tmp_path / "known_hosts"
    source.write_text(f"[10.0.0.7]:2200,10.0.0.8 {key.type} {blob}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", source], check=True, capture_output=True)
    assert "10.0.0" not in source.read_text()
    assert Pins(source).keys(host(address="10.0.0.7", port=2200)) == (key,)
    assert Pins(source).keys(host(address="10.0.0.8")) == (key,)
    assert Pins(source).keys(host(address="10.0.0.7")) == ()
    source.write_text(f"*.example.org,!bad.example.org {key.type} {blob}\n[10.0.0.*]:22* {key.type} {blob}\n")
    assert Pins(source).keys(host(address="a.example.org")) == (key,)
    assert Pins(source).keys(host(address="bad.example.org")) == ()
    assert Pins(source).keys(host(address="10.0.0.4", port=2201)) == (key,)


def test_a_revoked_key_is_none_and_an_authority_is_not_taken_for_a_key(pins: Pins, tmp_path: Path) -> None:
    key = made(tmp_path, "a")
    blob = base64.b64encode(key.blob).decode()
    pins.path.parent.mkdir()
    lines = [
        f"10.0.0.1 {key.type} {blob}",
        f"@revoked * {key.type} {blob}",
        f"@cert-authority 10.0.0.2 {key.type} {blob}",
    ]
    pins.path.write_text("\n".join(lines))
    assert pins.keys(host()) == ()
    assert pins.keys(host(address="10.0.0.2")) == ()


@pytest.mark.parametrize(
    "line",
    ["10.0.0.1 ssh-ed25519", "10.0.0.1 ssh-ed25519 !!!!", "10.0.0.1 ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAA", "@mine a b c"],
)
def test_a_line_that_is_none_is_an_error_with_its_place(pins: Pins, line: str) -> None:
    pins.path.parent.mkdir()
    pins.path.write_text(f"# fine\n\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        pins.keys(host())
    assert (caught.value.problems[0].file, caught.value.problems[0].line) == (str(pins.path), 3)


def _pin(path: Path, number: int, key: HostKey) -> None:
    Pins(path).pin(Host(name=f"h{number}", address=f"10.0.1.{number}"), [key])


def test_writers_at_the_same_time_lose_nothing(pins: Pins, tmp_path: Path) -> None:
    key = made(tmp_path, "a")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_pin, args=(pins.path, number, key)) for number in range(12)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(pins.keys(host(address=f"10.0.1.{number}")) == (key,) for number in range(12))


def test_a_key_is_kept_under_the_name_that_openssh_uses() -> None:
    assert (label(host()), label(host(port=2222)), label(host(address="::1", port=2222))) == (
        "10.0.0.1",
        "[10.0.0.1]:2222",
        "[::1]:2222",
    )

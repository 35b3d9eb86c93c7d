import os
import platform

import pytest

from mainstay.runner.engine.naming import executor_id, short


def test_an_executor_is_named_after_its_machine_and_process_and_no_two_are_the_same() -> None:
    one, other = executor_id(), executor_id()
    assert one != other
    assert short(one) == short(other)
    assert short(one).endswith(f"-{os.getpid()}")


@pytest.mark.parametrize(
    ("node", "machine"),
    [("ops2.example.org", "ops2"), ("", "host"), ("a b/c;d", "a-b-c-d"), ("x" * 80, "x" * 24), ("é", "host")],
)
def test_whatever_the_machine_is_called_the_name_fits_a_path_and_a_session(
    monkeypatch: pytest.MonkeyPatch, node: str, machine: str
) -> None:
    monkeypatch.setattr(platform, "node", lambda: node)
    name = executor_id()
    assert short(name) == f"{machine}-{os.getpid()}"
    assert len(f"mainstay serves 999 {name}") <= 63


def test_what_is_no_such_name_stays_as_it_is() -> None:
    assert [short(name) for name in ("memory-1", "01KYB0000000000000000000K7", "")] == [
        "memory-1", "01KYB0000000000000000000K7", "",
    ]  # fmt: skip

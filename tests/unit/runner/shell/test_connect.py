"""What connections share. (How they are made is in tests/contract, against a real sshd.)"""

from __future__ import annotations

import invoke.config
import pytest

from mainstay.runner.shell.adapters.connect import CONFIG, Connection


def test_a_connection_does_not_write_to_the_configuration_that_all_threads_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    merged: list[object] = []
    monkeypatch.setattr(invoke.config.Config, "merge", merged.append)
    connection = Connection("h1", user="ops", port=22, config=CONFIG, forward_agent=False, connect_kwargs={})
    connection.close()
    assert merged == [] and connection.user == "ops"

"""What all tests share: real hosts on demand, and no quiet skips where everything is supposed to be there."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator

import pytest

from tests.fleet import Fleet, Host
from tests.fleet.fleet import temporary

CI = os.environ.get("CI", "").lower() in {"1", "true"}


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """This process's fleet, for the whole session; it starts with no hosts. Tests usually want `hosts_of`."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM cleans up as Ctrl-C does
    try:
        with temporary() as one:
            yield one
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.fixture
def host(fleet: Fleet) -> Host:
    """One pristine host. For more: `h1, h2 = fleet.pristine(2)`, in a fixture of your module's if its tests can share them."""
    return fleet.pristine(1)[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI=true a skip is a failure that names its reason: what CI does not run, nobody runs."""
    report = yield
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {reason}"
    return report

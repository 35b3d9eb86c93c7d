"""What all tests share: real hosts on demand, and no quiet skips where everything is supposed to be there."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from mainstay.inventory.redaction import redact
from tests.fleet import Fleet, Host
from tests.fleet.fleet import reap, temporary
from tests.servers.postgres import Postgres, running

WATCHING = "COVERAGE_PROCESS_CONFIG"
"""With this in its environment a process is watched by coverage."""

CI = os.environ.get("CI", "").lower() in {"1", "true"}

# How long an example takes says more of the machine than of what is tested, and what lands is judged by the same examples.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=CI)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the long sweeps")
    parser.addoption(
        "--brief", action="store_true", help="leave out the thorough ones, and try a fifth of the examples"
    )


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that it cleans up as after Ctrl-C
    # Begun in the background it ignores Ctrl-C, and so would what the tests start and stop by it: each for its longest time.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """What was imported for all of the tests lives to the end: it is looked through for garbage no more."""
    gc.collect()
    gc.freeze()
    if getattr(session.config.option, "loadgroup", False):  # of a worker alone
        groups_work(session.items)


def groups_work(items: list[pytest.Item]) -> None:
    """Raises RuntimeError (a worker's UsageError is shown to nobody) where tests of one group would not come to one worker:
    xdist says which it is by the test's name."""
    for item in items:
        names = sorted(str(name) for mark in item.iter_markers("xdist_group") for name in mark.args)
        if names and not item.nodeid.endswith("@" + "_".join(names)):
            raise RuntimeError(f"groups of tests don't work with this pytest and this pytest-xdist: {item.nodeid}")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and os.geteuid() == 0:
        reap()  # a worker that was killed could not do it itself


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the long ones out unless asked for, and the thorough ones where it is to be brief; keep the fleet tests of one
    module on one worker, which has one fleet."""
    for item in items:
        spec = getattr(item, "callspec", None)
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("no_cover")
        if "postgres" in getattr(item, "fixturenames", ()) or (spec and "postgres" in spec.params.values()):
            item.add_marker("server")
        if "fleet" in getattr(item, "fixturenames", ()):
            item.add_marker("fleet")
            if not item.get_closest_marker("xdist_group"):
                item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    brief = config.getoption("brief")
    unwanted = [*([] if config.getoption("long") else ["long"]), *(["thorough"] if brief else [])]
    out = {item: any(item.get_closest_marker(name) for name in unwanted) for item in items}
    config.hook.pytest_deselected(items=[item for item in items if out[item]])
    items[:] = [item for item in items if not out[item]]
    if brief:
        tried = [getattr(item, "obj", None) for item in items]
        for test in {id(one): one for one in tried if getattr(one, "is_hypothesis_test", False)}.values():
            fewer_examples(test)


def fewer_examples(test: object) -> None:
    """A fifth of them. Raises RuntimeError where hypothesis keeps its settings elsewhere than this one does."""
    test = getattr(test, "__func__", test)
    known = getattr(test, "_hypothesis_internal_use_settings", None)
    if not isinstance(known, settings):
        raise RuntimeError("examples can't be counted with this hypothesis")
    fewer = settings(known, max_examples=max(1, known.max_examples // 5))
    test._hypothesis_internal_use_settings = fewer  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def fleet() -> Iterator[Fleet]:
    """This process's fleet, for the whole session; it starts with no hosts: ask it for `pristine(n)`."""
    with temporary() as one:
        yield one


@pytest.fixture
def host(fleet: Fleet) -> Host:
    """One pristine host. For more: `h1, h2 = fleet.pristine(2)`, in a fixture of your module's if its tests can share them."""
    return fleet.pristine(1)[0]


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """This process's PostgreSQL server, for the whole session. A test that stops it starts it again."""
    with running() as server:
        yield server


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """What is tried a hundred times over (marker no_cover) would take twice as long while coverage watches, and shows it
    nothing that others don't: pytest-cov looks away then, and here what such a test starts is not watched either."""
    watching = os.environ.pop(WATCHING, None) if item.get_closest_marker("no_cover") else None
    try:
        return (yield)
    finally:
        if watching is not None:
            os.environ[WATCHING] = watching


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """What a test resolves is masked in that test alone: a password `wrong` took this word out of what the next expected."""
    known, levels = set(redact._known), redact._levels
    try:
        return (yield)
    finally:
        redact._known, redact._levels = known, levels


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _no_skip_in_ci(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _no_skip_in_ci(report)
    return report


def _no_skip_in_ci(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Where CI=true a skip is a failure that names its reason: what CI does not run, nobody runs."""
    if CI and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CI allows no skip: {reason}"

"""The hosts, asked in parallel: reachable, pinned, repositories, clock, owner, lock, fit, and (asked for) sudo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from mainstay.console.bootstrap import Application
from mainstay.console.doctor.finding import Finding, Health
from mainstay.console.interruptible import interruptible
from mainstay.inventory.errors import MainstayError
from mainstay.inventory.facts import Facts
from mainstay.inventory.host import Host
from mainstay.runner.patching.contract import Survey
from mainstay.runner.plan import Carefulness
from mainstay.runner.shell.contract import Command, HostKeyRefused, Unreachable
from mainstay.runner.shell.parallel import for_each

PARALLEL = 20
SAMPLE = 3
"""Hosts of each kind (distribution, release, architecture) whose repositories are asked: that takes a second each, and hosts
of a kind mostly have the same ones."""
SKEW = 5.0
"""Seconds that a clock may be off before somebody should look: ntpd and chrony keep it to milliseconds."""


def examine(app: Application, hosts: Sequence[Host], *, sudo: bool, deep: bool = False) -> Iterator[Finding]:
    """sudo: also try `sudo -n true`; it is the only thing here that asks for root's rights. deep: ask the repositories of
    every host, not of a sample."""
    ours, in_flight = _state(app)
    answers = interruptible(lambda: for_each(hosts, lambda host: _look(app, host, sudo=sudo), parallel=PARALLEL))
    reached = {name: answer[0] for name, answer in answers.items() if not isinstance(answer, MainstayError)}
    asked = set(reached) if deep else _sample(reached)
    mirrors = interruptible(
        lambda: for_each(
            [host for host in hosts if host.name in asked],
            lambda host: _repositories(app, host, reached[host.name]),
            parallel=PARALLEL,
        )
    )
    skews: list[float] = []
    for host in hosts:
        answer = answers[host.name]
        if isinstance(answer, MainstayError):
            yield _unreached(host, answer)
            continue
        facts, tried = answer
        if facts.clock_skew is not None:
            skews.append(facts.clock_skew)
        found = [
            *tried,
            *_mirrored(host, mirrors.get(host.name)),
            *_clock(host, facts),
            *_owner(host, facts, ours, in_flight),
            *_fit(app, host, facts),
        ]
        if all(one.health == "well" for one in found):
            told = f"{facts.os_id} {facts.os_version} {facts.arch}, kernel {facts.kernel}".strip()
            yield _finding(host, "host", "well", told)
        yield from found
    if len(asked) < len(reached):
        message = f"asked of {len(asked)} of {len(reached)} hosts, {SAMPLE} of each kind"
        yield Finding(
            subject="controller", topic="repositories", health="look", message=message, hint="--deep asks all."
        )
    if len(skews) > 2 and abs(median(skews)) > SKEW:
        message = f"most hosts' clocks differ from this one by {median(skews):+.0f} s: it is probably this one"
        yield Finding(subject="controller", topic="clock", health="wrong", message=message, hint="Check timedatectl.")


def _state(app: Application) -> tuple[str, set[str]]:
    """The state's id and the runs in flight; nothing where the state can't be opened (the controller's part says so)."""
    try:
        return app.state.id, {row.id for row in app.state.runs(in_flight=True)}
    except MainstayError:
        return "", set()


def _finding(host: Host, topic: str, health: Health, message: str, hint: str | None = None) -> Finding:
    return Finding(subject=host.name, topic=topic, health=health, message=message, hint=hint)


def _look(app: Application, host: Host, *, sudo: bool) -> tuple[Facts, list[Finding]]:
    shell = app.shells.open(host, write=False)
    try:
        facts = app.upkeep.probe(shell)
    finally:
        shell.close()
    return facts, [_sudo(app, host)] if sudo else []


def _sample(reached: Mapping[str, Facts]) -> set[str]:
    """The first hosts of each kind."""
    kinds: dict[str, list[str]] = {}
    for name, facts in reached.items():
        kinds.setdefault(facts.cohort, []).append(name)
    return {name for of_kind in kinds.values() for name in of_kind[:SAMPLE]}


def _repositories(app: Application, host: Host, facts: Facts) -> Survey | None:
    """Fresh lists, read into a temporary folder there: a mirror that is dead now would stop a run."""
    if facts.package_manager != app.packages.name:
        return None
    shell = app.shells.open(host, write=False)
    try:
        return app.packages.survey(shell)
    finally:
        shell.close()


def _mirrored(host: Host, survey: Survey | MainstayError | None) -> Iterator[Finding]:
    if isinstance(survey, MainstayError):
        yield _finding(host, "repositories", "unknown", getattr(survey, "plain", survey.message), survey.hint)
    elif survey is not None and survey.problem:
        yield _finding(host, "repositories", "wrong", survey.problem, survey.hint or None)


def _sudo(app: Application, host: Host) -> Finding:
    shell = app.shells.open(host)
    try:
        output = shell.run(Command(("true",), sudo=True, deadline=20))
    except MainstayError as error:
        return _finding(host, "sudo", "wrong", getattr(error, "plain", error.message), error.hint)
    finally:
        shell.close()
    if output.status != 0:
        return _finding(host, "sudo", "wrong", f"true as root ended with {output.status}")
    return _finding(host, "sudo", "well", f"{host.ssh.user} can act as root")


def _unreached(host: Host, error: MainstayError) -> Finding:
    plain = getattr(error, "plain", error.message)
    if isinstance(error, HostKeyRefused):
        return _finding(host, "host key", "wrong", plain, error.hint)
    if isinstance(error, Unreachable):
        return _finding(host, "reach", "wrong", plain, error.hint)
    return _finding(host, "reach", "unknown", plain, error.hint)


def _clock(host: Host, facts: Facts) -> Iterator[Finding]:
    skew = facts.clock_skew
    if skew is None:
        yield _finding(host, "clock", "unknown", "its clock could not be compared")
    elif abs(skew) > SKEW:
        hint = "Is a time service running there? timedatectl"
        yield _finding(
            host, "clock", "look", f"its clock is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}", hint
        )


def _owner(host: Host, facts: Facts, ours: str, in_flight: set[str]) -> Iterator[Finding]:
    if not ours:
        return
    if facts.owner_state and facts.owner_state != ours:
        message = f'belongs to site "{facts.owner_site}", state {facts.owner_state}'
        yield _finding(host, "owner", "wrong", message, f"To take it over on purpose: mainstay hosts adopt {host.name}")
    elif facts.lock_run and facts.lock_run not in in_flight:
        hint = "The next run takes such a lock over by itself."
        yield _finding(host, "lock", "look", f"is still locked by run {facts.lock_run}, which has ended", hint)


def _fit(app: Application, host: Host, facts: Facts) -> Iterator[Finding]:
    """What a run would say before it starts. Each of the host's plans asks in its own way; the plain one stands for all."""
    judgement = app.upkeep.judge(facts, Carefulness(other_updaters="report"))
    for refusal in judgement.refusals:
        yield _finding(host, "fit", "wrong", refusal)
    for note in judgement.notes:
        yield _finding(host, "fit", "look", note)

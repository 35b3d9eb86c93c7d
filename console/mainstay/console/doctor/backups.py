"""Backups: restic and rclone on the controller, and each repository: whether it answers, opens, is the one it was, has its key
kept elsewhere, and is free of locks that a dead process left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mainstay.console import depots
from mainstay.console.bootstrap import Application
from mainstay.console.doctor.finding import Finding, Health
from mainstay.console.interruptible import interruptible
from mainstay.console.tending import Past, backup_plans
from mainstay.console.vaults import Known, places, vaults
from mainstay.inventory.errors import MainstayError
from mainstay.inventory.host import Host
from mainstay.inventory.postgres import is_postgres
from mainstay.recovery.tending.locks import Judged, judge
from mainstay.runner.shell.parallel import for_each

if TYPE_CHECKING:
    from mainstay.recovery.depot import Depot

PARALLEL = 8
SAMPLE = 10
"""Repositories of each declaration that are asked: each is a process that takes a second or more."""
NAMED = 5


@dataclass(frozen=True, slots=True)
class Looked:
    """id: None: there is no repository at its place."""

    id: str | None
    locks: Sequence[Judged] = ()


def examine(app: Application, hosts: Sequence[Host], *, deep: bool = False) -> Iterator[Finding]:
    """hosts: whose repositories; none: of all. deep: every one, not some of each declaration. Nothing where no plan backs anything
    up. A part that can't be looked at is a finding, and the rest goes on."""
    if not backup_plans(app):
        return
    try:
        found = vaults(app)
        depot = depots.prompt(app)
        names = {host.name for host in hosts}
        found = [one for one in found if not names or one.host in names or not one.repository.vault(one.host)]
        old = _restic(depot, found)
        yield old
        yield from _rclone(depot, found)
        yield from _folders(app, found)
        yield from _names(app)
        yield from _escrow(found)
        if old.health == "well":
            yield from _repositories(app, depot, found, deep)
    except MainstayError as error:
        yield _finding("controller", "backups", "wrong", error.message, error.hint)


def _finding(subject: str, topic: str, health: Health, message: str, hint: str | None = None) -> Finding:
    return Finding(subject=subject, topic=topic, health=health, message=message, hint=hint)


def _restic(depot: Depot, found: Iterable[Known]) -> Finding:
    """Any access does: no repository is asked."""
    last: MainstayError | None = None
    for one in found:
        try:
            access = depot.access(one.repository, one.host, "maintain")
        except MainstayError as error:
            last = error
            continue
        try:
            version = depot.restic(access).version()
        except MainstayError as error:
            plain = getattr(error, "plain", error.message)
            return _finding("controller", "restic", "wrong", plain, error.hint)
        return _finding("controller", "restic", "well", f"restic {'.'.join(map(str, version))}")
    why = last.message if last is not None else "no host is backed up"
    return _finding("controller", "restic", "unknown", f"not asked: {why}", last.hint if last is not None else None)


def _rclone(depot: Depot, found: Iterable[Known]) -> Iterator[Finding]:
    """Where hosts reach a repository through the controller."""
    through = sorted({one.repository.name for one in found if one.repository.through == "controller"})
    if not through:
        return
    try:
        version = depot.gateway.version()
    except (MainstayError, OSError) as error:
        told = error.message if isinstance(error, MainstayError) else str(error)
        hint = (error.hint if isinstance(error, MainstayError) else None) or "Install rclone on the controller."
        yield _finding("controller", "rclone", "wrong", f"{told}; hosts reach {', '.join(through)} through it", hint)
        return
    yield _finding("controller", "rclone", "well", f"rclone {version}, the way to {', '.join(through)}")


def _names(app: Application) -> Iterator[Finding]:
    """Points go by their plan's name: those of an earlier one of that name count as its own. Nothing but the state can tell."""
    for plan in backup_plans(app):
        points = app.points.newest(plan=plan.name)
        used, targets = set(places(plan)), {host.name for host in app.targets(plan)}
        hint = (
            f"Of an earlier plan of this name? They count as its own: give the new one another name, or see what goes with "
            f"mainstay repo retention {plan.name} -n. Was it changed so on purpose, nothing has to be done."
        )
        if elsewhere := sorted({one.repository for one in points} - used):
            message = f"{plan.name} has points in {_listed(elsewhere)}, which it does not use: no policy is theirs"
            yield _finding("controller", "plans", "look", message, hint)
        if points and not {one.host for one in points} & targets:
            whose = _listed(sorted({one.host for one in points}))
            message = f"{plan.name} has points of {whose}, and of none of its hosts"
            yield _finding("controller", "plans", "look", message, hint)


def _folders(app: Application, found: Iterable[Known]) -> Iterator[Finding]:
    """A folder is another one on each machine; of a state that several may work with, nobody knows here which machines do."""
    mine = sorted({one.repository.name for one in found if one.repository.kind == "path"})
    if mine and is_postgres(app.site.state_url):
        message = f"{', '.join(mine)}: folders of the controller; whether each worker's machine has the same ones is not known here"
        hint = (
            "Mount the same storage on every machine that works on runs, or declare it as sftp:, s3: or rest:. "
            "A worker logs at its start which of them its machine lacks."
        )
        yield _finding("controller", "repositories", "unknown", message, hint)


def _escrow(found: Iterable[Known]) -> Iterator[Finding]:
    """Red until somebody has confirmed that the key is kept elsewhere."""
    of: dict[str, list[Known]] = {}
    for one in found:
        of.setdefault(one.repository.name, []).append(one)
    for name, mine in of.items():
        # Before there is a repository there is no key either that would have to be kept.
        unmade = [one for one in mine if one.vault is None or not one.vault.id]
        missing = [one for one in mine if one not in unmade and one.vault is not None and not one.vault.escrow_at]
        if unmade:
            whose = _listed([one.repository.vault(one.host) or "all hosts" for one in unmade])
            message = f"the repositories of {name} were not made or seen yet: {whose}"
            yield _finding("controller", "keys", "wrong", message, _each(unmade, "mainstay repo init {}"))
        if not missing and not unmade:
            yield _finding("controller", "keys", "well", f"the keys of {name} are confirmed to be kept elsewhere")
        if not missing:
            continue
        whose = _listed([one.repository.vault(one.host) or "all hosts" for one in missing])
        export = _each(missing, "mainstay repo key export {} --to FILE")
        confirm = _each(missing, "mainstay repo key confirm {} --from FILE")
        hint = f"Lost with this controller, they are every backup lost. {export}; keep it, then: {confirm}"
        message = f"the keys of {name} are not confirmed to be kept elsewhere: {whose}"
        yield _finding("controller", "keys", "wrong", message, hint)


def _each(found: Iterable[Known], command: str) -> str:
    """The command for each plan that is needed for all of them: a plan's is about its own hosts."""
    return ", ".join(command.format(plan) for plan in dict.fromkeys(one.plans[0] for one in found))


def _repositories(app: Application, depot: Depot, found: Sequence[Known], deep: bool) -> Iterator[Finding]:
    past = Past(app)
    chosen = found if deep else _sample(found)
    by_host: dict[str, list[Known]] = {}
    for one in chosen:
        by_host.setdefault(one.host, []).append(one)
    hosts = [host for host in app.site.hosts if host.name in by_host]

    def look(host: Host) -> list[Looked | MainstayError]:
        return [_look(app, depot, past, one) for one in by_host[host.name]]

    answers = interruptible(lambda: for_each(hosts, look, parallel=PARALLEL))
    well: dict[str, int] = {}
    for host in hosts:
        told = answers[host.name]
        if isinstance(told, MainstayError):
            yield _finding(host.name, "repository", "wrong", told.message, told.hint)
            continue
        for one, looked in zip(by_host[host.name], told, strict=True):
            findings = list(_judged(one, looked))
            yield from findings
            well[one.repository.name] = well.get(one.repository.name, 0) + (not findings)
    for name, count in well.items():
        asked = sum(one.repository.name == name for one in chosen)
        if count:
            yield _finding(
                "controller",
                "repositories",
                "well",
                f"{name}: {count} of {asked} asked answer and open, none locked by the dead",
            )
    if len(chosen) < len(found):
        message = f"asked of {len(chosen)} of {len(found)}, {SAMPLE} of each declaration"
        yield _finding("controller", "repositories", "look", message, "--deep asks all.")


def _sample(found: Iterable[Known]) -> list[Known]:
    of: dict[str, list[Known]] = {}
    for one in found:
        of.setdefault(one.repository.name, []).append(one)
    return [one for mine in of.values() for one in mine[:SAMPLE]]


def _look(app: Application, depot: Depot, past: Past, one: Known) -> Looked | MainstayError:
    try:
        restic = depot.open(one.repository, one.host)
        id = restic.identity()
        if id is None:
            return Looked(None)
        locks = restic.locks()
        return Looked(id, judge(locks, past(one.host) if locks else (), app.clock.now()))
    except MainstayError as error:
        return error


def _judged(one: Known, looked: Looked | MainstayError) -> Iterator[Finding]:
    subject = one.repository.vault(one.host) or "controller"
    name, plan = one.repository.name, one.plans[0]
    which = f" --hosts {one.host}" if one.repository.vault(one.host) else ""
    if isinstance(looked, MainstayError):
        yield _finding(subject, "repository", "wrong", looked.message, looked.hint)
        return
    if looked.id is None:
        where = one.repository.address(one.host)
        gone = one.vault is not None and one.vault.id
        message = f"{name}: there is {'no repository any more' if gone else 'no repository yet'} at {where}"
        hint = "Find out what became of it before you make another." if gone else f"mainstay repo init {plan}{which}"
        yield _finding(subject, "repository", "wrong", message, hint)
        return
    if one.vault is None or not one.vault.id:
        message = (
            f"{name}: there is a repository at {one.repository.address(one.host)} that this controller has never seen"
        )
        hint = f"mainstay repo init {plan}{which}; with --adopt where a controller that is lost has made its points"
        yield _finding(subject, "repository", "look", message, hint)
    elif one.vault.id != looked.id:
        message = f"{name}: it is another repository than before ({looked.id[:8]}, was {one.vault.id[:8]})"
        yield _finding(subject, "repository", "wrong", message, "Its points are not those that mainstay knows.")
    for lock in looked.locks:
        if lock.standing == "dead":
            message = f"{name}: locked by the dead: {lock.why}"
            yield _finding(subject, "lock", "wrong", message, f"mainstay repo unlock {plan}{which}")
        elif lock.stale and lock.standing == "foreign":
            hint = "Find out whose it is. Nothing removes it by itself: prune and check fail until then."
            yield _finding(subject, "lock", "wrong", f"{name}: locked: {lock.why}", hint)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more

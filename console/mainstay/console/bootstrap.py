"""Where concrete classes are chosen, and nowhere else. Everything is made when it is first asked for."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from zoneinfo import ZoneInfo

import click

from mainstay.console.depots import Depots
from mainstay.inventory.errors import ConfigError, Problem, UsageError
from mainstay.inventory.host import Host
from mainstay.inventory.secrets import Secret, Secrets
from mainstay.inventory.selectors import pick
from mainstay.inventory.site import MAIN, Site, find_site
from mainstay.inventory.stamp import stamp
from mainstay.inventory.validation import did_you_mean
from mainstay.runner.plan import Plan
from mainstay.runner.plans import unavailable
from mainstay.runner.ports import Clock, SystemClock
from mainstay.runner.record import MaintenanceRecord, SiteStamp
from mainstay.runner.request import Asking
from mainstay.runner.shell.pins import HostKey, Pins
from mainstay.runner.steps import rfc3339
from mainstay.runner.waves import natural
from mainstay.schedules.check import LoadedSite, load_checked

if TYPE_CHECKING:
    from mainstay.console.chores import Chore
    from mainstay.console.history import History
    from mainstay.console.render.hosts import Known
    from mainstay.console.telling import Notices
    from mainstay.console.working import Works
    from mainstay.runner.artifacts.contract import Artifacts
    from mainstay.runner.engine.adapters.dbos import DbosEngine
    from mainstay.runner.ledger.anchored import AnchoredLedger
    from mainstay.runner.ledger.anchors import RemoteAnchor
    from mainstay.runner.patching.contract import PackageManager
    from mainstay.runner.runs import Runs
    from mainstay.runner.shell.adapters.fabric import FabricShells
    from mainstay.runner.shell.contract import Shells
    from mainstay.runner.state.adapters.stores import Stores
    from mainstay.runner.state.contract import RunRow, State
    from mainstay.runner.toolbox import OperationFactory, Toolbox
    from mainstay.runner.upkeep import Upkeep
    from mainstay.schedules.freezes import Freezes
    from mainstay.schedules.store.contract import ScheduleStore

SITE_VARIABLE = "MAINSTAY_SITE"


def site_folder(given: Path | None) -> Path:
    """--site, else $MAINSTAY_SITE, else the nearest folder upwards with a mainstay.yml. Raises UsageError."""
    if given is None and os.environ.get(SITE_VARIABLE):
        given = Path(os.environ[SITE_VARIABLE])
    if given is None:
        return find_site(Path.cwd())
    folder = given.expanduser()
    if not folder.is_dir():
        raise UsageError(f"{given} is no folder", hint="--site takes a site's folder; mainstay init DIR makes one.")
    if find_site(folder) != folder.resolve():
        # Named on purpose: the site of a folder above it is another one than was meant.
        raise UsageError(f"no {MAIN} in {folder}", hint="--site takes a site's folder; mainstay init DIR makes one.")
    return folder.resolve()


def load(given: Path | None) -> Application:
    """The application on a site that is right. Raises ConfigError with every problem."""
    return Application(load_checked(site_folder(given)))


def who() -> str:
    """Who asks: `anna@ops1`; behind sudo the one who typed it. By the number of the user: $LOGNAME may say anything."""
    try:
        name = os.environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        name = f"uid {os.getuid()}"
    return f"{name}@{socket.gethostname()}"


class Application(Depots):
    """One site with everything that works on it. A context manager: what was opened is closed at its end."""

    def __init__(self, loaded: LoadedSite) -> None:
        self._loaded = loaded
        self._former: dict[str, Host] = {}
        """By name, of sites that were served before this one: runs in flight may still go through them."""
        self._freezes: tuple[LoadedSite, Freezes] | None = None
        """With the site that they are of."""
        self._closing = ExitStack()
        self.serves = False
        """Set before `runs` is asked for: the engine takes work that others put down too."""
        self.threads: int | None = None
        """How many hosts a process that serves has in hand at once; None for as many as the engine takes by itself."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.close()

    # The site

    @property
    def loaded(self) -> LoadedSite:
        return self._loaded

    def take(self, loaded: LoadedSite) -> None:
        """Work from this site from now on: the same folder and the same state, edited. Runs in flight keep what they were
        asked for with, and the hosts that they know."""
        self._former |= {host.name: host for host in self.site.hosts}
        self._loaded = loaded
        if "tools" in self.__dict__:
            self.tools.captures_max_size = self.site.captures_max_size
            self.tools.keep_engine = self.site.keep_engine

    @property
    def site(self) -> Site:
        return self._loaded.site

    @property
    def plans(self) -> Mapping[str, Plan]:
        return self._loaded.plans

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return self._loaded.warnings

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.site.timezone)

    @cached_property
    def clock(self) -> Clock:
        return SystemClock()

    @cached_property
    def requested_by(self) -> str:
        return who()

    def select(self, selector: str | None, among: Sequence[Host] | None = None) -> tuple[Host, ...]:
        """Hosts that the selector picks, all without one, web2 before web10. Raises SelectorError where it matches nothing."""
        hosts = self.site.hosts if among is None else tuple(among)
        if selector is not None:
            hosts = pick(selector, hosts, self.site.groups)
        return tuple(sorted(hosts, key=lambda host: natural(host.name)))

    def plan(self, name: str) -> Plan:
        """Raises UsageError where the site has no such plan."""
        if name not in self.plans:
            told = f"The site's plans: {', '.join(sorted(self.plans))}." if self.plans else "The site has no plan."
            raise UsageError(f'There is no plan "{name}".', hint=did_you_mean(name, self.plans) or told)
        return self.plans[name]

    def runnable(self, name: str) -> Plan:
        """Raises ConfigError for a plan that asks for what can't be done yet: it is never ignored."""
        plan = self.plan(name)
        problems = unavailable(plan, self.site)
        if problems:
            raise ConfigError(problems)
        return plan

    def targets(self, plan: Plan, selector: str | None = None) -> tuple[Host, ...]:
        """The plan's hosts, or those of them that the selector picks."""
        hosts = self.select(plan.targets)
        return self.select(selector, hosts) if selector else hosts

    def asking(
        self,
        *,
        reason: str = "",
        break_glass: str = "",
        skip_gates: Mapping[str, str] | None = None,
        retry: bool = False,
    ) -> Asking:
        commit, dirty = stamp(self.site.root)
        return Asking(
            requested_by=self.requested_by,
            asked_at=rfc3339(self.clock.now()),
            reason=reason,
            break_glass=break_glass,
            skip_gates=dict(skip_gates or {}),
            retry=retry,
            site=SiteStamp(commit=commit, dirty=dirty),
            site_name=self.site.name,
            limits=self.site.limits,
            mainstay_version=version("mainstay"),
        )

    # The stores

    @cached_property
    def stores(self) -> Stores:
        from mainstay.runner.state.adapters.stores import open_state

        stores = open_state(
            self.site.state_url,
            self.site.root,
            directory=self.site.state_dir,
            key=self.site.ledger_key,
            password=self.state_password,
        )
        self._closing.callback(stores.close)
        for notice in stores.notices:
            click.echo(notice, err=True)
        return stores

    @property
    def state_password(self) -> Secret | None:
        """Of the user in the state's URL. None: libpq finds one, or needs none. Raises SecretError."""
        reference = self.site.state_password
        return None if reference is None else self.secrets.resolve(reference)

    @property
    def state(self) -> State:
        return self.stores.state

    @cached_property
    def ledger(self) -> AnchoredLedger:
        from mainstay.runner.ledger.anchored import AnchoredLedger
        from mainstay.runner.ledger.courier import Courier
        from mainstay.runner.ledger.seals import Anchor

        courier = Courier(Anchor(self.stores.anchor), self.anchors, self.stores.directory / "anchors")
        self._closing.callback(courier.close)
        return AnchoredLedger(self.stores.ledger, courier, self._ended)

    @cached_property
    def anchors(self) -> list[RemoteAnchor]:
        """Where else the ledger's seals are kept."""
        from mainstay.console.anchoring import anchors_of

        return anchors_of(self.site, self.secrets, self._host)

    def _ended(self) -> dict[str, bool]:
        return {row.id: row.state == "ended" for row in self.state.runs()}

    @property
    def artifacts(self) -> Artifacts:
        return self.stores.artifacts

    @cached_property
    def schedule_store(self) -> ScheduleStore:
        """What the clock remembers, in the state's database."""
        from mainstay.schedules.store.adapters.sql import SqlSchedules

        return SqlSchedules(self.stores.database)

    @cached_property
    def history(self) -> History:
        from mainstay.console.history import History

        return History(self.state, self.ledger)

    def record(self, text: str) -> MaintenanceRecord:
        return self.history.record(text)

    def run_row(self, text: str) -> RunRow:
        return self.history.run(text)

    def known(self, hosts: Sequence[Host]) -> list[Known]:
        """What the controller knows of these hosts without asking them."""
        from mainstay.console.history import known

        return known(self, hosts)

    # The hosts

    @cached_property
    def secrets(self) -> Secrets:
        return Secrets(self.site.root)

    @cached_property
    def pins(self) -> Pins:
        return Pins(self.site.known_hosts)

    @cached_property
    def _fabric(self) -> FabricShells:
        from mainstay.runner.shell.adapters.fabric import FabricShells

        shells = FabricShells(self._host, self.site.known_hosts, self.secrets.resolve, root=self.site.root)
        self._closing.callback(shells.close)
        return shells

    @property
    def shells(self) -> Shells:
        return self._fabric

    def scan(self, host: Host) -> tuple[HostKey, ...]:
        """The keys that the host offers now; nothing is sent to it."""
        return self._fabric.scan(host)

    def _host(self, name: str) -> Host:
        host = self.site.inventory.host(name) or self._former.get(name)
        if host is None:
            raise UsageError(f'There is no host "{name}".', hint="See mainstay hosts.")
        return host

    # What changes something

    @cached_property
    def upkeep(self) -> Upkeep:
        from mainstay.runner.host_upkeep import HostUpkeep

        return HostUpkeep(root=self.site.root)

    @cached_property
    def operations(self) -> Mapping[str, OperationFactory]:
        from mainstay.console.operating import operations

        return operations(self)

    @cached_property
    def packages(self) -> PackageManager:
        """What asks hosts for their packages, and changes them."""
        from mainstay.runner.patching.apt.manager import Apt

        return Apt()

    @cached_property
    def tools(self) -> Toolbox:
        from mainstay.console.operating import toolbox

        return toolbox(self)

    @cached_property
    def engine(self) -> DbosEngine:
        from mainstay.runner.engine.adapters.dbos import CHILDREN_AT_ONCE, DbosEngine

        at_once = self.threads or CHILDREN_AT_ONCE
        return DbosEngine(self.stores.directory, self.stores.engine_url, children=at_once)

    @cached_property
    def runs(self) -> Runs:
        """Launches the engine: only for verbs that change something. Raises LedgerBehind before any work."""
        from mainstay.runner.runs import Runs

        self.stores.guard()
        self.ledger.guard()
        self.ledger.courier.wake()  # what an earlier process could not deliver
        self.notices.begin()
        runs = Runs(self.tools, self.engine)
        self.engine.launch(serve=self.serves)
        self._closing.callback(self.engine.close)
        return runs

    @property
    def freezes(self) -> Freezes:
        """When nothing may start: the site's freezes and calendars, as they are now. Opens the state only where a calendar
        is fetched."""
        from mainstay.console.gating import freezes

        loaded, made = self._loaded, self._freezes
        if made is None or made[0] is not loaded:  # also those that were being made while another site was taken
            made = self._freezes = loaded, freezes(self, loaded)
        return made[1]

    @cached_property
    def notices(self) -> Notices:
        """Who is told what of this site."""
        from mainstay.console.telling import Notices

        notices = Notices(self)
        self._closing.callback(notices.close)
        return notices

    @cached_property
    def chores(self) -> tuple[Chore, ...]:
        """What a process that serves does again and again, beside its runs."""
        from mainstay.console.chores import chores

        return chores(self)

    def hand_over(self, run: str) -> None:
        """Put the run down for whoever serves. This process's engine is not needed any more after that."""
        self.runs.hand_over(run)
        self.engine.close()

    def works(self, runs: Collection[str] = ()) -> Works:
        """Who works on these runs in flight, and who serves. Starts nothing."""
        from mainstay.console.working import ask

        return ask(self.stores.directory, self.stores.engine_url, runs)

    def left_behind(self, runs: Collection[str]) -> set[str]:
        """Those of the runs in flight that nobody works on, and nobody will unless they are resumed. Starts nothing."""
        works = self.works(runs)
        return {run for run in runs if works.standing(run) == "left-behind"}

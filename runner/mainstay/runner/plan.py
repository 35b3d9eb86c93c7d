"""Plans: what to do to whom, when and how carefully. As written in a site's schedules/*.yml, checked."""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema, model_validator

from mainstay.inventory.amounts import Amount, Duration, Share, seconds
from mainstay.inventory.limits import Spread
from mainstay.inventory.names import shown
from mainstay.inventory.notify import Ping
from mainstay.inventory.value import Value, digest
from mainstay.runner.health import grammar

MaintenanceType = Literal["corrective", "adaptive", "perfective", "preventive", "predictive"]


class WaveSpec(Value):
    """One wave: so many hosts (or that share of all), or those that a selector picks."""

    size: Amount | None = None
    select: str | None = None

    @classmethod
    def parse(cls, value: Any) -> Any:
        if isinstance(value, (dict, WaveSpec)):
            return value
        share = Share.parse(value)
        if share.count == 0 or share.percent == 0:
            raise ValueError("a wave of no hosts would never end")
        return {"size": share}

    @model_validator(mode="after")
    def _somebody(self) -> WaveSpec:
        if self.size is None and self.select is None:
            raise ValueError("a wave is a number of hosts (3), a share of them (25%) or select: SELECTOR")
        if self.size is not None and not (self.size.count or self.size.percent):
            raise ValueError("a wave of no hosts would never end")
        return self


Wave = Annotated[WaveSpec, BeforeValidator(WaveSpec.parse, json_schema_input_type=int | str | WaveSpec)]


def _words(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _package_pattern(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9*?\[][a-z0-9+.*?\[\]!-]*(?::[a-z0-9-]+)?", text, re.ASCII):
        raise ValueError(f"{shown(text)} is neither the name of a package nor a pattern of names (linux-image-*)")
    return text


def _package(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9+.-]+(?::[a-z0-9-]+)?", text, re.ASCII):
        raise ValueError(f"{shown(text)} is no name of a package")
    return text


def _version(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+:~-]*", text, re.ASCII):
        raise ValueError(f"{shown(text)} is no version of a package")
    return text


def _unit_pattern(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9:_.@\\*?\[][A-Za-z0-9:_.@\\*?\[\]!-]{0,254}", text, re.ASCII):
        raise ValueError(f"{shown(text)} is neither the name of a unit nor a pattern of names")
    return text


PackagePattern = Annotated[str, AfterValidator(_package_pattern)]
"""Debian's grammar of names (Policy 5.6.1) and `*`, `?`, `[…]`; it also holds names of rpm and apk in lower case."""
Package = Annotated[str, AfterValidator(_package)]
Version = Annotated[str, AfterValidator(_version), WithJsonSchema({"type": ["string", "number"]})]
"""Debian Policy 5.6.12; also what rpm and apk write."""
UnitPattern = Annotated[str, AfterValidator(_unit_pattern)]
_Listed = BeforeValidator(_words, json_schema_input_type=str | list[str])
PackagePatterns = Annotated[tuple[PackagePattern, ...], _Listed]


def _argv(text: str, word: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        raise ValueError(f"{word}: a quote that is not closed") from None


def _no_nul(argv: tuple[str, ...]) -> tuple[str, ...]:
    if any("\0" in part for part in argv):
        raise ValueError("a NUL can't be part of a command")
    return argv


Argv = Annotated[
    tuple[str, ...],
    AfterValidator(_no_nul),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""A command: a list of words, or one text that is split as a shell would, and nothing more of a shell."""


class Updates(Value):
    """Which updates are taken."""

    select: Literal["security", "all"] = "security"
    exclude: PackagePatterns = ()
    """Patterns of package names (`linux-image-*`)."""
    min_age: Duration = 0.0
    """Seconds that a version must have been seen for before it is taken."""
    min_age_except: PackagePatterns = ()
    """Patterns of package names that are taken at any age."""
    packages: dict[Package, Version] = {}
    """Exact versions wanted by name, beside `select`; a rollout of one package is `select: none`-like with this alone."""
    only: PackagePatterns = ()
    """Patterns; where given, nothing else is taken."""
    allow_remove: PackagePatterns = ()
    """Patterns of packages that may be removed if the update needs it."""
    allow_new: bool = True
    """New packages that an update depends on may be installed (kernels' new ABI)."""
    phased: Literal["follow", "take", "skip"] = "follow"


class Check(Value):
    """One health check. Exactly one of service, tcp, http, command.

    service, command: on the host. tcp (`port` or `{address}:port`), http: from the controller.
    """

    name: str | None = None
    service: str | None = None
    tcp: Annotated[str, WithJsonSchema({"type": ["string", "integer"]})] | None = None
    http: str | None = None
    command: Argv | None = None
    user: str | None = None
    """Who runs `command`; nobody's rights where it is not given."""
    expect: int | None = None
    """http: status code, 200 where it is not given."""
    contains: str | None = None
    timeout: Duration = 10.0
    retries: int = Field(default=10, ge=0, le=1000)
    """After the change; the baseline is asked once."""
    every: Duration = 2.0

    @model_validator(mode="before")
    @classmethod
    def _argv(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("command"), str):
            return {**data, "command": _argv(data["command"], "command")}
        if isinstance(data, dict) and isinstance(data.get("tcp"), int):
            return {**data, "tcp": str(data["tcp"])}
        return data

    @model_validator(mode="after")
    def _one(self) -> Check:
        kinds = [word for word in ("service", "tcp", "http", "command") if getattr(self, word) is not None]
        if len(kinds) != 1:
            raise ValueError("a health check is exactly one of service, tcp, http, command")
        grammar.validate(
            service_name=self.service,
            tcp_text=self.tcp,
            http_text=self.http,
            command=self.command,
            user=self.user,
            expect=self.expect,
            contains=self.contains,
        )
        if self.timeout <= 0:
            raise ValueError("timeout: a check without time can't pass")
        return self

    @property
    def label(self) -> str:
        if self.name:
            return self.name
        if self.command:
            return self.command[0]
        return next(f"{word} {getattr(self, word)}" for word in ("service", "tcp", "http") if getattr(self, word))


class Hook(Value):
    """A command before the change or after it: `command` on the host, `controller` on mainstay's own machine."""

    command: Argv | None = None
    controller: Argv | None = None
    playbook: str | None = None
    user: str | None = None
    timeout: Duration = 300.0

    @model_validator(mode="before")
    @classmethod
    def _argv(cls, data: Any) -> Any:
        if isinstance(data, str):
            data = {"command": data}
        if not isinstance(data, dict):
            return data
        split = {key: _argv(data[key], key) for key in ("command", "controller") if isinstance(data.get(key), str)}
        return {**data, **split}

    @model_validator(mode="after")
    def _one(self) -> Hook:
        if sum(value is not None for value in (self.command, self.controller, self.playbook)) != 1:
            raise ValueError("a hook is exactly one of command, controller, playbook")
        grammar.hook(command=self.command, controller=self.controller, user=self.user, timeout=self.timeout)
        return self


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, (dict, str)) else value


Hooks = Annotated[tuple[Hook, ...], BeforeValidator(_listed, json_schema_input_type=str | Hook | list[Hook | str])]
Checks = Annotated[tuple[Check, ...], BeforeValidator(_listed, json_schema_input_type=Check | list[Check])]


def _missed(value: Any) -> Any:
    """`skip`, `next-window`, or `run-if-late: 6h` (a text, or a mapping with that one key)."""
    if value in ("skip", "next-window"):
        return value
    if isinstance(value, dict) and list(value) == ["run-if-late"]:
        word, limit = "run-if-late", value["run-if-late"]
    else:
        word, _, limit = map(str.strip, str(value).partition(":"))
    if word != "run-if-late" or (isinstance(value, str) and ":" not in value):
        raise ValueError(f"{shown(value)} is none of skip, next-window or run-if-late: 6h")
    if limit == "0" or not seconds(limit):
        raise ValueError("run-if-late: 0 is no time to be late in; write skip where nothing may run late")
    return f"run-if-late: {limit}"


def _before(value: Any) -> Any:
    """`4h before`, or `4h`."""
    return value.removesuffix("before").strip() if isinstance(value, str) else value


def _ahead(value: float | None) -> float | None:
    if value == 0:
        raise ValueError("0 is no time ahead; leave stage out where downloads begin with the change")
    return value


def _some(waves: tuple[WaveSpec, ...]) -> tuple[WaveSpec, ...]:
    if not waves:
        raise ValueError("is empty: at least one wave is needed")
    return waves


class Carefulness(Value):
    """How a rollout goes over its hosts; the same for patches and rollbacks."""

    waves: Annotated[tuple[Wave, ...], AfterValidator(_some)] = (
        WaveSpec(size=Share(count=1)),
        WaveSpec(size=Share(percent=100)),
    )
    parallel: int = Field(default=10, ge=1, le=500)
    spread: Spread = {}
    """tag → how many hosts with the same value of it may be in flight together, over all runs of the plan."""
    prove_first: bool = True
    """The first wave has to be wholly green, and what it did is the measure of the later ones. Not written in a site: each kind
    of plan says it of itself."""
    budget: Amount = Share(count=0)
    strict_budget: bool = False
    strict: bool = False
    """Degraded hosts don't pass a gate."""
    unreachable: Amount = Share(count=0)
    soak: Duration = 0.0
    before: Hooks = ()
    after: Hooks = ()
    health: Checks = ()
    restart: Literal["affected", "reboot", "none"] = "affected"
    restart_never: Annotated[tuple[UnitPattern, ...], _Listed] = ()
    """Patterns of units never restarted, beside the list that ships."""
    reboot: Literal["when-needed", "always", "never"] = "when-needed"
    reboot_timeout: Duration = 600.0
    apply_timeout: Duration = 3600.0
    other_updaters: Literal["fence", "refuse", "report"] = "refuse"
    overrun: Duration = 1800.0
    lock_wait: Duration = 300.0
    """How long the package manager's lock is waited for before the host is refused as busy."""
    lost_after: Duration = Field(default=120.0, gt=0)
    """Seconds without contact to a host in hand, after which it is called unknown."""
    reconcile_for: Duration = 900.0
    """Seconds, at the end of the run, in which hosts that are unknown are asked again. They are asked once in any case."""


class BackupRequired(Value):
    """What must be there of each of a host's sources before it is changed."""

    newer_than: Duration | None = None
    """Seconds that the newest point that succeeded is old at the most."""
    proved_within: Duration | None = None
    """Seconds since a point of the source was last proved, at the most."""
    accept_degraded: bool = False
    """Points that are degraded count as well."""
    plan: str | None = None
    """The plan whose points count; None: every plan that backs the host up."""

    @model_validator(mode="after")
    def _something(self) -> BackupRequired:
        if self.newer_than is None and self.proved_within is None:
            raise ValueError("requires nothing: say newer_than: 24h, proved_within: 30d, or both")
        return self


class Requires(Value):
    """What must hold of a host before it is changed; asked host by host, right before."""

    backup: BackupRequired | None = None


class Timed(Value):
    """When a plan may run, beside its windows; the same for every kind."""

    missed: Annotated[str, BeforeValidator(_missed, json_schema_input_type=str | dict[str, str])] = "skip"
    calendar: Annotated[tuple[str, ...], _Listed] = ()
    """Names of calendars: an opening counts only where each of them has an event at its start."""
    jitter: Duration = 0.0
    """Seconds over which the hosts' starts are spread, each host always at the same place."""
    stage: Annotated[
        Duration | None, BeforeValidator(_before), AfterValidator(_ahead), WithJsonSchema({"type": "string"})
    ] = None
    """Seconds before a window at which downloads begin."""
    approval: Literal["none", "required", "two-person"] = "none"


class Plan(Carefulness, Timed):
    """What every kind of plan has. What a kind does on a host is its operation's."""

    kind: str
    name: str = ""
    """Filled in from its key in the site."""
    maintenance_type: MaintenanceType = "preventive"
    targets: str
    window: Annotated[tuple[str, ...], _Listed] = ()
    """Names of windows; in any of them it may run."""
    on_failure: Literal["halt", "rollback-host", "rollback-all"] = "halt"
    undo_for: Duration = 30 * 86400.0
    ping: Ping | None = None
    """A dead man's switch that hears when a run begins and how it ends."""
    source: str = ""
    """Where it was declared: `schedules/web.yml:7`."""

    @model_validator(mode="after")
    def _before_what(self) -> Self:
        if self.stage is not None and not self.window:
            raise ValueError("stage: downloads begin before a window opens, and this plan has none")
        return self

    @property
    def title(self) -> str:
        """What it does, in two or three words."""
        return self.kind

    @property
    def shares(self) -> dict[str, int]:
        """What its hosts share with all other runs, in words → how many may use it at once."""
        return {}

    def hash(self) -> str:
        """What the record and an approval are bound to: the plan without the place it was written at, and without who hears
        of it."""
        data = self.to_json()
        data.pop("source")
        data.pop("ping")
        return digest(data)


class PatchPlan(Plan):
    """kind: patch."""

    kind: Literal["patch"] = "patch"
    updates: Updates = Updates()
    untested: Literal["take", "refuse"] = "take"
    undo_required: bool = True
    """A host where some package could not go back is refused."""
    requires: Requires | None = None

    @property
    def title(self) -> str:
        return {"security": "security updates", "all": "all updates"}[self.updates.select]

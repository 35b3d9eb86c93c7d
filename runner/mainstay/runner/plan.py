"""Plans: what to do to whom, when and how carefully. As written in a site's schedules/*.yml, checked."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from mainstay.inventory.amounts import Amount, Duration, Share
from mainstay.inventory.value import Value, digest

MaintenanceType = Literal["corrective", "adaptive", "perfective", "preventive", "predictive"]


class WaveSpec(Value):
    """One wave: so many hosts (or that share of all), or those that a selector picks."""

    size: Amount | None = None
    select: str | None = None

    @classmethod
    def parse(cls, value: Any) -> Any:
        if isinstance(value, dict) and ("select" in value or "size" in value):
            return value
        share = Share.parse(value)
        if share.count == 0 or share.percent == 0:
            raise ValueError("a wave of no hosts would never end")
        return {"size": share}


Wave = Annotated[WaveSpec, BeforeValidator(WaveSpec.parse)]


class Updates(Value):
    """Which updates are taken."""

    select: Literal["security", "all"] = "security"
    exclude: tuple[str, ...] = ()
    """Patterns of package names (`linux-image-*`)."""
    min_age: Duration = 0.0
    """Seconds that a version must have been seen for before it is taken."""
    min_age_except: tuple[str, ...] = ()
    """Patterns of package names that are taken at any age."""
    packages: dict[str, str] = {}
    """Exact versions wanted by name, beside `select`; a rollout of one package is `select: none`-like with this alone."""
    only: tuple[str, ...] = ()
    """Patterns; where given, nothing else is taken."""
    allow_remove: tuple[str, ...] = ()
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
    tcp: str | None = None
    http: str | None = None
    command: tuple[str, ...] | None = None
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
            import shlex

            return {**data, "command": shlex.split(data["command"])}
        if isinstance(data, dict) and isinstance(data.get("tcp"), int):
            return {**data, "tcp": str(data["tcp"])}
        return data

    @model_validator(mode="after")
    def _one(self) -> Check:
        kinds = [word for word in ("service", "tcp", "http", "command") if getattr(self, word) is not None]
        if len(kinds) != 1:
            raise ValueError("a health check is exactly one of service, tcp, http, command")
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

    command: tuple[str, ...] | None = None
    controller: tuple[str, ...] | None = None
    playbook: str | None = None
    user: str | None = None
    timeout: Duration = 300.0

    @model_validator(mode="before")
    @classmethod
    def _argv(cls, data: Any) -> Any:
        import shlex

        if isinstance(data, str):
            data = {"command": data}
        if not isinstance(data, dict):
            return data
        split = {key: shlex.split(data[key]) for key in ("command", "controller") if isinstance(data.get(key), str)}
        return {**data, **split}

    @model_validator(mode="after")
    def _one(self) -> Hook:
        if sum(value is not None for value in (self.command, self.controller, self.playbook)) != 1:
            raise ValueError("a hook is exactly one of command, controller, playbook")
        return self


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, (dict, str)) else value


Hooks = Annotated[tuple[Hook, ...], BeforeValidator(_listed)]
Checks = Annotated[tuple[Check, ...], BeforeValidator(_listed)]


class Carefulness(Value):
    """How a rollout goes over its hosts; the same for patches and rollbacks."""

    waves: tuple[Wave, ...] = (WaveSpec(size=Share(count=1)), WaveSpec(size=Share(percent=100)))
    parallel: int = Field(default=10, ge=1, le=500)
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
    restart_never: tuple[str, ...] = ()
    """Patterns of units never restarted, beside the list that ships."""
    reboot: Literal["when-needed", "always", "never"] = "when-needed"
    reboot_timeout: Duration = 600.0
    apply_timeout: Duration = 3600.0
    other_updaters: Literal["fence", "refuse", "report"] = "refuse"
    overrun: Duration = 1800.0
    lock_wait: Duration = 300.0
    """How long the package manager's lock is waited for before the host is refused as busy."""

    @model_validator(mode="after")
    def _waves(self) -> Carefulness:
        if not self.waves:
            raise ValueError("waves: at least one")
        return self


class Requires(Value):
    backup: dict[str, Any] | None = None


class PatchPlan(Carefulness):
    """kind: patch."""

    kind: Literal["patch"] = "patch"
    name: str = ""
    """Filled in from its key in the site."""
    maintenance_type: MaintenanceType = "preventive"
    targets: str
    window: str | None = None
    missed: str = "skip"
    updates: Updates = Updates()
    untested: Literal["take", "refuse"] = "take"
    on_failure: Literal["halt", "rollback-host", "rollback-all"] = "halt"
    undo_required: bool = True
    """A host where some package could not go back is refused."""
    undo_for: Duration = 30 * 86400.0
    requires: Requires | None = None
    approval: Any = "none"
    source: str = ""
    """Where it was declared: `schedules/web.yml:7`."""

    def hash(self) -> str:
        """What the record and (later) an approval are bound to: the plan without the place it was written at."""
        data = self.to_json()
        data.pop("source")
        return digest(data)

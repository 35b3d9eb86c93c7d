"""The backup plan: what of a host is kept, where, for how long, and how it is proved. As written in a site's schedules/*.yml."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from mainstay.inventory.amounts import Amount, Duration, Share, Size
from mainstay.inventory.names import shown
from mainstay.inventory.value import Value
from mainstay.recovery.expectations import Expectations
from mainstay.recovery.repository import Repository
from mainstay.recovery.retention.policy import Policy
from mainstay.runner.plan import Argv, Carefulness, Plan, Wave, WaveSpec


def _absolute(text: str) -> str:
    if not text.startswith("/") or any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise ValueError(f"{shown(text)} is no absolute path")
    return text


def _one_or_many(value: Any) -> Any:
    return [value] if isinstance(value, (str, dict)) else value


AbsolutePath = Annotated[str, AfterValidator(_absolute)]
_Texts = BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])
Paths = Annotated[tuple[AbsolutePath, ...], _Texts]


class PostgresqlSource(Value):
    """A cluster on the host: each database by pg_dump -Fc, and what is the cluster's own by pg_dumpall --globals-only.

    method basebackup: the whole cluster with the WAL it needs (pg_basebackup -Ft -X fetch), one stream."""

    databases: Literal["all"] | tuple[str, ...] = "all"
    """all: those that allow connections, templates left out; asked when the backup begins."""
    globals: bool = True
    method: Literal["dump", "basebackup"] = "dump"
    user: str = "postgres"
    """The system's user that runs it; PostgreSQL knows it by peer authentication."""
    host: str = "/var/run/postgresql"
    """Folder of the socket."""
    port: int = Field(default=5432, ge=1, le=65535)
    bin: AbsolutePath | None = None
    """Folder of pg_dump; None: found on PATH and under /usr/lib/postgresql."""


class MysqlSource(Value):
    """MariaDB or MySQL on the host, by its own dump program in one transaction (InnoDB)."""

    databases: Literal["all"] | tuple[str, ...] = "all"
    user: str = "root"
    """The system's user that runs it, and the database's, by unix_socket authentication."""
    socket: AbsolutePath | None = None


class Source(Value):
    """One thing that is backed up; exactly one of paths, files_from, postgresql, mysql, sqlite, command. One source is one
    snapshot, but for databases (one for each) and SQLite files (one for each)."""

    paths: Paths = ()
    files_from: Argv | None = None
    """A command on the host that prints what to back up: absolute paths, one a line."""
    exclude: Annotated[tuple[str, ...], _Texts] = ()
    """Patterns as restic's --exclude takes them."""
    exclude_if_present: Annotated[tuple[str, ...], _Texts] = ()
    """A folder with a file of this name is left out (restic's --exclude-if-present)."""
    one_file_system: bool = False
    snapshot: Literal["none", "auto", "btrfs", "lvm"] = "none"
    """A snapshot of the filesystem is taken first, read from and removed again. auto: where there can be one."""
    snapshot_size: Size = 1_073_741_824
    """lvm: bytes of the snapshot's own space; one that fills up is a failure."""
    postgresql: PostgresqlSource | None = None
    mysql: MysqlSource | None = None
    sqlite: Paths = ()
    """Database files; copied in a transaction by `sqlite3 FILE ".backup"` and backed up from there."""
    command: Argv | None = None
    """A command on the host whose standard output is kept; another exit status than 0 is a failure."""
    filename: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
    """command: the name of its output in the snapshot."""
    trailer: str | None = None
    """command: the text that the output's last 4096 bytes have to hold."""
    user: str | None = None
    """command, files_from: who runs it; nobody's rights where it is not given."""
    max_time: Duration = 86400.0
    """Seconds after which taking this source is broken off."""
    expect: Expectations | None = None
    """Beside the plan's; a key that is given here counts instead of it."""

    @model_validator(mode="before")
    @classmethod
    def _argv(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        try:
            words = {key: shlex.split(data[key]) for key in ("files_from", "command") if isinstance(data.get(key), str)}
        except ValueError:
            raise ValueError("a quote in its command is not closed") from None
        return {**data, **words}

    @model_validator(mode="after")
    def _one(self) -> Source:
        given = [word for word in self.KINDS if getattr(self, word)]
        if len(given) != 1:
            raise ValueError("a source is exactly one of paths, files_from, postgresql, mysql, sqlite, command")
        if (self.filename or self.trailer) and not self.command:
            raise ValueError("filename and trailer belong to a command")
        if self.command and not self.filename:
            raise ValueError("a command needs filename: the name of its output in the snapshot")
        return self

    KINDS: ClassVar[tuple[str, ...]] = ("paths", "files_from", "postgresql", "mysql", "sqlite", "command")

    @property
    def kind(self) -> str:
        return next(word for word in self.KINDS if getattr(self, word))


class Copying(Value):
    """One more place that the points are to be in: `offsite`, or a mapping."""

    to: str
    """Name of a repository."""
    every: Duration = 86400.0
    window: str | None = None
    """Name of a window; copies begin only in it."""
    upload: int | None = Field(default=None, gt=0)
    """KiB per second."""
    keep: Literal["same", "all"] = "same"
    """same: retention there is as in the plan's own repository."""


_CopiesInput = str | Copying | list[str | Copying]


def _copies(value: Any) -> Any:
    listed = [value] if isinstance(value, (str, dict)) else value
    return [{"to": one} if isinstance(one, str) else one for one in listed] if isinstance(listed, list) else listed


class Assertion(Value):
    """What must hold of a restored database: a query whose answer is compared. Exactly one of equals, at_least, newer_than."""

    source: str
    """Name of the source."""
    database: str
    query: str
    """One statement; the first column of its first row is the answer."""
    equals: str | None = None
    at_least: float | None = None
    newer_than: Duration | None = None
    """The answer is a time, at most so many seconds older than the point: data that has stopped coming in is found so."""

    @model_validator(mode="after")
    def _one(self) -> Assertion:
        if sum(value is not None for value in (self.equals, self.at_least, self.newer_than)) != 1:
            raise ValueError("an assertion is exactly one of equals, at_least, newer_than")
        return self


class Proving(Value):
    """How restores prove the points: a sample of files and every dump, restored into a scratch place, compared, asserted,
    and cleaned up."""

    every: Duration = 7 * 86400.0
    sample: int = Field(default=20, ge=1, le=10_000)
    """Files of each source."""
    on: str = "controller"
    """Which machine restores: controller; the name of a host, for all of them; or `host`: each its own."""
    max_bytes: Size = 5 * 2**30
    """Of all that is restored for one host; what does not fit is not proved, and named."""
    max_time: Duration = 3600.0
    check: Annotated[
        tuple[Assertion, ...], BeforeValidator(_one_or_many, json_schema_input_type=Assertion | list[Assertion])
    ] = ()


class Checking(Value):
    """check --read-data-subset in rotation."""

    every: Duration = 86400.0
    all_within: Duration = 28 * 86400.0
    """Seconds within which all data has been read once."""


class Pruning(Value):
    every: Duration = 7 * 86400.0
    max_unused: str = Field(default="5%", pattern=r"^(\d{1,3}%|\d+[KMGT]?|unlimited)$")
    """restic's --max-unused."""


class BackupPlan(Plan):
    """kind: backup. Beside what every plan has."""

    kind: Literal["backup"] = "backup"
    repository: str
    """Name of the repository that hosts write to."""
    renamed_from: Annotated[tuple[str, ...], _Texts] = ()
    """Names that the plan had before: the points of those are its own."""
    sources: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")], Source]
    expect: Expectations = Expectations()
    keep_proved: int = Field(default=1, ge=0, le=1000)
    """So many points of each source that a restore has proved always stay, and nothing goes before there are so many."""
    copies: Annotated[tuple[Copying, ...], BeforeValidator(_copies, json_schema_input_type=_CopiesInput)] = ()
    retention: Policy | None = None
    """How many points stay; None: all of them, for ever."""
    prove: Proving | None = Proving()
    """null: never; then nothing is ever proved, and that is said."""
    verify: Checking = Checking()
    prune: Pruning = Pruning()
    fresh: Duration | None = None
    """Seconds that the newest point may be old before it is an alarm; None: one and a half times the schedule's interval."""
    nice: int = Field(default=10, ge=0, le=19)
    ionice: Literal["none", "best-effort", "idle"] = "best-effort"
    compression: Literal["auto", "max", "off"] = "auto"
    tags: Annotated[tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")], ...], _Texts] = ()
    send_restic: bool = True
    """A host without restic, or with one that is too old, gets the controller's."""

    # A backup's own defaults: all hosts at once, and none stops the others.
    prove_first: bool = False
    waves: tuple[Wave, ...] = (WaveSpec(size=Share(percent=100)),)
    budget: Amount = Share(percent=100)
    unreachable: Amount = Share(percent=100)
    parallel: int = Field(default=20, ge=1, le=500)
    restart: Literal["affected", "reboot", "none"] = "none"
    reboot: Literal["when-needed", "always", "never"] = "never"
    other_updaters: Literal["fence", "refuse", "report"] = "report"
    apply_timeout: Duration = 86400.0
    lost_after: Duration = Field(default=900.0, gt=0)

    repositories: dict[str, Repository] = {}
    """Those that the plan uses, as they are declared in the site. Filled in when it is loaded."""
    order: tuple[str, ...] = ()
    """Names of the sources as they are written, in which they are taken, where that is not the order of the names: canonical
    JSON, as which a run keeps its plan, sorts keys. Filled in when it is loaded."""

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, data: Any) -> Any:
        """The sources in their order again."""
        if not isinstance(data, dict) or not data.get("order") or not isinstance(sources := data.get("sources"), dict):
            return data
        return {**data, "sources": {name: sources[name] for name in data["order"] if name in sources} | sources}

    @model_validator(mode="after")
    def _some(self) -> BackupPlan:
        if not self.sources:
            raise ValueError("sources: is empty: what is to be backed up?")
        unknown = sorted({one.source for one in (self.prove.check if self.prove else ())} - set(self.sources))
        if unknown:
            raise ValueError(f"prove.check asks of {', '.join(unknown)}, which is none of its sources")
        if self.on_failure != "halt":
            raise ValueError("on_failure: a backup changes nothing that could be rolled back")
        return self

    @property
    def title(self) -> str:
        return f"backup to {self.repository}"

    @property
    def shares(self) -> dict[str, int]:
        found = self.repositories.get(self.repository)
        return {f"repository {self.repository}": found.parallel} if found else {}

    def hash(self) -> str:
        """Also without the places at which its repositories are written."""
        placeless = {name: one.model_copy(update={"source": ""}) for name, one in self.repositories.items()}
        return Plan.hash(self.model_copy(update={"repositories": placeless}))

    @model_validator(mode="before")
    @classmethod
    def _merged(cls, data: Any) -> Any:
        """What a source says of its `expect` counts instead of the plan's, key by key."""
        if not isinstance(data, dict) or not isinstance(data.get("sources"), dict):
            return data
        whole = data.get("expect")
        if not isinstance(whole, dict):
            return data

        def with_whole(one: Any) -> Any:
            own = one.get("expect") if isinstance(one, dict) else None
            return {**one, "expect": {**whole, **own}} if isinstance(own, dict) else one

        return {**data, "sources": {name: with_whole(one) for name, one in data["sources"].items()}}

    def expected(self, source: str) -> Expectations:
        return self.sources[source].expect or self.expect


def carefulness(plan: BackupPlan) -> Carefulness:
    """As the plan's runs have it, for what is done for the same hosts on the controller."""
    return Carefulness.model_validate({name: getattr(plan, name) for name in Carefulness.model_fields})

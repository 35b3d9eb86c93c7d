"""What may be written in mainstay.yml and inventory/*.yml. Everything optional, so that it can be merged."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from mainstay.inventory.amounts import Duration, Size
from mainstay.inventory.anchors import Anchor
from mainstay.inventory.errors import WrongValue
from mainstay.inventory.host import Become, Ssh
from mainstay.inventory.limits import Limits
from mainstay.inventory.names import address_of, check_name, check_user
from mainstay.inventory.notify import Channels
from mainstay.inventory.postgres import is_postgres, postgres_address
from mainstay.inventory.references import Reference
from mainstay.inventory.secrets import check_reference
from mainstay.inventory.serving import Often, ServeSettings
from mainstay.inventory.value import Json, Value
from mainstay.inventory.zones import TimeZone


def _key(reference: str) -> str:
    if not check_reference(reference).startswith("file:"):
        raise WrongValue("SSH keys are read from files.", hint="Write file:PATH.")
    return reference


KeyFile = Annotated[str, AfterValidator(_key)]
"""`file:PATH` of a private key."""
Login = Annotated[str, AfterValidator(check_user)]
PathText = Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f]+$")]


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])]
"""A list of words, or one."""

Tags = dict[str, Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"]})]]
"""The text as it is written: `1.10` stays `1.10`."""


def _become(value: Any) -> Any:
    return {"method": value} if isinstance(value, str) else value


class BecomeSettings(Value):
    """How root's rights are had: `sudo`, without a password or with one by reference."""

    method: Literal["sudo"] | None = None
    password: Reference | None = None


class SshSettings(Value):
    """How a host is reached, as far as it is said in one place. What is None is said elsewhere."""

    user: Login | None = None
    read_user: Login | None = None
    key: KeyFile | None = None
    passphrase: Reference | None = None
    port: int | None = Field(default=None, ge=1, le=65535)
    become: Annotated[BecomeSettings | None, BeforeValidator(_become, json_schema_input_type=str | BecomeSettings)] = (
        None
    )
    jump: str | None = None
    """Name of another host; `none` where a group or the site says otherwise."""
    connect_timeout: Annotated[Duration, Field(gt=0, le=300)] | None = None

    def said(self) -> Json:
        """Only what is said here, `become` as a mapping of its own."""
        fields = {name: getattr(self, name) for name in SshSettings.model_fields}
        said = {name: value for name, value in fields.items() if value is not None}
        if self.become is not None:
            said["become"] = self.become.model_dump(exclude_none=True)
        return said


def merged(*layers: Json) -> Ssh:
    """The settings of a host: what is said later wins, `become` key by key. Layers as `SshSettings.said` gives them."""
    result: Json = {}
    become: Json = {}
    for layer in layers:
        become.update(layer.get("become", {}))
        result.update(layer)
    if result.get("jump") == "none":
        result["jump"] = None
    return Ssh(**{**result, "become": Become(**become)})


def _state(url: str) -> str:
    scheme, _, rest = url.partition("://")
    if is_postgres(url):
        return str(postgres_address(url))
    if scheme != "sqlite" or not rest.startswith("/") or rest.rstrip("/") == "" or "?" in rest or "\0" in rest:
        hint = "PATH is relative to the site; an absolute one makes four /: sqlite:////var/lib/mainstay/mainstay.db"
        raise WrongValue("has to be sqlite:///PATH or postgresql://USER@HOST/DATABASE.", hint=hint)
    return url


def _ledger_key(reference: str | None) -> str | None:
    if reference is not None and not reference.startswith("file:"):
        raise WrongValue("the ledger's key is read from a file.", hint="Write file:PATH.")
    return reference


def _site_name(name: str) -> str:
    check_name(name, "site")
    return name


class SiteSsh(SshSettings):
    known_hosts: PathText = "inventory/known_hosts"
    """The pinned host keys, relative to the site."""


class Captures(Value):
    """What is kept on the controller so that a run can be undone."""

    max_size: Size = 20 * 2**30


def _at_least_an_hour(seconds: float) -> float:
    if seconds < 3600:
        raise WrongValue(
            "is too short: at least 1h.", hint="A run may need them until its record is sealed; write 30d."
        )
    return seconds


class Retention(Value):
    """What is kept for how long. The ledger is not in it: nothing of it is ever removed."""

    engine: Annotated[Duration, AfterValidator(_at_least_an_hour)] = 30 * 86400.0
    """Seconds that the engine keeps the checkpoints of a run which has ended."""


def _feed(path: str) -> str:
    if not path.endswith(".ics"):
        raise WrongValue("is no name of a calendar.", hint="Let it end in .ics: /srv/www/mainstay.ics")
    return path


class SiteFile(Value):
    """mainstay.yml"""

    site: Annotated[str, AfterValidator(_site_name)]
    timezone: TimeZone = "UTC"
    state: Annotated[str, AfterValidator(_state)] = "sqlite:///state/mainstay.db"
    state_password: Reference | None = None
    """Of the user in a PostgreSQL URL. Without it libpq looks where it always does: $PGPASSFILE, ~/.pgpass, peer."""
    state_dir: PathText = "state"
    """With PostgreSQL: this machine's own folder for the ledger's key, its anchor, locks and copies of packages."""
    ledger_key: Annotated[Reference | None, AfterValidator(_ledger_key)] = None
    """`file:PATH` of the ledger's key, the same on every machine; beside the state where not given."""
    ssh: SiteSsh = SiteSsh()
    never_automatic: Words = ()
    """Patterns of packages that are never taken back without a human, beside the list that ships."""
    captures: Captures = Captures()
    anchors: tuple[Anchor, ...] = ()
    """Other machines that keep every seal of the ledger too."""
    limits: Limits = Limits()
    notify: Channels = ()
    """Who is told of what happened."""
    retention: Retention = Retention()
    serve: ServeSettings = ServeSettings()
    observe: Often | None = None
    """How often `mainstay serve` has a look at each host of a plan; never where it is not given."""
    feed: Annotated[PathText, AfterValidator(_feed)] | None = None
    """A calendar file (`.ics`) of what comes, which `mainstay serve` keeps up to date; relative to the site."""


def _address(text: str) -> str:
    address_of(text)
    return text


class HostEntry(SshSettings):
    """A host of inventory/*.yml."""

    address: Annotated[str, AfterValidator(_address)] | None = None
    """What is dialled; the host's name where it is not given."""
    groups: Words = ()
    tags: Tags = {}
    timezone: TimeZone | None = None
    """For windows that open by the hosts' own clocks (`timezone: host`)."""
    controller: bool | None = None


class GroupEntry(SshSettings):
    """A group of inventory/*.yml: the hosts named, those that a selector picks, and those of the groups in it."""

    hosts: Words = ()
    selector: str | None = None
    groups: Words = ()
    tags: Tags = {}
    timezone: TimeZone | None = None


class InventoryFile(Value):
    """inventory/*.yml"""

    hosts: dict[str, HostEntry | None] = {}
    groups: dict[str, GroupEntry | None] = {}
    sources: tuple[dict[str, Any], ...] = ()

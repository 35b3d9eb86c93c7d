"""The site: a folder in git that an operator owns. Loading it collects every problem in it, not the first alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mainstay.inventory.anchors import Place, anchor_problems, anchor_references, anchors_in
from mainstay.inventory.document import Document, Key, Spot, load_document
from mainstay.inventory.errors import ConfigError, Problem, UsageError
from mainstay.inventory.host import Host, Ssh
from mainstay.inventory.inventory import Inventory, build
from mainstay.inventory.limits import Limits, doubts
from mainstay.inventory.notify import Notify, notify_problems, notify_references
from mainstay.inventory.postgres import is_postgres
from mainstay.inventory.secrets import SecretError, check_secret_file, plaintext_secrets, reference_path
from mainstay.inventory.serving import Listen, listen, listening_doubts
from mainstay.inventory.settings import SiteFile, SshSettings, merged
from mainstay.inventory.sources.contract import GroupRecord, HostRecord
from mainstay.inventory.sources.site_yaml import SiteYaml
from mainstay.inventory.validation import validate
from mainstay.inventory.zones import zone_doubt

MAIN = "mainstay.yml"
FOLDERS = ("inventory", "schedules", "playbooks", "recovery")
"""The site's own, beside the state's."""


@dataclass(frozen=True, slots=True)
class Site:
    """state_url: absolute. known_hosts: absolute. documents: those of schedules/, sorted by file, for the rooms above."""

    root: Path
    name: str
    timezone: str
    state_url: str
    ssh: Ssh
    known_hosts: Path
    inventory: Inventory
    documents: tuple[Document, ...] = ()
    recovery: tuple[Document, ...] = ()
    """Those of recovery/, likewise."""
    never_automatic: tuple[str, ...] = ()
    """Patterns of packages, beside the list that ships."""
    state_dir: Path = Path()
    """Absolute: what this machine alone keeps of a state in PostgreSQL."""
    state_password: str | None = None
    ledger_key: Path | None = None
    """Absolute, where the site names it."""
    captures_max_size: int = 20 * 2**30
    """Bytes that captured packages may take on the controller."""
    limits: Limits = field(default_factory=Limits)
    keep_engine: float = 30 * 86400.0
    """Seconds that the engine keeps the checkpoints of a run which has ended."""
    anchors: tuple[Place, ...] = ()
    """Where else the ledger's seals are kept. A host is one of the inventory, a path absolute, a file's relative to the site."""
    health: Listen | None = None
    """Where `mainstay serve` answers for its health."""
    observe: float | None = None
    """Seconds between two looks at a host while `mainstay serve` is up."""
    feed: Path | None = None
    """Absolute: the calendar file that `mainstay serve` keeps up to date."""
    notify: tuple[Notify, ...] = ()
    notify_at: Spot | None = field(default=None, repr=False)
    """Where that is written."""
    warnings: tuple[Problem, ...] = ()
    references: tuple[tuple[str, Spot], ...] = field(default=(), repr=False)
    """Every secret's reference and where it is written."""

    @property
    def state_folder(self) -> Path:
        """What this machine keeps of the state, and with SQLite all of it. Absolute."""
        if is_postgres(self.state_url):
            return self.state_dir
        return Path(self.state_url.removeprefix("sqlite:///")).parent

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Sorted by name."""
        return self.inventory.hosts

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(self.inventory.groups)


def find_site(start: Path) -> Path:
    """The nearest folder from `start` upwards that holds mainstay.yml. Raises UsageError."""
    here = start.expanduser().resolve()
    for folder in (here, *here.parents):
        if (folder / MAIN).is_file():
            return folder
    if (here / "mainstay.yaml").is_file():
        raise UsageError(f"{here} holds mainstay.yaml", hint=f"Rename it to {MAIN}.")
    hint = "Go into a site, name one with --site DIR, or make one: mainstay init DIR"
    raise UsageError(f"no {MAIN} in {here} or above it", hint=hint)


def load_site(directory: Path) -> Site:
    """Raises ConfigError with all problems of mainstay.yml, inventory/ and the YAML of schedules/ and recovery/."""
    site, problems = read_site(directory)
    if problems or site is None:
        raise ConfigError(problems)
    return site


def read_site(directory: Path) -> tuple[Site | None, list[Problem]]:
    """As much of the site as could be read, and all errors. None where there is no readable mainstay.yml.

    With any error, the site is good for finding more of them, and for nothing else.
    """
    root = directory.expanduser().resolve()
    problems: list[Problem] = []
    try:
        main = load_document(root / MAIN, root)
    except ConfigError as error:
        return None, list(error.problems)
    settings = _settings(main, problems) or SiteFile(site="unread")
    problems += _misplaced_state(settings, main, root)
    problems += _misplaced_feed(settings.feed, main, root)
    problems += notify_problems(settings.notify, main.spot("notify"))
    hosts, groups, unread = _inventory_records(root, problems)
    documents, _ = _documents(root, "schedules", problems)
    recovery, _ = _documents(root, "recovery", problems)
    said = settings.ssh.said()
    inventory, errors, warnings = build(hosts, groups, said, unread or frozenset())
    if unread is not None:
        # what a file that could not be read declares would be missed everywhere
        problems += errors
        problems += anchor_problems(settings.anchors, [host.name for host in inventory.hosts], main.spot("anchors"))
    if unread == frozenset():
        warnings += doubts(main.spot("limits", "spread"), settings.limits.spread, inventory.hosts, plan=False)
    if doubt := zone_doubt(settings.timezone):
        warnings.append(main.spot("timezone").problem(doubt.message, hint=doubt.hint))
    warnings += listening_doubts(main.spot("serve"), settings.serve)
    if not inventory.hosts and not problems:
        warnings.append(Problem("no host is declared.", file="inventory", hint="Add some in inventory/hosts.yml."))
    site = Site(
        root=root,
        name=settings.site,
        timezone=settings.timezone,
        state_url=_state_url(settings.state, root),
        ssh=merged(said),
        known_hosts=root / Path(settings.ssh.known_hosts).expanduser(),
        inventory=inventory,
        documents=tuple(documents),
        recovery=tuple(recovery),
        never_automatic=settings.never_automatic,
        state_dir=root / Path(settings.state_dir).expanduser(),
        state_password=settings.state_password,
        ledger_key=reference_path(settings.ledger_key, root) if settings.ledger_key else None,
        captures_max_size=settings.captures.max_size,
        limits=settings.limits,
        keep_engine=settings.retention.engine,
        anchors=settings.anchors,
        notify=settings.notify,
        notify_at=main.spot("notify"),
        health=listen(settings.serve.health) if settings.serve.health else None,
        observe=settings.observe,
        feed=root / Path(settings.feed).expanduser() if settings.feed else None,
        warnings=tuple(warnings),
        references=tuple(_all_references(settings, main, hosts, groups)),
    )
    return site, problems


def check_files(site: Site, more: Iterable[tuple[str, Spot]] = ()) -> list[Problem]:
    """Key and secret files that are named but can't be used: missing, unreadable, readable for others, not a key.

    more: references beside the site's own, and where they are written."""
    found: dict[tuple[str, Key], list[tuple[SecretError, Spot]]] = {}
    seen: set[str] = set()
    for reference, spot in (*site.references, *more):
        path = reference_path(reference, site.root)
        if path is None or reference in seen:
            continue
        seen.add(reference)
        try:
            if path.suffix == ".pub":
                raise SecretError(f"{reference}: is a public key", hint="Name the private key beside it.")
            check_secret_file(path, reference)
        except SecretError as error:
            found.setdefault((spot.document.file, spot.path), []).append((error, spot))
    return [_unusable(*faults) for faults in found.values()]


def _unusable(first: tuple[SecretError, Spot], *more: tuple[SecretError, Spot]) -> Problem:
    """Of one place in the site, which may mean a file for each host."""
    error, spot = first
    others = f"; and {len(more)} more" if more else ""
    return spot.problem(f"{error.message}{others}.", hint=error.hint)


def without_key(site: Site) -> list[Problem]:
    """Hosts that can't be reached because no SSH key is set for them."""
    names = [host.name for host in site.hosts if host.ssh.key is None]
    if not names:
        return []
    who = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    hint = "Set for example ssh: {key: file:~/.ssh/id_ed25519}; agents and ~/.ssh are not looked at."
    return [Problem(f"no SSH key is set for {who}.", file=MAIN, key="ssh.key", hint=hint)]


def _settings(document: Document, problems: list[Problem]) -> SiteFile | None:
    found: list[Problem] = []
    settings = validate(SiteFile, document.data, document.spot(), found)
    # A URL with a password in it: what its own grammar says helps more.
    plain = [problem for problem in plaintext_secrets(document.spot()) if problem.key != "state" or settings]
    flagged = {problem.key for problem in plain}
    problems += [*document.problems, *plain]
    problems += [problem for problem in found if problem.key not in flagged]
    if settings is not None and not is_postgres(settings.state):
        hint = "Leave it out, or set state: postgresql://USER@HOST/DATABASE"
        for key in sorted(settings.model_fields_set & {"state_password", "state_dir"}):
            problems.append(document.spot(key).problem("is for a state in PostgreSQL alone.", on="key", hint=hint))
    return settings


def _documents(root: Path, folder: str, problems: list[Problem]) -> tuple[list[Document], bool]:
    """The YAML files of a folder, and whether all could be read."""
    documents, whole = [], True
    for path in sorted((root / folder).glob("*.y*ml")):
        if path.suffix not in (".yml", ".yaml") or path.name.startswith("."):
            continue
        try:
            document = load_document(path, root)
        except ConfigError as error:
            problems += error.problems
            whole = False
        else:
            problems += document.problems
            documents.append(document)
    return documents, whole


def _inventory_records(
    root: Path, problems: list[Problem]
) -> tuple[list[HostRecord], list[GroupRecord], frozenset[str] | None]:
    """Hosts, groups, and names that are declared but could not be read; None where not even these are known."""
    documents, whole = _documents(root, "inventory", problems)
    hosts: list[HostRecord] = []
    groups: list[GroupRecord] = []
    unread: set[str] = set()
    for document in documents:
        records = SiteYaml(document).load()
        hosts += records.hosts
        groups += records.groups
        problems += records.problems
        unread |= records.unread
    return hosts, groups, frozenset(unread) if whole else None


def _state_url(url: str, root: Path) -> str:
    scheme, _, rest = url.partition(":///")
    return f"sqlite:///{root / rest}" if scheme == "sqlite" else url


def _misplaced_state(settings: SiteFile, main: Document, root: Path) -> Iterable[Problem]:
    """What is in the site's own folders is read as part of the site, and lies in git."""
    key = "state_dir" if is_postgres(settings.state) else "state"
    if key == "state":
        place = Path(_state_url(settings.state, root).removeprefix("sqlite:///")).parent.resolve()
    else:
        place = (root / Path(settings.state_dir).expanduser()).resolve()
    hint = "Give it a folder of its own, for example state/."
    if place == root:
        # .gitignore leaves out state/ alone: the ledger's key would be committed
        yield main.spot(key).problem("the state can't lie in the site's folder itself.", hint=hint)
    for folder in FOLDERS:
        if place.is_relative_to((root / folder).resolve()):
            yield main.spot(key).problem(f"the state can't lie in {folder}/, which belongs to the site.", hint=hint)
    yield from anchors_in(settings.anchors, place, root, main.spot("anchors"))


def _misplaced_feed(feed: str | None, main: Document, root: Path) -> Iterable[Problem]:
    if feed is None:
        return
    place = (root / Path(feed).expanduser()).resolve()
    for folder in FOLDERS:
        if place.is_relative_to((root / folder).resolve()):
            hint = "Put it where calendar programs get it from, for example /srv/www/mainstay.ics"
            yield main.spot("feed").problem(f"the feed can't lie in {folder}/, which belongs to the site.", hint=hint)


def _all_references(
    settings: SiteFile, main: Document, hosts: Iterable[HostRecord], groups: Iterable[GroupRecord]
) -> Iterable[tuple[str, Spot]]:
    if settings.state_password:
        yield settings.state_password, main.spot("state_password")
    yield from _references(settings.ssh, main.spot("ssh"), hosts, groups)
    yield from anchor_references(settings.anchors, main.spot("anchors"))
    yield from notify_references(settings.notify, main.spot("notify"))


def _references(
    site: SshSettings, spot: Spot, hosts: Iterable[HostRecord], groups: Iterable[GroupRecord]
) -> Iterable[tuple[str, Spot]]:
    told: list[tuple[SshSettings, Spot]] = [(site, spot)]
    told += [(group.settings, group.spot) for group in groups]
    told += [(host.settings, host.spot) for host in hosts]
    for settings, at in told:
        for word in ("key", "passphrase"):
            if reference := getattr(settings, word):
                yield reference, at.at(word)
        if settings.become and settings.become.password:
            yield settings.become.password, at.at("become", "password")

"""From the sections of survey.sh and simulate.sh to what they mean. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mainstay.runner.patching.apt import parse
from mainstay.runner.patching.apt.version import compare
from mainstay.runner.patching.change import Where
from mainstay.runner.patching.contract import Installed, Offer, OldVersion, Planned, Simulation, Survey, Upgradable


@dataclass(frozen=True, slots=True)
class Dates:
    """by release: Release file's name → its Date; by file: package file's name → Last-Modified."""

    releases: Mapping[str, str]
    files: Mapping[str, str]

    def of(self, name: str, version: parse.Version, arch: str) -> tuple[str | None, str]:
        """The earliest date that the repository gives a version, and what gives it."""
        found: list[tuple[str, str]] = []
        for line in version.sources:
            file = parse.release_file(line)
            if stamp := self.releases.get(file):
                found.append((stamp, f"dated by the signed Release of {file.rsplit('_dists_', 1)[-1]}"))
        for file_arch in (arch, "all"):
            if stamp := self.files.get(parse.archive_name(name, version.version, file_arch)):
                found.append((stamp, "Last-Modified in the repository"))
        return min(found, default=(None, ""))


def survey(sections: Mapping[str, str]) -> Survey:
    """What survey.sh printed. `problem` is set where a repository did not answer."""
    problem = parse.update_problem(sections.get("update", ""), sections.get("update-status", "").strip())
    if problem:
        return Survey(problem=f"not every repository answers: {problem}", hint="apt-get update on the host says more")
    native = sections["native"].strip()
    installed = parse.installed(sections["installed"], native)
    files = parse.sources(sections["sources"])
    policies = parse.policies(sections["versions"], native)
    dates = Dates(
        parse.release_dates(sections.get("releases", "")),
        parse.modified(sections.get("modified", ""), sections.get("uris", "")),
    )
    taken = {inst.name: inst.after for inst in parse.simulated(sections["upgrade"]) if inst.before and inst.after}
    cache = cached(sections["cached"])
    upgradable = []
    for name, policy in policies.items():
        here = installed.get(name)
        if here is None:
            continue
        offers = tuple(_offers(here, policy, files, dates))
        if not offers:
            continue
        upgradable.append(
            Upgradable(
                name=name,
                arch=here.arch,
                installed=here.version,
                offers=offers,
                candidate=policy.candidate,
                candidate_security=any(one.security for one in offers if one.version == policy.candidate),
                taken=name in taken and taken[name] == policy.candidate,
                held=here.held,
                obtainable=obtainable(here, policy, cache),
            )
        )
    notes = () if not sections.get("upgrade-status", "0").strip().strip("0") else (_unwell(sections["upgrade"]),)
    return Survey(upgradable=tuple(upgradable), installed=tuple(installed.values()), notes=notes)


def _unwell(text: str) -> str:
    return f"apt itself can't upgrade here: {parse.error(text)}"


def _offers(here: Installed, policy: parse.Policy, files: Mapping[str, parse.Source], dates: Dates) -> Iterator[Offer]:
    for version in policy.versions:
        if not version.sources or compare(version.version, here.version) <= 0:
            continue
        if _not_automatic(version, files):
            continue
        dated, by = dates.of(here.name, version, here.arch)
        yield Offer(
            version=version.version,
            security=is_security(version, files),
            origin=origin(version, files),
            dated=dated,
            dated_by=by,
            phased=version.phased,
        )


def _not_automatic(version: parse.Version, files: Mapping[str, parse.Source]) -> bool:
    """From a repository that says of itself that nothing of it is taken by itself (backports, experimental)."""
    sources = [files[line] for line in version.sources if line in files]
    return bool(sources) and all(source.priority <= 100 for source in sources)


def is_security(version: parse.Version, files: Mapping[str, parse.Source]) -> bool:
    return any(files[line].security for line in version.sources if line in files)


def origin(version: parse.Version, files: Mapping[str, parse.Source]) -> str:
    """`Debian-Security:12/oldstable-security`, as apt writes it; without its release's fields the line itself."""
    for line in version.sources:
        release = files[line].release if line in files else {}
        if release.get("l") or release.get("o"):
            return f"{release.get('l') or release['o']}:{release.get('v', '')}/{release.get('a', '')}"
        return line
    return ""


def cached(text: str) -> dict[str, str]:
    """Paths of package files in the host's cache, by file name."""
    return {path.rsplit("/", 1)[-1]: path for path in text.splitlines() if path.endswith(".deb")}


def obtainable(here: Installed, policy: parse.Policy, cache: Mapping[str, str]) -> Where:
    if any(version.version == here.version and version.sources for version in policy.versions):
        return "repository"
    if parse.archive_name(here.name, here.version, here.arch) in cache:
        return "captured"
    return "missing"


def old_versions(sections: Mapping[str, str], names: Sequence[str]) -> dict[str, OldVersion]:
    """What old.sh printed, for those of `names` that are installed."""
    native = sections["native"].strip()
    installed = parse.installed(sections["installed"], native)
    policies = parse.policies(sections["versions"], native)
    cache = cached(sections["cached"])
    auto = {parse.label(line.strip(), native) for line in sections["auto"].splitlines()}
    found = {}
    for name in names:
        here = installed.get(name)
        if here is None:
            continue
        policy = policies.get(name, parse.Policy(name, None, None, ()))
        found[name] = OldVersion(
            name=name,
            arch=here.arch,
            version=here.version,
            repository=obtainable(here, policy, {}) == "repository",
            cached=cache.get(parse.archive_name(name, here.version, here.arch)),
            auto=name in auto,
        )
    return found


def simulation(text: str, status: str) -> Simulation:
    """One `apt-get -s install`."""
    if status.strip() != "0":
        return Simulation(ok=False, problem=parse.error(text), missing=parse.not_found(text))
    planned = (
        Planned(name=inst.name, arch=inst.arch, before=inst.before, after=inst.after, origin=inst.origin)
        for inst in parse.simulated(text)
    )
    return Simulation(ok=True, planned=tuple(planned))


def with_details(found: Simulation, sections: Mapping[str, str]) -> Simulation:
    """The same, with digests, sizes and whether it closes a hole, from the signed lists."""
    native = sections["native"].strip()
    about = parse.described(sections.get("described", ""))
    files = parse.sources(sections.get("sources", ""))
    policies = parse.policies(sections.get("versions", ""), native)
    planned = []
    for one in found.planned:
        bare = one.name.split(":")[0]
        sha256, size = about.get((bare, one.after or "", one.arch), (None, None))
        policy = policies.get(one.name)
        version = next((v for v in policy.versions if v.version == one.after), None) if policy else None
        security = version is not None and is_security(version, files)
        planned.append(one.model_copy(update={"sha256": sha256, "size": size, "security": security}))
    return found.model_copy(update={"planned": tuple(planned)})

"""The exact set for one host, when its turn has come: what was forecast, or what the first wave has tested."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from mainstay.inventory.errors import Refused
from mainstay.inventory.value import Json
from mainstay.runner.operation import Forecast, HostWork, LeftOut
from mainstay.runner.patching.capturing import fetch
from mainstay.runner.patching.change import Change, PackageChange
from mainstay.runner.patching.contract import Installed, PackageManager, Planned, Rights, Simulation
from mainstay.runner.patching.selection import matches
from mainstay.runner.patching.transaction import push, wants
from mainstay.runner.plan import PatchPlan

BOOT_FREE = 150_000_000


@dataclass(slots=True)
class Meant:
    items: list[PackageChange] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    def leave(self, item: PackageChange, reason: str, detail: str) -> None:
        self.left_out.append(LeftOut(item=item.name, version=item.after, reason=reason, detail=detail))


def resolve(
    work: HostWork, manager: PackageManager, plan: PatchPlan, forecast: Forecast, tested: Json | None
) -> Change:
    """Raises Refused, with nothing changed on the host."""
    if forecast.refused:
        raise Refused(forecast.refused)
    expected = Change.from_json(forecast.change)
    if tested is not None:
        expected = _as_tested(expected, tested, plan.untested)
    installed, complaints = manager.inspect(work.shell, real=True)
    meant = against(expected, installed, manager.compare)
    names = {item.name for item in meant.items}
    sick = sorted(name for name, one in installed.items() if one.state != "installed")
    if complaints and (not sick or not set(sick) <= names or not expected.back):
        raise Refused(f"the package manager is not well: {'; '.join(complaints)[:300]}", hint="see dpkg --audit there")
    if meant.items:
        rights = Rights(remove=bool(plan.updates.allow_remove))
        planned, meant.items = simulated(work, manager, meant.items, rights)
        meant.items = exact(meant.items, planned, tested or {}, plan)
        room(work, meant.items)
    left = tuple(sorted((*expected.left_out, *meant.left_out), key=lambda one: (one.item, one.version or "")))
    items = tuple(sorted(meant.items, key=lambda item: item.name))
    return expected.model_copy(update={"items": items, "left_out": left})


def _as_tested(expected: Change, tested: Json, untested: str) -> Change:
    packages: Json = tested["packages"]
    items, left = [], list(expected.left_out)
    for item in expected.items:
        known = packages.get(item.name)
        if known and item.after is not None:
            same = known["version"] == item.after
            update = {"after": known["version"], "sha256": known["sha256"], "size": known["size"]}
            items.append(item.model_copy(update=update if not same or known["sha256"] else {}))
        elif untested == "take" or item.after is None:
            items.append(item.model_copy(update={"untested": True}))
        else:
            detail = "no host of the first wave had it, and the plan refuses what is untested"
            left.append(LeftOut(item=item.name, version=item.after, reason="untested", detail=detail))
    return expected.model_copy(update={"items": tuple(items), "left_out": tuple(left)})


def against(expected: Change, installed: Mapping[str, Installed], compare: Callable[[str, str], int]) -> Meant:
    """What is still to be done here. What is newer already stays (unless the change goes back), and is reported."""
    meant = Meant()
    for item in expected.items:
        here = installed.get(item.name)
        if here is None:
            if item.before is None or expected.back:
                meant.items += [item.model_copy(update={"before": None})] if item.after else []
            else:
                meant.leave(item, "excluded", "not installed any more")
            continue
        if item.after is not None:
            order = compare(here.version, item.after)
            if order == 0 and here.state == "installed":
                continue
            if order > 0 and not expected.back:
                meant.leave(item, "newer", f"{here.version} is installed, newer than the {item.after} that was meant")
                continue
        if here.held and item.name not in expected.held:
            meant.leave(item, "held", "held on the host; someone has to decide to let it go")
            continue
        meant.items.append(item.model_copy(update={"before": here.version, "arch": item.arch or here.arch}))
    return meant


def simulated(
    work: HostWork, manager: PackageManager, items: Sequence[PackageChange], rights: Rights
) -> tuple[Sequence[Planned], list[PackageChange]]:
    """Simulate as root against the host's own lists. What has vanished from the repositories, or is another file there
    than the one that was tested, is taken from the artifact store. Raises Refused."""
    asked = list(items)
    for _ in range(2):
        push(work, manager, asked)
        found = manager.simulate(work.shell, wants(asked, manager), rights, real=True)
        replace = set(found.missing) | _other_files(found, asked)
        if found.ok and not replace:
            return found.planned, asked
        if not replace:
            raise Refused(f"the set can't be installed: {found.problem}")
        asked = [_from_store(work, manager, item) if item.name in replace else item for item in asked]
    raise Refused(f"the set can't be installed: {found.problem or 'its files are not those that were meant'}")


def _other_files(found: Simulation, items: Sequence[PackageChange]) -> set[str]:
    digests = {one.name: one.sha256 for one in found.planned}
    return {
        item.name
        for item in items
        if item.sha256 and not item.pushed and digests.get(item.name) and digests[item.name] != item.sha256
    }


def _from_store(work: HostWork, manager: PackageManager, item: PackageChange) -> PackageChange:
    if item.pushed or item.after is None:
        raise Refused(f"{item.name} can't be installed from its captured file")
    sha256 = item.sha256
    if sha256 is None or not work.artifacts.has(sha256):
        # The last place to look: the host's own cache
        cached = manager.stage(work, [], Rights(), [(item.name, item.after, item.arch)]).get(item.name)
        if cached is None or (sha256 and cached.sha256 != sha256):
            raise Refused(
                f"{item.name} {item.after} is in no repository any more and was not captured",
                hint="a new run takes what there is now",
            )
        fetch(work, cached)
        sha256 = cached.sha256
    work.notes.append(f"{item.name} {item.after} is gone from the repository; the captured file is installed")
    return item.model_copy(update={"pushed": True, "sha256": sha256})


def exact(
    items: Sequence[PackageChange], planned: Sequence[Planned], tested: Json, plan: PatchPlan
) -> list[PackageChange]:
    """The items with what the host's own lists say of them. Raises Refused where the plan is not what was meant."""
    meant = {item.name: item for item in items}
    known: Json = tested.get("packages", {})
    result = []
    for one in planned:
        item = meant.pop(one.name, None)
        if item is None:
            allowed = (
                matches(one.name, plan.updates.allow_remove)
                if one.after is None
                else known.get(one.name, {}).get("version") == one.after
            )
            if not allowed:
                does = f"would bring {one.name} {one.after}" if one.after else f"would remove {one.name}"
                raise Refused(f"the set is not the one that was forecast: it {does}", hint="a new run looks again")
            item = PackageChange(name=one.name, before=one.before, after=one.after, dependency=True)
        if one.after != item.after:
            raise Refused(f"{one.name} would become {one.after}, {item.after} was meant", hint="a new run looks again")
        update = {"before": one.before, "arch": one.arch or item.arch, "sha256": item.sha256 or one.sha256}
        result.append(item.model_copy(update={**update, "size": one.size or item.size}))
    if meant:
        raise Refused(f"the package manager would leave {', '.join(sorted(meant))} as it is")
    return result


def room(work: HostWork, items: Sequence[PackageChange]) -> None:
    """Unpacked, a package is some four times its file; the old version's files stay until the new ones are there."""
    need = 5 * sum(item.size or 0 for item in items) + 100_000_000
    kernel = any(matches(item.name, ("linux-image-*", "initramfs-tools*")) for item in items)
    for place in work.facts.filesystems:
        least = BOOT_FREE if place.path == "/boot" and kernel else need if place.path in ("/", "/usr") else 0
        if place.free_bytes < least:
            raise Refused(f"{place.path} has {place.free_bytes // 10**6} MB free, {least // 10**6} MB are needed")


def freeze(changes: Sequence[Change], compare: Callable[[str, str], int]) -> Json:
    """`{version, packages: {name: {version, arch, sha256, size}}}` over what was installed. Where two hosts differ (one was
    newer already), the newer version counts: both were tested."""
    packages: Json = {}
    for change in changes:
        for item in change.items:
            known = packages.get(item.name)
            if item.after and (known is None or compare(item.after, known["version"]) > 0):
                packages[item.name] = {
                    "version": item.after,
                    "arch": item.arch,
                    "sha256": item.sha256,
                    "size": item.size,
                }
    return {"version": 1, "packages": packages}

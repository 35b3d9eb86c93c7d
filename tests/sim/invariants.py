"""What must hold, whatever happens. Each is a promise that docs/reference/promises.md makes, as a small question about an
event and all that was before it; the answer is what is wrong, or nothing.

`ALWAYS` is asked at every event, before the books take it in; `AT_THE_END` once everything has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from mainstay.runner.record import HostPart
from mainstay.runner.verdict import Verdict
from tests.sim.books import FAILURES, Event, HostBook, gate_number

if TYPE_CHECKING:
    from tests.sim.world import World

WELL = (Verdict.SUCCEEDED, Verdict.DEGRADED)


def _admitted(event: Event) -> tuple[str, str] | None:
    """(run, host) where the event lets a host start."""
    if event.kind != "kept" or event.data["step"] != "admit":
        return None
    value = event.data["value"]
    if not value or value["value"]["stop"]:
        return None
    run, _, host = event.data["id"].partition("/")
    return run, host


def _tolerated(world: World, run: str, total: int) -> int:
    return world.case.run(run).plan.budget.of(total)


def no_more_hosts_in_flight_than_the_plan_allows(world: World, event: Event) -> str | None:
    """At most `parallel` hosts of a run are in flight; under strict_budget at most what is left of the budget, and one."""
    if (started := _admitted(event)) is None:
        return None
    run, plan = started[0], world.case.run(started[0]).plan
    book = world.books.run(run)
    flying = sum(host.in_flight for host in book.hosts.values()) + 1
    allowed = plan.parallel
    if plan.strict_budget:
        total = world.store.flows["/".join(started)].argument["total"]
        allowed = max(1, min(allowed, _tolerated(world, run, total) - book.failures() + 1))
    return f"{flying} hosts of {run} are in flight, {allowed} may be" if flying > allowed else None


def no_more_hosts_in_a_place_than_fit_there(world: World, event: Event) -> str | None:
    """Over all runs together no more hosts are in flight, in the site and in each of its racks, than its limits allow; and
    no more of a run in a rack than its plan does."""
    if (started := _admitted(event) or _admitted_again(event)) is None:
        return None
    run, host = started
    racks = {one.name: one.rack for one in world.case.hosts}
    flying = [started, *_in_flight(world)]
    site, plan = world.case.limits, world.case.run(run).plan
    if site.parallel and len(flying) > site.parallel:
        return f"{len(flying)} hosts are in flight, {site.parallel} may be: {flying}"
    beside = [other for other in flying if racks[host] and racks[other[1]] == racks[host]]
    if len(beside) > site.spread.get("rack", len(beside)):
        return f"in flight in rack {racks[host]}: {beside}, {site.spread['rack']} may be"
    own = [other for other in beside if other[0] == run]
    return f"of {run} in rack {racks[host]}: {own}" if len(own) > plan.spread.get("rack", len(own)) else None


def _admitted_again(event: Event) -> tuple[str, str] | None:
    """The same where it is taken back at the end of its run."""
    if event.kind != "kept" or event.data["step"] != "undo.admit" or not event.data["value"]:
        return None
    run, host, _ = event.data["id"].split("/")
    return run, host


def _in_flight(world: World) -> list[tuple[str, str]]:
    books = world.books
    return [(id, name) for id, run in books.runs.items() for name, host in run.hosts.items() if host.in_flight]


def nothing_starts_once_the_budget_is_used_up(world: World, event: Event) -> str | None:
    """After one failure too many no host starts that had not been let in before."""
    if (started := _admitted(event)) is None:
        return None
    run, flow = started[0], "/".join(started)
    book, argument = world.books.run(run), world.store.flows[flow].argument
    asked = world.books.begun.get((flow, "admit", event.process), event.number)
    failures = [host.outcome_at for host in book.hosts.values() if host.outcome in FAILURES]
    known = sum(at < asked for at in failures)
    tolerated = 0 if argument["wave"] == 1 else _tolerated(world, run, argument["total"])
    return f"{flow} starts with {known} hosts failed, {tolerated} tolerated" if known > tolerated else None


def no_wave_starts_before_the_gate_of_the_last_one_held(world: World, event: Event) -> str | None:
    """A host of wave k+1 starts only after gate k was asked, and held."""
    if (started := _admitted(event)) is None:
        return None
    wave = world.store.flows["/".join(started)].argument["wave"]
    gates = world.books.run(started[0]).gates
    wrong = [number for number in range(1, wave) if gates.get(number, "it was not asked")]
    return f"{started[1]} of wave {wave} starts, and gate {wrong[0]} did not hold" if wrong else None


def a_gate_holds_only_where_it_may(world: World, event: Event) -> str | None:
    """A gate that lets go on has seen a green first wave, a budget that is not used up, and nobody's wish to cancel."""
    if event.kind != "kept" or event.data["error"]:
        return None
    run, step = event.data["id"], event.data["step"]
    if not gate_number(step) or event.data["value"]["stop"]:
        return None
    book, plan = world.books.run(run), world.case.run(run).plan
    hosts = {id: flow for id, flow in world.store.flows.items() if flow.parent == run and flow.name == "host"}
    total = next(iter(hosts.values())).argument["total"]
    failed = book.failures()
    if step == "wave-1.gate" and failed:
        return f"{step} holds, and {failed} of the first wave failed"
    if failed > _tolerated(world, run, total):
        return f"{step} holds with {failed} failed"
    if plan.strict and any(host.outcome == "degraded" for host in book.hosts.values()):
        return f"{step} holds with a degraded host, and the plan is strict"
    asked = world.books.begun[run, step, event.process]
    if 0 < book.cancelled_at < asked:
        return f"{step} holds, and the run was cancelled before"
    return None


def a_host_obeys_one_commander(world: World, event: Event) -> str | None:
    """A host accepts nothing from a number lower than the highest that it has seen."""
    if event.kind != "commanded":
        return None
    highest, number = world.books.highest.get(event.data["host"], 0), event.data["number"]
    what = event.data["what"]
    return f"{event.data['host']} took {what!r} from {number} after {highest}" if number < highest else None


def a_host_is_worked_on_by_the_run_that_holds_it(world: World, event: Event) -> str | None:
    """Whatever changes a host comes from the one run that holds its lock."""
    if event.kind not in ("commanded", "hook") or event.data.get("what", "").startswith("lock "):
        return None
    holder = world.machines[event.data["host"]].lock.run
    run = event.data["run"]
    return f"{event.data['host']} is held by {holder or 'nobody'}, and {run} changes it" if holder != run else None


def no_completed_step_works_again(world: World, event: Event) -> str | None:
    """A step whose end was kept is not begun again, and commands nothing any more."""
    books = world.books
    if event.kind == "begin" and (event.data["id"], event.data["at"]) in books.kept:
        return f"{event.data['id']} begins {event.data['step']} again"
    if event.kind == "commanded":
        step = books.at_work.get((event.flow, event.process))
        if step is not None and (event.flow, step) in books.kept:
            return f"{event.flow}: {event.data['what']!r} of a step that was complete"
    return None


def a_change_is_made_at_most_once(world: World, event: Event) -> str | None:
    """The change of a run is applied to a host once at most, and taken back once at most."""
    if event.kind != "changed":
        return None
    page = world.books.run(event.data["run"]).host(event.data["host"])
    if page.undone if event.data["back"] else page.applied:
        return f"{event.data['host']} is {'taken back' if event.data['back'] else 'changed'} a second time"
    return None


def nothing_is_written_that_says_something_else(world: World, event: Event) -> str | None:
    """A host has one part in a run, and a run one record: nobody comes with another, except who was frozen and no longer
    owns the work; that one is refused. Of two that come to a run's end in the same moment the first has sealed it."""
    if event.kind != "conflict" or event.data["write"] == "seal":
        return None
    if world.store.flows[event.flow].owner != event.process:
        return None
    return f"{event.data['write']}: {event.data['error']}"


def _part(event: Event) -> tuple[str, HostPart] | None:
    if event.kind != "write-part":
        return None
    run, part = event.data["args"]
    return run, part


def every_step_stands_once_in_the_part(world: World, event: Event) -> str | None:
    """Every step that was worked on a host stands once in its part, with the one verdict that it ended with."""
    if (written := _part(event)) is None:
        return None
    run, part = written
    shown = sorted((step.name, str(step.verdict), step.started_at) for step in part.steps if step.name != "survey")
    kept = sorted(world.books.run(run).host(part.host).steps)
    if shown != kept:
        odd = [step for step in [*shown, *kept] if shown.count(step) != kept.count(step)]
        return f"{part.host}: shown or kept, and not both: {odd}"
    late = [step.name for step in part.steps if step.started_at > step.finished_at]
    return f"{part.host}: ended before it began: {', '.join(late)}" if late else None


def who_is_shown_well_was_checked_after_the_change(world: World, event: Event) -> str | None:
    """A host shown succeeded (or degraded) has a green health check that is newer than its last change."""
    if (written := _part(event)) is None or written[1].verdict not in WELL:
        return None
    page = world.books.run(written[0]).host(written[1].host)
    proved = page.well_at > page.changed_at and page.well_at > page.sick_at
    return f"{written[1].host} is shown {written[1].verdict} unproved" if page.changed_at and not proved else None


def the_part_says_what_is_there(world: World, event: Event) -> str | None:
    """A host shown well has what the change meant, one that was taken back has what it had before."""
    if (written := _part(event)) is None:
        return None
    run, part = written
    if part.verdict not in (*WELL, Verdict.ROLLED_BACK) or "left as it is" in part.reason:
        return None
    page, here = world.books.run(run).host(part.host), world.machines[part.host].packages
    if page.applied and (part.verdict is Verdict.ROLLED_BACK) != bool(page.undone):
        return f"{part.host} is shown {part.verdict}, and was taken back {page.undone} times"
    for name, version in page.meant.items():
        if world.books.changed_by.get((part.host, name), run) == run and here[name] != version:
            return f"{part.host} is shown {part.verdict}, and {name} is {here[name]}"
    return None


def who_is_shown_untouched_is_untouched(world: World, event: Event) -> str | None:
    """A cancelled host was never commanded; a refused one was neither changed nor taken out of service."""
    if (written := _part(event)) is None:
        return None
    run, part = written
    page = world.books.run(run).host(part.host)
    if part.verdict is Verdict.CANCELLED and (page.commanded or page.applied or page.admitted):
        return f"{part.host} is shown cancelled, and was commanded {page.commanded} times"
    if part.verdict is Verdict.REFUSED and (page.applied or page.hooked):
        return f"{part.host} is shown refused, and was changed"
    return None


def unknown_has_a_cause(world: World, event: Event) -> str | None:
    """A host is called unknown only where contact to it was lost, or it worked for longer than it was given."""
    if (written := _part(event)) is None or written[1].verdict is not Verdict.UNKNOWN:
        return None
    page = world.books.run(written[0]).host(written[1].host)
    wrong = world.machines[written[1].host].wrong
    excused = page.lost_contact or "no-return" in wrong or "postinst-hangs" in wrong
    return None if excused else f"{written[1].host} is unknown for no reason: {written[1].reason}"


def no_fault_of_ours(world: World, event: Event) -> str | None:
    """Crashes, frozen processes and hosts that fail are no reason for an internal error, in a part or in a record."""
    if event.kind == "execute-failed" or (event.kind == "flow-ended" and event.data["error"]):
        return str(event.data["error"])
    reason = ""
    if (written := _part(event)) is not None:
        reason = written[1].reason
    if event.kind == "seal":
        reason = event.data["args"][1]["reason"]
    return reason if "internal error" in reason else None


def back_into_service_only_when_well(world: World, event: Event) -> str | None:
    """`after` runs on a host that was proved well since whatever was done to it."""
    if event.kind != "hook" or event.data["hook"] != "undrain":
        return None
    page = world.books.run(event.data["run"]).host(event.data["host"])
    proved = page.well_at > page.changed_at and page.well_at > page.sick_at
    return None if proved else f"{event.data['host']} goes back into service unproved"


def sealed_with_the_verdict_of_its_hosts(world: World, event: Event) -> str | None:
    """A run is sealed once every host has a part, with the verdict that follows from them."""
    if event.kind != "seal":
        return None
    run, body = event.data["args"]
    parts = {part.host: part.verdict for part in world.state.parts(run)}
    missing = set(world.case.run(run).hosts) - set(parts)
    if missing:
        return f"{run} is sealed without {', '.join(sorted(missing))}"
    wanted = _verdict(list(parts.values()))
    return f"{run} is sealed as {body['verdict']}, its hosts say {wanted}" if body["verdict"] != wanted else None


def _verdict(hosts: list[Verdict]) -> Verdict:
    """The rule once more, in other words than the product's."""
    if all(one is Verdict.REFUSED for one in hosts):
        return Verdict.REFUSED
    for bad in (Verdict.UNKNOWN, Verdict.FAILED, Verdict.ROLLED_BACK, Verdict.CANCELLED):
        if bad in hosts:
            return bad
    return Verdict.DEGRADED if {Verdict.DEGRADED, Verdict.REFUSED} & set(hosts) else Verdict.SUCCEEDED


def nothing_happens_after_the_seal(world: World, event: Event) -> str | None:
    """Once a run is sealed its workflows command no host any more, and nothing is added to it."""
    if event.kind == "commanded" and event.flow and not event.flow.endswith("/reconcile"):
        run = event.flow.partition("/")[0]
        if world.books.run(run).sealed_at:
            return f"{event.flow} commands {event.data['host']} after {run} was sealed"
    return None


def the_ledger_verifies(world: World, event: Event) -> str | None:
    """After every seal the ledger is whole, and its records say what is kept of their hosts."""
    found = world.ledger.verify() if event.kind == "seal" else []
    return "; ".join(one.message for one in found) or None


ALWAYS: list[Callable[[World, Event], str | None]] = [
    no_more_hosts_in_flight_than_the_plan_allows,
    no_more_hosts_in_a_place_than_fit_there,
    nothing_starts_once_the_budget_is_used_up,
    no_wave_starts_before_the_gate_of_the_last_one_held,
    a_gate_holds_only_where_it_may,
    a_host_obeys_one_commander,
    a_host_is_worked_on_by_the_run_that_holds_it,
    no_completed_step_works_again,
    a_change_is_made_at_most_once,
    nothing_is_written_that_says_something_else,
    every_step_stands_once_in_the_part,
    who_is_shown_well_was_checked_after_the_change,
    the_part_says_what_is_there,
    who_is_shown_untouched_is_untouched,
    unknown_has_a_cause,
    no_fault_of_ours,
    back_into_service_only_when_well,
    sealed_with_the_verdict_of_its_hosts,
    nothing_happens_after_the_seal,
    the_ledger_verifies,
]


def every_host_has_one_part(world: World) -> str | None:
    """Every host that a run was asked for has one part in its record, and no other host has."""
    for run in world.case.runs:
        parts = [part.host for part in world.state.parts(run.id)]
        if parts != sorted(run.hosts):
            return f"{run.id}: {parts}, asked for {sorted(run.hosts)}"
    return None


def every_run_is_sealed(world: World) -> str | None:
    """A run that has ended has a record."""
    open_ones = [run.id for run in world.case.runs if world.ledger.get(run.id) is None]
    return f"without a record: {', '.join(open_ones)}" if open_ones else None


def nothing_stays_taken(world: World) -> str | None:
    """Locks and places are given back. A lock that could not be stands in the part of its host; one that a process took
    just before it died, on a host that could not be reached again, is left to the next run, which takes it over."""
    for machine in world.machines.values():
        run = machine.lock.run
        page = world.books.run(run).hosts.get(machine.name) if run else None
        if page is not None and not _lock_accounted_for(page):
            return f"{machine.name} is still held by {run}: {page.part and page.part.verdict}, {page.part and page.part.reason}"
    held = world.state.slots()
    return f"places that nobody gave back: {held}" if held else None


def _lock_accounted_for(page: HostBook) -> bool:
    part = page.part
    if part is None:
        return False
    lost = part.verdict is Verdict.REFUSED and page.lost_contact and not page.commanded
    return lost or part.verdict is Verdict.UNKNOWN or "lock was not given back" in part.reason


def what_people_asked_is_kept(world: World) -> str | None:
    """Who paused, resumed or cancelled a run can be read afterwards."""
    for id, book in world.books.runs.items():
        kept = [(one.wish, one.by) for one in world.state.interventions(id)]
        if kept != book.wishes:
            return f"{id}: {kept}, asked {book.wishes}"
    return None


def the_ledger_verifies_at_the_end(world: World) -> str | None:
    """The ledger is whole."""
    return "; ".join(one.message for one in world.ledger.verify()) or None


AT_THE_END: list[Callable[[World], str | None]] = [
    every_host_has_one_part,
    every_run_is_sealed,
    nothing_stays_taken,
    what_people_asked_is_kept,
    the_ledger_verifies_at_the_end,
]

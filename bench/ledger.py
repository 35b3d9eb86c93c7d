"""What keeping records costs: appends and verified entries per second, and step checkpoints per second.

    python bench/ledger.py [--entries 10000] [--appends 500] [--hosts 100] [--steps 10] [--parallel 20] [--json]

Everything is written with the same care as in use (synchronous=FULL, an anchor synced after each seal), in a temporary
folder: set TMPDIR to a disk, or a memory file system flatters the figures.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import threading
import time
from pathlib import Path

from mainstay.inventory.value import Json, canonical
from mainstay.runner.engine.adapters.dbos import DbosEngine
from mainstay.runner.engine.contract import Context, JsonValue
from mainstay.runner.ledger.adapters.sql import SqlLedger, record
from mainstay.runner.ledger.chain import make_entry
from mainstay.runner.ledger.seals import Anchor, make_key, read_key
from mainstay.runner.record import HostPart, Step, Summary, hosts_digest
from mainstay.runner.state.adapters import tables
from mainstay.runner.state.adapters.sql import SqlState
from mainstay.runner.state.adapters.sqlite import SqliteDatabase
from mainstay.runner.verdict import Verdict

HOSTS_PER_RECORD = 5


def parts(run: str) -> list[HostPart]:
    steps = tuple(
        Step(
            name=name, verdict=Verdict.SUCCEEDED, started_at="2026-01-01T00:00:00Z", finished_at="2026-01-01T00:00:01Z"
        )
        for name in ("facts", "preflight", "resolve", "capture", "apply", "verify", "restart", "health")
    )
    return [HostPart(host=f"{run}-h{n}", verdict=Verdict.SUCCEEDED, steps=steps) for n in range(HOSTS_PER_RECORD)]


def summary(run: str) -> Summary:
    return Summary(
        id=run,
        kind="patch",
        plan="bench",
        maintenance_type="preventive",
        verdict=Verdict.SUCCEEDED,
        reason="",
        trigger="manual",
        requested_by="bench",
        counts={"succeeded": HOSTS_PER_RECORD},
        hosts_digest=hosts_digest(parts(run)),
    )


def measure_ledger(directory: Path, entries: int, appends: int) -> dict[str, float]:
    database = SqliteDatabase(directory / "mainstay.db")
    make_key(directory / "ledger.key")
    Anchor(directory / "anchor.jsonl").make()
    state = SqlState(database)
    ledger = SqlLedger(database, directory / "ledger.key", directory / "anchor.jsonl", state.hosts_digest)
    bodies = {f"r{number}": summary(f"r{number}").to_json() for number in range(entries)}
    alone, together = list(bodies)[:appends], list(bodies)[appends : 2 * appends]
    began = time.perf_counter()
    for id in alone:
        ledger.seal(id, bodies[id])
    appended = len(alone) / (time.perf_counter() - began)
    began = time.perf_counter()

    def seal(share: int) -> None:
        for id in together[share::4]:
            ledger.seal(id, bodies[id])

    threads = [threading.Thread(target=seal, args=(share,)) for share in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    appended_together = len(together) / (time.perf_counter() - began)
    fill(database, directory, ledger.head(), {id: body for id, body in bodies.items() if ledger.get(id) is None})
    with database.write() as to:
        written = [(id, part) for id in bodies for part in parts(id)]
        rows = [{"run": id, "host": part.host, "body": canonical(part.to_json()).decode()} for id, part in written]
        to.execute(tables.host_part.insert(), rows)
    figures = {"appends/s, one thread": appended, "appends/s, four threads": appended_together}
    chain_alone = SqlLedger(database, directory / "ledger.key", directory / "anchor.jsonl")
    for name, checked in (("entries verified/s", chain_alone), ("the same, with their hosts/s", ledger)):
        began = time.perf_counter()
        found = checked.verify()
        figures[name] = entries / (time.perf_counter() - began)
        assert found == [], found
    assert ledger.head()[0] == entries
    database.close()
    return figures


def fill(database: SqliteDatabase, directory: Path, head: tuple[int, str], bodies: dict[str, Json]) -> None:
    """The rest in one transaction: what is measured of it is its verification."""
    key, rows = read_key(directory / "ledger.key"), []
    for id, body in bodies.items():
        entry = make_entry(key, head, id, body)
        rows.append(entry.to_json() | {"body": canonical(body).decode()})
        head = (entry.seq, entry.hash)
    with database.write() as to:
        for row in rows:
            to.execute(record.insert(), row)
    Anchor(directory / "anchor.jsonl").note(*head)


def measure_engine(directory: Path, hosts: int, steps: int, parallel: int) -> dict[str, float]:
    def host(ctx: Context, argument: JsonValue) -> JsonValue:
        for number in range(steps):
            ctx.step(f"s{number}", lambda: "ok")
        return argument

    def run(ctx: Context, argument: JsonValue) -> JsonValue:
        names = [f"{ctx.id}/{number}" for number in range(hosts)]
        handles = [ctx.enqueue("host", name, name, queue=ctx.id, parallel=parallel) for name in names]
        return len([handle.result() for handle in handles])

    engine = DbosEngine(directory)
    engine.register("host", host)
    engine.register("run", run)
    engine.launch()
    began = time.perf_counter()
    assert engine.start("run", "r1", None).result() == hosts
    seconds = time.perf_counter() - began
    engine.close()
    return {
        "step checkpoints/s": hosts * steps / seconds,
        "engine, ms per host": seconds / hosts * 1000,
        "peak memory, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--entries", type=int, default=10_000)
    parser.add_argument(
        "--appends", type=int, default=500, help="of these, sealed one by one, and as many by four threads"
    )
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--parallel", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mainstay-bench-") as folder:
        figures = measure_ledger(Path(folder), options.entries, options.appends)
        figures |= measure_engine(Path(folder), options.hosts, options.steps, options.parallel)
    if options.json:
        print(json.dumps(figures))
        return
    print(f"{options.entries} entries; {options.hosts} hosts of {options.steps} steps, {options.parallel} at once")
    for name, value in figures.items():
        print(f"  {name:<28}{value:>12,.1f}")


if __name__ == "__main__":
    main()

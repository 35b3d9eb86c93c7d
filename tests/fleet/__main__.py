"""A fleet by hand: `python3 -m tests.fleet up 5`, `list`, `exec h1 uptime`, `publish demo-web 1.1`, `down`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fleet.base import CACHE, base
from tests.fleet.fleet import Fleet, reap
from tests.fleet.system import FleetError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m tests.fleet", description=__doc__)
    parser.add_argument(
        "--dir", type=Path, default=CACHE / "hand", help="where this fleet lives (default: %(default)s)"
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="boot hosts (more of them, if some are up already)")
    up.add_argument("count", type=int)
    up.add_argument("--web", action="store_true", help="with demo-web 1.0 installed")
    verbs.add_parser("list", help="names and addresses")
    execute = verbs.add_parser("exec", help="run a command as root in a host, without SSH")
    execute.add_argument("host")
    execute.add_argument("argv", nargs=argparse.REMAINDER)
    for verb in ("reboot", "power-cut", "boot", "link-down", "link-up", "reset"):
        verbs.add_parser(verb).add_argument("host")
    for verb in ("publish", "withdraw"):
        offer = verbs.add_parser(verb, help=f"{verb} a package's version in the repository")
        offer.add_argument("package")
        offer.add_argument("version")
    verbs.add_parser("down", help="take it all down")
    verbs.add_parser("base", help="build the base that all hosts start from, if there is none yet")
    verbs.add_parser("reap", help="take down what tests left that were killed")
    try:
        return act(parser.parse_args())
    except FleetError as error:
        print(f"fleet: {error}", file=sys.stderr)
        return 1


def act(asked: argparse.Namespace) -> int:
    if asked.verb == "up":
        fleet = Fleet.open(asked.dir) if (asked.dir / "fleet.json").exists() else Fleet.create(asked.dir)
        new = fleet.add(asked.count)
        for host in new if asked.web else []:
            host.install("demo-web", "1.0")
        show(fleet)
        return 0
    if asked.verb in {"base", "reap"}:
        base() if asked.verb == "base" else reap()
        return 0
    fleet = Fleet.open(asked.dir)
    if asked.verb == "list":
        show(fleet)
    elif asked.verb == "down":
        fleet.destroy()
    elif asked.verb in {"publish", "withdraw"}:
        getattr(fleet.repository, asked.verb)(asked.package, asked.version)
    elif asked.host not in fleet.hosts:
        raise FleetError(f"no host {asked.host}; there are {', '.join(fleet.hosts)}")
    elif asked.verb == "exec":
        sys.stdout.write(fleet.hosts[asked.host].exec(asked.argv))
    else:
        getattr(fleet.hosts[asked.host], asked.verb.replace("-", "_"))()
    return 0


def show(fleet: Fleet) -> None:
    for host in fleet.hosts.values():
        print(f"{host.name}  {host.address}")
    print(f"key          {fleet.key}")
    print(f"known_hosts  {fleet.known_hosts}")
    print(f"repository   {fleet.repository.url}")
    first = next(iter(fleet.hosts.values()), None)
    if first:
        print(f"ssh -i {fleet.key} -o UserKnownHostsFile={fleet.known_hosts} ops@{first.address}")


if __name__ == "__main__":
    sys.exit(main())

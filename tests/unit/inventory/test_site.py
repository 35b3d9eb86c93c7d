import sys
from pathlib import Path

import pytest
from tests.unit.inventory.conftest import HOSTS, Read, Write, one

from mainstay.inventory.errors import ConfigError, UsageError
from mainstay.inventory.selectors import pick
from mainstay.inventory.site import check_files, find_site, load_site, read_site


def test_a_site_says_where_things_are(read: Read, tmp_path: Path) -> None:
    main = "site: acme\ntimezone: Europe/Berlin\nssh: {user: ops, key: file:~/k, port: 2222}\n"
    main += "never_automatic: ['pg*']\ncaptures: {max_size: 5GB}\n"
    site, problems = read("hosts: {web2: , web1: {address: 10.0.0.1}}", main=main)
    assert not problems
    assert (site.name, site.timezone, site.root) == ("acme", "Europe/Berlin", tmp_path)
    assert site.state_url == f"sqlite:///{tmp_path}/state/mainstay.db"
    assert site.known_hosts == tmp_path / "inventory/known_hosts"
    assert (site.never_automatic, site.captures_max_size) == (("pg*",), 5 * 10**9)
    assert [host.name for host in site.hosts] == ["web1", "web2"]
    assert site.hosts[1].address == "web2"
    assert (site.hosts[0].ssh.user, site.hosts[0].ssh.port, site.hosts[0].ssh.key) == ("ops", 2222, "file:~/k")
    assert site.hosts[0].source == f"{HOSTS}:1"


def test_a_state_elsewhere_is_kept_as_it_is(read: Read) -> None:
    assert read(main="site: a\nstate: sqlite:////var/lib/m.db\n")[0].state_url == "sqlite:////var/lib/m.db"


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ("timezone: EST5", "timezone", "no time zone"),
        ("timezone: europe/berlin", "timezone", 'Did you mean "Europe/Berlin"?'),
        ("timezone: ../../etc/passwd", "timezone", "no time zone"),
        ("timezone: Europe", "timezone", "no time zone"),
        ("state: mysql://x/y", "state", "sqlite:///PATH"),
        ("state: sqlite://", "state", "sqlite:///PATH"),
        ("ssh: {port: 0}", "ssh.port", "at least 1"),
        ("ssh: {port: 70000}", "ssh.port", "at most 65535"),
        ("ssh: {port: x}", "ssh.port", "a whole number"),
        ("ssh: {user: -oProxyCommand=x}", "ssh.user", "no login name"),
        ("ssh: {connect_timeout: 10}", "ssh.connect_timeout", "no unit"),
        ("ssh: {key: 'env:KEY'}", "ssh.key", "file:PATH"),
        ("ssh: {become: {method: doas}}", "ssh.become.method", "is none of sudo"),
        ("ssh: [user]", "ssh", "a mapping"),
        ("captures: {max_size: much}", "captures.max_size", "no size"),
        ("state: postgresql://m:hunter2@db/mainstay", "state", "holds a password. Leave it out"),
        ("state: postgresql://m@db/mainstay?password=hunter2", "state", "holds a password. Leave it out"),
        ("state: postgresql://m@db/mainstay?sslmod=require", "state", 'Did you mean "sslmode"?'),
        ("state: postgresql://m@db", "state", "names no database"),
        ("state: postgresql://m@db:x/mainstay", "state", "a port that is none"),
        ("state: sqlite:///inventory/mainstay.db", "state", "can't lie in inventory/"),
        ("state: sqlite:///schedules/deeper/mainstay.db", "state", "can't lie in schedules/"),
        ("state: sqlite:///state/../playbooks/mainstay.db", "state", "can't lie in playbooks/"),
        ("state: postgresql://m@db/mainstay\nstate_dir: inventory/state", "state_dir", "can't lie in inventory/"),
        ("state: sqlite:///mainstay.db", "state", "can't lie in the site's folder itself"),
        ("state: postgresql://m@db/mainstay\nstate_dir: .", "state_dir", "can't lie in the site's folder itself"),
        ("anchors: [{file: state/anchor.jsonl}]", "anchors.0.file", "in the state's own folder"),
        ("anchors: [{file: state/deeper/../copy}]", "anchors.0.file", "in the state's own folder"),
        ("anchors: [{s3: {bucket: AB}}]", "anchors.0.s3.bucket", "3 to 63 lower-case letters"),
        ("anchors: [{s3: {bucket: abc, prefix: 'a b'}}]", "anchors.0.s3.prefix", "Write for example mainstay/acme"),
        ("anchors: [{s3: {bucket: abc, region: EU}}]", "anchors.0.s3.region", "Write for example eu-central-1"),
        ("anchors: [{s3: {bucket: abc, endpoint: s3.example.org}}]", "anchors.0.s3.endpoint", "https://"),
        ("anchors: [{ssh: {host: a, path: b}}]", "anchors.0.ssh.path", "Write it from / on"),
        ("retention: {engine: 5m}", "retention.engine", "at least 1h"),
        ("state: postgresql://m@db/mainstay?sslmode=verify", "state", 'Did you mean "verify-'),
        ("state_password: hunter2", "state_password", "a secret in plain text"),
        ("state_password: file:pw", "state_password", "for a state in PostgreSQL alone"),
        ("state_dir: /var/lib/mainstay", "state_dir", "for a state in PostgreSQL alone"),
        ("ledger_key: env:KEY", "ledger_key", "file:PATH"),
        ("timezon: UTC", "timezon", 'unknown key. Did you mean "timezone"?'),
        ("ssh: {usr: x}", "ssh.usr", 'Did you mean "user"?'),
    ],
)
def test_a_fault_in_the_settings_is_told_at_its_line(write: Write, line: str, key: str, words: str) -> None:
    root = write(main=f"site: acme\n{line}\n")
    _, problems = read_site(root)
    with pytest.raises(ConfigError):
        load_site(root)
    problem = one(problems)
    assert (problem.file, problem.line, problem.key) == ("mainstay.yml", 2 + line.count("\n"), key)
    assert words in str(problem)


@pytest.mark.parametrize(
    ("zone", "hint"),
    [
        ("EST5", 'Did you mean "EST'),
        ("Europe/Berlim", 'Did you mean "Europe/Berlin"?'),
        ("europe/berlin", 'Did you mean "Europe/Berlin"?'),
        ("../../etc/passwd", "Write for example Europe/Berlin or UTC."),
    ],
)
def test_an_unknown_time_zone_is_refused(write: Write, zone: str, hint: str) -> None:
    problem = one(read_site(write(main=f"site: acme\ntimezone: {zone}\n"))[1])
    assert (problem.file, problem.line, problem.key) == ("mainstay.yml", 2, "timezone")
    assert (problem.hint or "").startswith(hint)


def test_a_site_without_a_name_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "mainstay.yml").write_text("timezone: UTC\n")
    assert one(read_site(tmp_path)[1]).key == "site"
    assert "missing" in one(read_site(tmp_path)[1]).message
    problem = one(read_site(tmp_path / "nowhere")[1])
    assert problem.file == "mainstay.yml"
    with pytest.raises(UsageError, match=r"no mainstay\.yml") as caught:
        find_site(tmp_path.parent)
    assert caught.value.hint
    (tmp_path / "a/b").mkdir(parents=True)
    assert find_site(tmp_path / "a/b") == tmp_path.resolve()


def test_every_problem_of_the_site_is_told_at_once(write: Write) -> None:
    root = write(
        "hosts: {web1: {port: 0}, web2: {prot: 1}}\nhots: {}\n",
        main="site: acme\nstat: x\n",
        files={"schedules/x.yml": "a: [\n"},
    )
    with pytest.raises(ConfigError) as caught:
        load_site(root)
    assert [(p.file, p.key) for p in caught.value.problems] == [
        ("mainstay.yml", "stat"),
        (HOSTS, "hots"),
        (HOSTS, "hosts.web1.port"),
        (HOSTS, "hosts.web2.prot"),
        ("schedules/x.yml", None),
    ]


def test_what_could_not_be_read_is_not_said_to_be_missing(read: Read) -> None:
    text = (
        "hosts:\n  a: {jump: b, groups: [g]}\n  b: {prot: 1}\ngroups:\n  g: {prot: 1}\n  h: {hosts: [b], groups: [g]}\n"
    )
    assert [p.key for p in read(text)[1]] == ["hosts.b.prot", "groups.g.prot"]
    _, problems = read("hosts:\n  a: {jump: b, groups: [g]}\n", files={"inventory/more.yml": "hosts: {b: [\n"})
    assert [(p.file, p.key) for p in problems] == [("inventory/more.yml", None)]


def test_the_timezone_that_is_said_nearest_to_the_host_is_its_own(read: Read) -> None:
    site, problems = read(
        """
hosts:
  web1: {groups: [inner], timezone: Asia/Tokyo}
  web2: {groups: [inner]}
  web3: {groups: [silent]}
  web4: {}
groups:
  all: {timezone: Europe/London}
  outer: {groups: [inner, silent], timezone: Europe/Paris}
  inner: {timezone: Europe/Berlin}
  silent: {}
""",
        main="site: a\ntimezone: America/New_York\n",
    )
    assert not problems
    zones = {host.name: host.timezone for host in site.hosts}
    assert zones == {"web1": "Asia/Tokyo", "web2": "Europe/Berlin", "web3": "Europe/Paris", "web4": "Europe/London"}
    site, problems = read("hosts: {web1: {}}", main="site: a\ntimezone: America/New_York\n")
    assert [host.timezone for host in site.hosts] == [None]
    _, problems = read("hosts:\n  a: {timezone: EST5}\ngroups:\n  g: {timezone: host}\n")
    assert [(problem.line, problem.key) for problem in problems] == [(2, "hosts.a.timezone"), (4, "groups.g.timezone")]


def test_what_is_said_nearer_to_the_host_wins(read: Read) -> None:
    site, problems = read(
        """
hosts:
  web1: {groups: [inner], tags: {own: host}, port: 5}
  web2: {}
groups:
  all: {user: from-all, tags: {a: all, own: all}, become: {password: "env:ALL"}}
  outer: {user: from-outer, read_user: outer, port: 3, groups: [middle], tags: {a: outer, b: outer}}
  middle: {groups: inner}
  inner: {read_user: inner, port: 4, tags: {b: inner}, become: sudo}
  zz: {read_user: zz, hosts: [web1]}
""",
        main="site: a\nssh: {user: from-site, connect_timeout: 7s, become: {password: 'env:SITE'}}\n",
    )
    assert not problems
    web1, web2 = site.hosts
    assert (web1.ssh.user, web1.ssh.read_user, web1.ssh.port) == ("from-outer", "inner", 5)
    assert web1.ssh.become.password == "env:ALL"
    assert web1.ssh.connect_timeout == 7
    assert web1.tags == {"a": "outer", "b": "inner", "own": "host"}
    assert web1.groups == ("inner", "middle", "outer", "zz")
    assert (web2.ssh.user, web2.groups, web2.tags) == ("from-all", (), {"a": "all", "own": "all"})
    assert site.inventory.groups == {"inner": ("web1",), "middle": ("web1",), "outer": ("web1",), "zz": ("web1",)}


def test_groups_by_selector(read: Read) -> None:
    site, problems = read(
        "hosts: {a1: {tags: {role: web}}, b1: {groups: [x]}}\n"
        "groups: {web: {selector: role=web}, both: {selector: role=web or x}, x: {}, none-there: {selector: role=db}}\n"
    )
    assert not problems
    assert dict(site.inventory.groups) == {"both": ("a1", "b1"), "none-there": (), "web": ("a1",), "x": ("b1",)}
    assert one(site.warnings).key == "groups.none-there.selector"


@pytest.mark.parametrize(
    ("text", "line", "key", "words"),
    [
        ("hosts:\n  w: {groups: wbe}\ngroups: {web: }", 2, "hosts.w.groups", 'no group "wbe". Did you mean "web"?'),
        ("hosts:\n  w: {groups: [x]}\n", 2, "hosts.w.groups.0", "Declare it under groups:."),
        ("hosts: {web1: }\ngroups:\n  g: {hosts: [wbe1]}", 3, "groups.g.hosts.0", 'Did you mean "web1"?'),
        ("groups:\n  g: {groups: [h]}", 2, "groups.g.groups.0", 'no group "h"'),
        ("groups:\n  a: {groups: [b]}\n  b: {groups: [c]}\n  c: {groups: [a]}", 2, "groups.a.groups", "a → b → c → a"),
        ("groups:\n  a: {groups: [a]}", 2, "groups.a.groups", "a → a"),
        ("groups:\n  a: {selector: role=}", 2, "groups.a.selector", "condition"),
        ("groups:\n  a: {selector: all}\n  b: {selector: not a}", 3, "groups.b.selector", "made by a selector"),
        ("hosts: {x: }\ngroups:\n  x: {}", 3, "groups.x", "same name"),
        ("groups:\n  all: {hosts: [x]}", 2, "groups.all", "every host anyway"),
        ("hosts:\n  w: {jump: bastoin}\n  bastion: {}", 2, "hosts.w.jump", 'Did you mean "bastion"?'),
        ("hosts:\n  w: {jump: w}", 2, "hosts.w.jump", "w → w"),
        ("hosts:\n  w: {adress: x}", 2, "hosts.w.adress", 'unknown key. Did you mean "address"?'),
        ("hosts:\n  w: {port: 65536}", 2, "hosts.w.port", "at most 65535"),
        ("hosts:\n  w: {tags: {name: x}}", 2, "hosts.w.tags.name", "can't be a tag"),
        ("hosts:\n  w: {tags: {a: [x]}}", 2, "hosts.w.tags.a", "one value"),
        ("hosts:\n  w: 10.0.0.1", 2, "hosts.w", "a mapping"),
        ("hosts: [w]", 1, "hosts", "a mapping"),
        ("sources:\n  - ansible: x.ini", 2, "sources.0.ansible", "not available yet"),
        ("sources:\n  - ec2: {region: x}", 2, "sources.0.ec2", "not available yet"),
        ("sources:\n  - ansibel: x.ini", 2, "sources.0.ansibel", 'Did you mean "ansible"?'),
        ("hosst: {}", 1, "hosst", 'Did you mean "hosts"?'),
        ("- a", 1, None, "a mapping"),
    ],
)
def test_a_fault_in_the_inventory_is_told_at_its_line(
    read: Read, text: str, line: int, key: str | None, words: str
) -> None:
    _, problems = read(text)
    problem = one(problems)
    assert (problem.file, problem.line, problem.key) == (HOSTS, line, key)
    assert words in str(problem)


def test_a_selector_that_matches_no_host_is_an_error_and_never_all(read: Read) -> None:
    site, _ = read("hosts: {web1: {tags: {role: web}}}")
    with pytest.raises(UsageError, match="matches no host") as caught:
        pick("role=wbe", site.hosts, site.groups)
    assert caught.value.exit_code == 2


def test_a_secret_in_plain_text_is_refused_and_not_repeated(write: Write) -> None:
    root = write(
        "hosts:\n  web1: {password: hunter2, become: {password: hunter2}}\n",
        main="site: a\nssh: {passphrase: hunter2, key: hunter2}\n",
        files={"schedules/x.yml": "plans: {p: {token: hunter2}}\n"},
    )
    _, problems = read_site(root)
    assert [(p.file, p.line, p.key) for p in problems] == [
        ("mainstay.yml", 2, "ssh.passphrase"),
        ("mainstay.yml", 2, "ssh.key"),
        (HOSTS, 2, "hosts.web1.password"),
        (HOSTS, 2, "hosts.web1.become.password"),
    ]
    for problem in problems:
        assert "plain text" in problem.message
        assert "file:PATH" in str(problem)
        assert "hunter2" not in str(problem)


def test_a_secret_file_that_everybody_can_read_is_refused(read: Read, tmp_path: Path) -> None:
    for name, mode in (("open", 0o644), ("closed", 0o600)):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(mode)
    site, problems = read(
        "hosts:\n  a: {become: {password: file:open}}\n  b: {key: file:closed}\n  c: {key: file:missing}\n"
        "  d: {key: file:missing}\n"
        "  e: {key: file:closed.pub}\n  f: {passphrase: 'env:NOT_LOOKED_AT'}\n"
    )
    assert not problems
    found = check_files(site)
    assert [(p.file, p.line, p.key) for p in found] == [
        (HOSTS, 2, "hosts.a.become.password"),
        (HOSTS, 4, "hosts.c.key"),
        (HOSTS, 6, "hosts.e.key"),
    ]
    assert "mode 0644" in found[0].message
    assert found[0].hint == f"chmod 600 {tmp_path}/open"
    assert "No such file" in found[1].message
    assert "public key" in found[2].message


def test_tags_are_what_was_written(read: Read) -> None:
    site, problems = read("hosts: {a: {tags: {v: 1.10, on: yes, t: true, n: 007, d: 2026-01-01}}}")
    assert not problems
    assert site.hosts[0].tags == {"v": "1.10", "on": "yes", "t": "true", "n": "007", "d": "2026-01-01"}


def test_a_site_without_hosts_is_warned_about(write: Write) -> None:
    root = write()
    assert "no host" in one(load_site(root).warnings).message


@pytest.mark.thorough
def test_twice_as_many_hosts_take_twice_the_work(write: Write) -> None:
    def calls(hosts: int) -> int:
        """Calls of functions while a site with so many hosts is loaded: the same on a fast machine and on a slow one."""
        lines = [
            f"  web{i}: {{address: 10.0.{i // 250}.{i % 250}, groups: [g{i % 20}], tags: {{role: web}}}}"
            for i in range(hosts)
        ]
        groups = [f"  g{i}: {{user: u{i}}}" for i in range(20)]
        root = write("\n".join(["hosts:", *lines, "groups:", *groups]))
        count = 0

        def seen(frame: object, event: str, argument: object) -> None:
            nonlocal count
            count += event == "call"

        before = sys.getprofile()
        sys.setprofile(seen)
        try:
            assert len(load_site(root).hosts) == hosts
        finally:
            sys.setprofile(before)
        return count

    calls(10)  # what is only done once
    assert calls(400) < 2.2 * calls(200)

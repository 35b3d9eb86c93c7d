"""demo-web, a small web service, in versions that go well and versions that go wrong. Built when first asked for."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.fleet.system import run

SERVICE = """\
#!/usr/bin/python3
# demo-web: answers /healthz on port 8080 with its version
import http.server, os, pathlib, socket, sys
if {broken} and not pathlib.Path("/etc/demo-web.conf").exists():
    sys.exit("no such file: /etc/demo-web.conf")

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        known = self.path == "/healthz"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(b"demo-web {version}\\n" if known else b"")

    def log_message(self, *said):
        pass

server = http.server.ThreadingHTTPServer(("", 8080), Page)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
server.serve_forever()
"""

UNIT = """\
[Unit]
Description=demo-web {version}

[Service]
Type=notify
ExecStart=/usr/lib/demo-web/serve

[Install]
WantedBy=multi-user.target
"""

CONTROL = """\
Package: demo-web
Version: {version}
Architecture: all
Maintainer: fleet <fleet@invalid>
Depends: python3
Section: web
Priority: optional
Description: a small web service to practise on
"""

# as debhelper writes it: a service that does not come up does not fail the package
POSTINST = """\
#!/bin/sh
set -e
[ "$1" = configure ] || exit 0
{extra}
systemctl daemon-reload
systemctl enable -q demo-web
systemctl restart demo-web || true
"""

PRERM = """\
#!/bin/sh
set -e
[ "$1" = upgrade ] || systemctl disable -q --now demo-web || true
"""

SLOW = """\
n=$(cat /etc/demo-web/seconds 2>/dev/null || echo 8)
i=0
while [ "$i" -lt "$((n * 10))" ]; do
  i=$((i + 1))
  echo "demo-web: migrating record $i of $((n * 10)) ................................................................"
  sleep 0.1
done"""


@dataclass(frozen=True, slots=True)
class Version:
    """What sets one version of demo-web apart. extra: shell in its postinst, before the service is restarted."""

    says: str
    extra: str = ""
    broken: bool = False
    greeting: str = "hello"


VERSIONS = {
    "1.0": Version("what is installed to begin with"),
    "1.1": Version("a good update"),
    "1.2": Version("installs, but its service does not come up: it wants /etc/demo-web.conf", broken=True),
    "1.3": Version("its postinst fails", extra='echo "demo-web: cannot migrate" >&2; exit 1'),
    "1.4": Version("comes with a changed conffile, /etc/demo-web/demo-web.conf", greeting="good day"),
    "1.5": Version("wants a reboot", extra="touch /run/reboot-required; echo demo-web >>/run/reboot-required.pkgs"),
    "1.6": Version("its postinst prints for 8 s, or for as long as /etc/demo-web/seconds says", extra=SLOW),
}


def build(version: str, into: Path) -> Path:
    """Build demo-web at this version, a key of VERSIONS; returns the .deb."""
    what = VERSIONS[version]
    deb = into / f"demo-web_{version}_all.deb"
    tree = into / f"demo-web_{version}"
    files = {
        "DEBIAN/control": (CONTROL.format(version=version), 0o644),
        "DEBIAN/conffiles": ("/etc/demo-web/demo-web.conf\n", 0o644),
        "DEBIAN/postinst": (POSTINST.format(extra=what.extra), 0o755),
        "DEBIAN/prerm": (PRERM, 0o755),
        "etc/demo-web/demo-web.conf": (f"greeting = {what.greeting}\n", 0o644),
        "usr/lib/demo-web/serve": (SERVICE.format(version=version, broken=what.broken), 0o755),
        "usr/lib/systemd/system/demo-web.service": (UNIT.format(version=version), 0o644),
    }
    into.mkdir(parents=True, exist_ok=True)
    for name, (text, mode) in files.items():
        file = tree / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
    for folder in [tree, *(p for p in tree.rglob("*") if p.is_dir())]:
        folder.chmod(0o755)
    run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, deb])
    shutil.rmtree(tree)
    return deb

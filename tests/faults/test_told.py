"""A whole process tells what its run made before it ends: with the real engine, the real stores and nobody that serves."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.faults.command_line import mainstay


class Heard(BaseHTTPRequestHandler):
    paths: list[str]

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.paths.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None: ...


def test_a_run_by_hand_tells_of_itself_and_of_nothing_before(tmp_path: Path) -> None:
    paths: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Heard,), {"paths": paths}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    files = {
        "mainstay.yml": "site: a\nssh: {user: ops, key: file:key}\n",
        "inventory/hosts.yml": "hosts: {web1: {address: 127.0.0.9}}\n",
        "schedules/web.yml": "plans:\n  p: {targets: all, ping: env:PING}\n",
        "bin/tell": "#!/bin/sh\ncat >>told.jsonl\n",
        "bin/broken": "#!/bin/sh\necho no line today\nexit 1\n",
        "key": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o700)
    environment = {"PING": f"http://127.0.0.1:{server.server_address[1]}/canary-of-the-ping"}

    (before,) = mainstay(tmp_path, ("run", "p", "--json"), env=environment)
    notify = "notify:\n  - {command: bin/tell, on: refused}\n  - {command: bin/broken, on: refused}\n"
    (tmp_path / "mainstay.yml").write_text(files["mainstay.yml"] + notify)
    run, again, status = mainstay(tmp_path, *[("run", "p", "--json")] * 2, ("status",), env=environment)
    server.shutdown()
    server.server_close()
    thread.join()

    # No key of the host is pinned: nothing is sent to it, which is an end like any other.
    assert [one.code for one in (before, run, again)] == [4, 4, 4]
    told = [json.loads(line) for line in (tmp_path / "told.jsonl").read_text().splitlines()]
    assert [one["record"]["id"] for one in told] == [json.loads(one.out)["id"] for one in (run, again)]
    assert [path for path in paths if not path.endswith("/start")] == ["/canary-of-the-ping/fail"] * 3
    assert "bin/broken" not in status.out, "one failure is no alarm yet"
    found = [path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert not [text for text in found if b"canary-of-the-ping" in text]
    assert [text for text in found if b"no line today" in text]

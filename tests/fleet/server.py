"""Serves a folder to the hosts, and writes what they asked for into a log. Run by file name: server.py FOLDER ADDRESS PORT"""

from __future__ import annotations

import sys
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OUT_OF_ORDER = "out-of-order"
"""While a file of this name lies beside the folder, every answer is 500."""


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def send_head(self):  # type: ignore[no-untyped-def]  # the base class has no types of its own either
        if (Path(self.directory).parent / OUT_OF_ORDER).exists():
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "out of order")
            return None
        # HTTP dates count whole seconds: two publications within one would look like none
        del self.headers["If-Modified-Since"]
        return super().send_head()

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Last-Modified":
            super().send_header(keyword, value)

    def log_message(self, format: str, *args: object) -> None:
        sys.stdout.write(f"{self.client_address[0]} {format % args}\n")
        sys.stdout.flush()


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    folder, address, port = sys.argv[1:]
    Server((address, int(port)), partial(Handler, directory=folder)).serve_forever()

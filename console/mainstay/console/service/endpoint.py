"""Health over HTTP, for a monitoring that asks: GET /healthz (200, or 503 and why); GET /livez (503 only where the process
had better be started again).

Reads no path, no header and no body: the request line picks one of two answers. Bounded in the size of a request, in the
time that one may take and in how many there may be at once.
"""

from __future__ import annotations

import asyncio
import json
import threading
from logging import INFO, WARNING

from mainstay.console.service.health import Health
from mainstay.inventory.errors import UsageError
from mainstay.inventory.value import Json
from mainstay.runner.log.events import tell

LARGEST = 8192
"""Bytes of a request."""
AT_ONCE = 32
WITHIN = 5.0
"""Seconds from the connection to the end of its answer."""

_WORDS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}


class Endpoint:
    """`with Endpoint(host, port, health):` answers in a thread of its own until the block ends.

    host: an IP address. port 0: a free one, see `port`. Entering it raises UsageError where it can't listen there.
    """

    def __init__(self, host: str, port: int, health: Health, *, within: float = WITHIN, at_once: int = AT_ONCE) -> None:
        self.host, self.port = host, port
        self._health = health
        self._within = within
        self._at_once = at_once
        self._open = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="health", daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Endpoint:
        try:
            opening = asyncio.start_server(self._answer, self.host, self.port, limit=LARGEST)
            self._server = self._loop.run_until_complete(opening)
        except OSError as error:
            self._loop.close()
            hint = "See serve: {health: …} of mainstay.yml; ss -ltnp shows who listens there."
            raise UsageError(f"no health endpoint on {self.host}:{self.port}: {error.strerror}", hint=hint) from None
        self.port = self._server.sockets[0].getsockname()[1]
        self._thread.start()
        tell(INFO, "health endpoint listens", address=self.host, port=self.port)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._end())
            self._loop.close()

    async def _end(self) -> None:
        if self._server is not None:
            self._server.close()
        for _ in range(3):
            await asyncio.sleep(0)  # a connection that was just accepted gets its task
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._open >= self._at_once:
            writer.transport.abort()
            return
        self._open += 1
        try:
            await asyncio.wait_for(self._exchange(reader, writer), self._within)
            writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            writer.transport.abort()  # gone, too long, without an end: nobody is owed an answer
        except BaseException as error:
            writer.transport.abort()
            if not isinstance(error, Exception):
                raise
            tell(WARNING, "health endpoint failed", fault=error)  # the next one who asks is answered all the same
        finally:
            self._open -= 1

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        method, code, body = self._picked(request.split(b"\r\n", 1)[0])
        content = json.dumps(body).encode() + b"\n"
        head = (
            f"HTTP/1.1 {code} {_WORDS[code]}\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n"
            "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n"
            + ("Allow: GET, HEAD\r\n" if code == 405 else "")
            + "\r\n"
        )
        writer.write(head.encode() + (b"" if method == b"HEAD" else content))
        await writer.drain()

    def _picked(self, line: bytes) -> tuple[bytes, int, Json]:
        """(method, status, body) for a request line."""
        words = line.split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return b"", 400, {"error": "no request that is known here"}
        method, target, _ = words
        if method not in (b"GET", b"HEAD"):
            return method, 405, {"error": "GET and HEAD are all that is answered"}
        if target == b"/livez":
            frozen = self._health.frozen()
            return method, 503 if frozen else 200, {"status": "frozen" if frozen else "ok", "frozen": list(frozen)}
        if target == b"/healthz":
            told = self._health.to_json()
            return method, 200 if told["status"] == "ok" else 503, told
        return method, 404, {"error": "there is /healthz, and /livez"}

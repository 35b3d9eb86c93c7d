"""Calendars over HTTP. Whoever runs the server, or stands in front of it, is a stranger: it is asked for one text, within
limits, and led nowhere that the site did not name."""

from __future__ import annotations

import base64
import ipaddress
import time
import zlib
from collections.abc import Callable
from urllib.parse import urljoin, urlsplit

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.secrets import Secret, is_reference
from mainstay.inventory.web.adapters.guarded import NAMED_PORTS, Guarded, Resolve, resolve
from mainstay.inventory.web.contract import Answer, Forbidden, WebError
from mainstay.schedules.calendars.contract import LARGEST, CalendarFault, CalendarSource, Fetched
from mainstay.schedules.freeze_entries import check_url

SECONDS = 30.0
"""For all of a fetch, redirects included."""
REDIRECTS = 3
_MOVED = (301, 302, 303, 307, 308)


class WebFetcher:
    """secret: resolves references. look_up: names to addresses. seconds: see SECONDS."""

    def __init__(
        self, secret: Callable[[str], Secret], *, look_up: Resolve = resolve, seconds: float = SECONDS
    ) -> None:
        self._secret = secret
        self._look_up = look_up
        self._seconds = seconds

    def fetch(self, source: CalendarSource, *, etag: str = "", last_modified: str = "") -> Fetched:
        try:
            url = self._url(source)
            own = self._access(source)
        except MainstayError as error:
            raise CalendarFault(error.message, hint=error.hint) from None
        asked = {"Accept": "text/calendar, */*;q=0.1"}
        if etag:
            asked["If-None-Match"] = etag
        if last_modified:
            asked["If-Modified-Since"] = last_modified
        answer = self._follow(url, asked, own)
        marks = (answer.headers.get("etag", "")[:500], answer.headers.get("last-modified", "")[:100])
        if answer.status == 304 and (etag or last_modified):
            return Fetched(None, *marks)
        if answer.status != 200:
            raise CalendarFault(f"{urlsplit(url).hostname} answers with HTTP {answer.status}{_meaning(answer.status)}")
        return Fetched(_decoded(answer), *marks)

    def _url(self, source: CalendarSource) -> str:
        if not is_reference(source.place):
            return source.place
        url = self._secret(source.place).reveal().strip()
        try:
            return check_url(url)
        except ValueError as error:
            raise CalendarFault(f"what {source.place.partition(':')[0]}: gives as its URL {error}") from None

    def _access(self, source: CalendarSource) -> dict[str, str]:
        """Headers that only the server which the site names gets to see."""
        own = {name: self._secret(reference).reveal() for name, reference in source.header}
        if source.user is not None:
            password = self._secret(source.password).reveal() if source.password else ""
            token = base64.b64encode(f"{source.user}:{password}".encode()).decode()
            own["Authorization"] = f"Basic {token}"
        if any(not value.isprintable() or not value.isascii() for value in own.values()):
            raise CalendarFault("the value of a header is not one line of ASCII")
        return own

    def _follow(self, url: str, asked: dict[str, str], own: dict[str, str]) -> Answer:
        ends = time.monotonic() + self._seconds
        guard = _SameSort(self._look_up)
        web = Guarded(guard)
        here = url
        for _ in range(REDIRECTS + 1):
            headers = {**asked, **(own if _origin(here) == _origin(url) else {})}
            try:
                answer = web("GET", here, headers=headers, seconds=max(0.1, ends - time.monotonic()), largest=LARGEST)
            except WebError as error:
                raise CalendarFault(error.message) from None
            if answer.status not in _MOVED:
                return answer
            here = _next(here, answer)
            guard.redirected = True
        raise CalendarFault(f"{urlsplit(url).hostname} redirects more than {REDIRECTS} times")


class _SameSort:
    """Names to addresses; a redirect must not lead from the open network into a private one, where the answer of one who
    asks from inside is worth something."""

    def __init__(self, look_up: Resolve) -> None:
        self._look_up = look_up
        self._began_private = False
        self.redirected = False

    def __call__(self, name: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        found = self._look_up(name, port)
        private = any(_private(ip) for _, (ip, _) in found)
        if not self.redirected:
            self._began_private = private
        elif private and not self._began_private:
            raise Forbidden(f"{name} is where it redirects to, and that is an address of a private network")
        return found


def _private(ip: str) -> bool:
    try:
        found = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return True
    mapped = getattr(found, "ipv4_mapped", None)
    return not (mapped or found).is_global


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or NAMED_PORTS.get(parts.scheme, 0)


def _next(here: str, answer: Answer) -> str:
    host = urlsplit(here).hostname
    target = answer.headers.get("location", "")
    if not target:
        raise CalendarFault(f"{host} redirects to nowhere")
    try:
        following = check_url(urljoin(here, target))
    except ValueError as error:
        raise CalendarFault(f"{host} redirects to what {error}") from None
    if here.startswith("https:") and not following.startswith("https:"):
        raise CalendarFault(f"{host} redirects to a URL without encryption")
    return following


def _decoded(answer: Answer) -> bytes:
    coding = answer.headers.get("content-encoding", "identity").strip().lower()
    if coding in ("identity", ""):
        return answer.body
    if coding not in ("gzip", "x-gzip"):
        raise CalendarFault("it is compressed in a way that was not asked for")
    unpack = zlib.decompressobj(wbits=31)
    try:
        content = unpack.decompress(answer.body, LARGEST + 1)
    except zlib.error:
        raise CalendarFault("it is said to be gzip and is not") from None
    if len(content) > LARGEST:
        raise CalendarFault(f"is larger than {LARGEST // 2**20} MB")
    if not unpack.eof:
        raise CalendarFault("it is gzip that breaks off")
    return content


def _meaning(status: int) -> str:
    return {401: " (it wants credentials)", 403: " (not allowed)", 404: " (not there)", 410: " (gone)"}.get(status, "")

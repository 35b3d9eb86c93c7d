"""Calendars over HTTP against a real server on loopback; names and addresses are what the test says they are."""

from __future__ import annotations

import base64
import gzip
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mainstay.inventory.secrets import Secret
from mainstay.schedules.calendars.adapters.fetch import WebFetcher
from mainstay.schedules.calendars.contract import LARGEST, CalendarFault, CalendarSource

ICS = b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """answers: by path. asked: (path, headers) of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, Answer] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that breaks off is what these tests are about


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.server.answers[self.path](self)

    def log_message(self, *args: object) -> None:
        pass


def gives(content: bytes = ICS, status: int = 200, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    return answer


def moved(to: str, status: int = 302) -> Answer:
    return gives(b"", status, Location=to)


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


class Names:
    """A resolver that says what it is told; what is not told is where the server is."""

    def __init__(self, **told: str) -> None:
        self.told = {name.replace("_", "."): ip for name, ip in told.items()}
        self.asked: list[str] = []

    def __call__(self, name: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        import socket

        self.asked.append(name)
        ip = self.told.get(name, "127.0.0.1")
        return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, (ip, port))]


def fetcher(names: Names | None = None, *, seconds: float = 60.0, **secrets: str) -> WebFetcher:
    known = {f"env:{name}": Secret(value) for name, value in secrets.items()}
    return WebFetcher(known.__getitem__, look_up=names or Names(), seconds=seconds)


def at(server: Server, path: str = "/c.ics", host: str = "cal.example", **more: object) -> CalendarSource:
    return CalendarSource("c", f"http://{host}:{server.port}{path}", **more)  # type: ignore[arg-type]  # of its fields


def fault(source: CalendarSource, by: WebFetcher) -> str:
    with pytest.raises(CalendarFault) as caught:
        by.fetch(source)
    assert "secret" not in str(caught.value), "neither the path of a URL nor what a secret holds is told"
    return caught.value.message


def test_a_calendar_with_its_marks(server: Server) -> None:
    server.answers["/c.ics"] = gives(ETag='"one"', Last_Modified="Sun, 22 Nov 2026 12:00:00 GMT")
    found = fetcher().fetch(at(server))
    assert (found.content, found.etag, found.last_modified) == (ICS, '"one"', "Sun, 22 Nov 2026 12:00:00 GMT")
    ((_, headers),) = server.asked
    assert headers["host"] == f"cal.example:{server.port}"
    assert "if-none-match" not in headers
    assert "authorization" not in headers


def test_what_is_known_is_asked_for_by_its_marks(server: Server) -> None:
    server.answers["/c.ics"] = gives(b"", 304, ETag='"one"')
    found = fetcher().fetch(at(server), etag='"one"', last_modified="Sun, 22 Nov 2026 12:00:00 GMT")
    assert found.content is None
    headers = server.asked[0][1]
    assert headers["if-none-match"] == '"one"'
    assert headers["if-modified-since"] == "Sun, 22 Nov 2026 12:00:00 GMT"


def test_not_modified_without_having_been_asked_is_no_answer(server: Server) -> None:
    server.answers["/c.ics"] = gives(b"", 304)
    assert "HTTP 304" in fault(at(server), fetcher())


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 410, 500, 503])
def test_a_status_that_is_no_calendar(server: Server, status: int) -> None:
    server.answers["/secret.ics"] = gives(b"", status)
    assert f"cal.example answers with HTTP {status}" in fault(at(server, "/secret.ics"), fetcher())


def test_fifty_megabytes_are_broken_off_at_five(server: Server) -> None:
    sent: list[int] = []
    over = threading.Event()

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(50 * 2**20))
        handler.end_headers()
        with suppress(OSError):
            for _ in range(50 * 16):
                handler.wfile.write(b"x" * 65536)
                sent.append(65536)
        over.set()

    server.answers["/c.ics"] = endless
    assert "more than" in fault(at(server), fetcher())
    assert over.wait(60)
    assert sum(sent) < 25 * 2**20, "the rest waits in no buffer of ours"


def test_a_body_without_end_or_length(server: Server) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65536)

    server.answers["/c.ics"] = endless
    assert "more than" in fault(at(server), fetcher())


def test_a_slow_drip_is_cut_at_the_deadline(server: Server) -> None:
    gone = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            while not gone.wait(0.05):
                handler.wfile.write(b"x")
        gone.set()

    server.answers["/c.ics"] = drip
    try:
        assert fault(at(server), fetcher(seconds=0.5)) == "cal.example does not answer in time"
        assert gone.wait(60), "the line was cut"
    finally:
        gone.set()


def test_gzip_that_nobody_asked_for(server: Server) -> None:
    server.answers["/c.ics"] = gives(gzip.compress(ICS), Content_Encoding="gzip")
    assert fetcher().fetch(at(server)).content == ICS
    assert server.asked[0][1]["accept-encoding"] == "identity"


def test_a_gzip_bomb_counts_as_what_is_in_it(server: Server) -> None:
    bomb = gzip.compress(b"x" * (LARGEST + 1), 9)
    assert len(bomb) < LARGEST // 100
    server.answers["/c.ics"] = gives(bomb, Content_Encoding="gzip")
    assert fault(at(server), fetcher()) == "is larger than 5 MB"


@pytest.mark.parametrize(
    ("content", "coding", "why"),
    [
        (b"not gzip", "gzip", "is not"),
        (gzip.compress(ICS)[:-9], "gzip", "breaks off"),
        (ICS, "br", "not asked for"),
        (ICS, "gzip, gzip", "not asked for"),
    ],
    ids=["no-gzip", "broken-off", "other", "twice"],
)
def test_a_coding_that_is_none(server: Server, content: bytes, coding: str, why: str) -> None:
    server.answers["/c.ics"] = gives(content, Content_Encoding=coding)
    assert why in fault(at(server), fetcher())


def test_redirects_are_followed_to_the_third(server: Server) -> None:
    server.answers.update({"/c.ics": moved("/1"), "/1": moved("2", 301), "/2": moved("/3", 307), "/3": gives()})
    assert fetcher().fetch(at(server)).content == ICS
    server.answers.update({"/3": moved("/4", 308), "/4": gives()})
    assert fault(at(server), fetcher()) == "cal.example redirects more than 3 times"


def test_a_redirect_loop(server: Server) -> None:
    server.answers["/c.ics"] = moved("/c.ics")
    assert "redirects more than 3 times" in fault(at(server), fetcher())
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("http://169.254.169.254/latest/meta-data/secret", "169.254.169.254"),
        ("http://[fd00:ec2::254]/secret", "fd00:ec2::254"),
        ("http://[::ffff:169.254.169.254]/secret", "metadata"),
        ("http://[fe80::1]/secret", "link-local"),
        ("http://meta.example/secret", "169.254.169.254"),
        ("http://six.example/secret", "fd00:ec2::254"),
        ("http://mapped.example/secret", "metadata"),
        ("http://2852039166/secret", "IPv4"),
        ("http://0xa9fea9fe/secret", "IPv4"),
        ("file:///etc/shadow", "no way to fetch"),
        ("gopher://cal.example/secret", "no way to fetch"),
        ("http://user:secret@cal.example/", "no user"),
        ("", "to nowhere"),
    ],
)
def test_a_redirect_to_where_nothing_may_lead(server: Server, where: str, told: str) -> None:
    names = Names(meta_example="169.254.169.254", six_example="fd00:ec2::254", mapped_example="::ffff:169.254.169.254")
    server.answers["/c.ics"] = moved(where)
    assert told in fault(at(server), fetcher(names))
    assert len(server.asked) == 1


@pytest.mark.parametrize("ip", ["169.254.169.254", "169.254.0.9", "::ffff:169.254.169.254", "fe80::1", "0.0.0.0"])
def test_a_name_that_leads_there_itself(server: Server, ip: str) -> None:
    assert "can't be asked" in fault(at(server), fetcher(Names(cal_example=ip)))
    assert server.asked == []


@pytest.mark.parametrize("ip", ["127.0.0.1", "10.1.2.3", "192.168.0.1", "::1", "fd12::1", "::ffff:10.0.0.1"])
def test_a_redirect_from_the_open_network_into_a_private_one(ip: str) -> None:
    from mainstay.inventory.web.contract import Forbidden
    from mainstay.schedules.calendars.adapters.fetch import _SameSort

    names = _SameSort(Names(cal_example="203.0.114.7", inside_example=ip))
    names("cal.example", 443)
    names.redirected = True
    with pytest.raises(Forbidden, match="private network"):
        names("inside.example", 443)
    assert names("cal.example", 443), "on within the open network"


def test_a_redirect_within_a_private_network(server: Server) -> None:
    server.answers.update({"/c.ics": moved(f"http://inside.example:{server.port}/d.ics"), "/d.ics": gives()})
    assert fetcher(Names(inside_example="127.0.0.1")).fetch(at(server)).content == ICS


def test_credentials_are_for_the_server_that_the_site_names(server: Server) -> None:
    server.answers.update(
        {
            "/c.ics": moved("/same"),
            "/same": moved(f"http://other.example:{server.port}/d.ics"),
            "/d.ics": gives(),
        }
    )
    source = at(server, user="anna", password="env:PASSWORD", header=(("X-Api-Key", "env:KEY"),))
    assert fetcher(PASSWORD="secret-p", KEY="secret-k").fetch(source).content == ICS
    first, same, other = (headers for _, headers in server.asked)
    for headers in (first, same):
        assert headers["authorization"] == "Basic " + base64.b64encode(b"anna:secret-p").decode()
        assert headers["x-api-key"] == "secret-k"
    assert "authorization" not in other
    assert "x-api-key" not in other


def test_a_redirect_to_another_port_is_another_server(server: Server) -> None:
    seen: list[dict[str, str]] = []
    other = Server()
    thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        other.answers["/d.ics"] = gives()
        server.answers["/c.ics"] = moved(f"http://cal.example:{other.port}/d.ics")
        fetcher(KEY="secret-k").fetch(at(server, header=(("Authorization", "env:KEY"),)))
        seen += [headers for _, headers in other.asked]
    finally:
        other.shutdown()
        thread.join()
        other.server_close()
    assert len(seen) == 1
    assert "authorization" not in seen[0]


def test_a_header_can_not_smuggle_another(server: Server) -> None:
    source = at(server, header=(("X-Api-Key", "env:KEY"),))
    assert "one line" in fault(source, fetcher(KEY="secret\r\nX-Other: 1"))
    assert server.asked == []


def test_a_url_that_is_a_secret_itself(server: Server) -> None:
    server.answers["/private-secret/c.ics"] = gives()
    by = fetcher(URL=f"http://cal.example:{server.port}/private-secret/c.ics", WRONG="http://169.254.169.254/secret")
    assert by.fetch(CalendarSource("c", "env:URL")).content == ICS
    assert "nothing is fetched from" in fault(CalendarSource("c", "env:WRONG"), by)


def test_never_from_https_back_to_http() -> None:
    from mainstay.inventory.web.contract import Answer as WebAnswer
    from mainstay.schedules.calendars.adapters.fetch import _next

    with pytest.raises(CalendarFault, match="without encryption"):
        _next("https://cal.example/a", WebAnswer(302, {"location": "http://cal.example/b"}))
    assert (
        _next("http://cal.example/a", WebAnswer(302, {"location": "https://cal.example/b"})) == "https://cal.example/b"
    )


def test_proxies_of_the_environment_are_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    server.answers["/c.ics"] = gives()
    assert fetcher().fetch(at(server)).content == ICS


def test_nobody_there(server: Server) -> None:
    port = server.port
    server.shutdown()
    server.server_close()
    message = fault(CalendarSource("c", f"http://cal.example:{port}/secret"), fetcher())
    assert "cal.example can't be reached" in message

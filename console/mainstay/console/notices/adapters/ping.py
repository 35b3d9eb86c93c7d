"""A dead man's switch that hears of a plan's runs over HTTP, as healthchecks takes it (https://healthchecks.io/docs/http_api/):
`URL/start`, `URL` and `URL/fail`, with a few words in the body. The URL is a secret: who has it can keep the switch quiet."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit, urlunsplit

from mainstay.console.notices.contract import Undelivered
from mainstay.inventory.errors import MainstayError, WrongValue
from mainstay.inventory.notify import check_ping
from mainstay.inventory.secrets import is_reference
from mainstay.inventory.value import Json
from mainstay.inventory.web.contract import Web, WebError

SECONDS = 10.0
"""For one request. healthchecks' own advice."""
ENDINGS = {"start": "/start", "success": "", "fail": "/fail"}
LONGEST = 1000
"""Characters of the body."""


def send(body: Json, *, url: Callable[[], str], web: Web) -> None:
    """url: resolves the plan's `ping`. Raises Undelivered, without the URL."""
    try:
        found = url().strip()
        if is_reference(found):
            raise Undelivered("what the reference of ping: holds is no URL")
        check_ping(found)
    except WrongValue as error:
        raise Undelivered(f"the URL of ping: {error.message}") from None
    except Undelivered:
        raise
    except MainstayError as error:
        raise Undelivered(f"the URL of ping: {error.message}") from None
    parts = urlsplit(found)
    path = parts.path.rstrip("/") + ENDINGS[str(body["event"])]
    headers = {"Content-Type": "text/plain; charset=utf-8"}
    text = _text(body).encode()
    try:
        answer = web("POST", urlunsplit(parts._replace(path=path or "/")), body=text, headers=headers, seconds=SECONDS)
    except WebError as error:
        raise Undelivered(error.message) from None
    if not 200 <= answer.status < 300:
        more = ", which is not followed" if 300 <= answer.status < 400 else ""
        raise Undelivered(f"{parts.hostname} answers with {answer.status}{more}")


def _text(body: Json) -> str:
    if body["event"] == "start":
        return f"run {body['run']} of {body['plan']} began"
    why = f": {body['reason']}" if body.get("reason") else ""
    hosts = f"\n{body['hosts']}" if body.get("hosts") else ""
    return f"{body['verdict']}{why}{hosts}\nrun {body['run']} of {body['plan']}"[:LONGEST]

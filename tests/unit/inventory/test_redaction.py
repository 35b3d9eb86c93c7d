"""Secret values are found in every form that they usually take, and nothing else is touched."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import subprocess
import threading
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.effort import counted

from mainstay.inventory import redaction
from mainstay.inventory.redaction import MASK, SHORTEST, Redactor
from mainstay.inventory.secrets import resolve

PLAIN = "hunter2-canary"
NASTY = "a'b\"c\\d $e`f/g%h+i&<j>é\tk"

FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda v: v,
    "in a sentence": lambda v: f"login failed: password={v}, try again",
    "url": lambda v: urllib.parse.quote(v, safe=""),
    "url path": urllib.parse.quote,
    "url of SQLAlchemy": lambda v: urllib.parse.quote(v, safe=" +"),
    "url form": urllib.parse.quote_plus,
    "url lower case": lambda v: re.sub("%..", lambda found: found[0].lower(), urllib.parse.quote(v, safe="")),
    "shell": shlex.quote,
    "shell, the other way": lambda v: "'" + v.replace("'", "'\\''") + "'",
    "json": json.dumps,
    "json, not escaped": lambda v: json.dumps(v, ensure_ascii=False),
    "json of php": lambda v: json.dumps(v).replace("/", "\\/"),
    "repr": repr,
    "repr of bytes": lambda v: repr(v.encode()),
    "html": html.escape,
    "hex": lambda v: v.encode().hex(),
    "base64": lambda v: base64.b64encode(v.encode()).decode(),
    "base64 with a newline": lambda v: base64.b64encode(v.encode() + b"\n").decode(),
    "base64 for urls": lambda v: base64.urlsafe_b64encode(v.encode()).decode().rstrip("="),
    "basic auth": lambda v: base64.b64encode(b"ops:" + v.encode()).decode(),
    "basic auth, other offset": lambda v: base64.b64encode(b"admin:" + v.encode()).decode(),
    "basic auth, third offset": lambda v: base64.b64encode(b"user1:x" + v.encode() + b"more").decode(),
}


def holding(*values: str) -> Redactor:
    redact = Redactor()
    assert all(redact.add(value) for value in values)
    return redact


def remains(value: str, text: str) -> set[str]:
    """Pieces of the value's own text or its base64 that can still be read."""
    forms = [value, base64.b64encode(value.encode()).decode().rstrip("="), value.encode().hex()]
    return {form[at : at + 8] for form in forms for at in range(max(1, len(form) - 7)) if form[at : at + 8] in text}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [PLAIN, NASTY])
def test_every_form_is_replaced_in_text_and_in_bytes(form: str, value: str) -> None:
    redact, text = holding(value), FORMS[form](value)
    for found in (redact(text), redact(text.encode()).decode()):
        assert MASK in found and remains(value, found) == set(), found


def test_what_the_shell_itself_prints_for_it_is_replaced() -> None:
    value = NASTY.replace("\t", "").replace("é", "")  # of these two bash makes $'\\t' and such
    argv = ["bash", "-c", 'printf "%q\\n" "$0"; set -x; : "$0"', value]
    shown = subprocess.run(argv, capture_output=True, check=True)
    found = holding(value)(shown.stdout + shown.stderr).decode()
    assert found.count(MASK) >= 2 and "g%h" not in found, found


def test_what_is_no_secret_stays_as_it_is() -> None:
    redact = holding(PLAIN, "0123456789abcdef", "p.*w+d")
    for text in ("", "hunter2", "canary", "Setting up demo-web (1.1) …", "pxxwd", "\ud800"):
        assert redact(text) == text
    assert redact(b"\xff\x00 binary") == b"\xff\x00 binary"
    assert Redactor()(text) is text


def test_of_two_secrets_where_one_begins_the_other_nothing_remains() -> None:
    redact = holding("abcd", "abcdefgh", "abcdefgh-and-more")
    assert redact("x abcdefgh-and-more y abcdefgh z abcd abcde") == "x *** y *** z *** ***e"


@pytest.mark.thorough
def test_many_values_cost_little_each() -> None:
    """A site may have a password per host: adding one must not mean to build the whole expression again."""
    redact = Redactor()

    def add(count: int, start: int) -> None:
        for number in range(start, start + count):
            redact.add(f"secret-{number:05d}-of-many")
            assert redact(f"<secret-{number:05d}-of-many>") == "<***>"

    few, _ = counted(lambda: add(50, 0))
    more, _ = counted(lambda: add(200, 50))
    assert more < 12 * few, "four times as many, and what is compiled again as they are merged"
    assert redact("secret-00000-of-many secret-00249-of-many secret-00250-of-many") == "*** *** secret-00250-of-many"


def test_overlapping_values_are_gone_as_a_whole() -> None:
    redact = holding("abcdef")
    redact.add("defghi")
    redact.add("xyz-abcdef-xyz")
    assert redact("1 abcdefghi 2 xyz-abcdef-xyz 3") == "1 *** 2 *** 3"
    assert redact(b"1 abcdefghi 2 xyz-abcdef-xyz 3") == b"1 *** 2 *** 3"


@pytest.mark.parametrize("value", ["", "abc", " ab ", "\n\n\n\n\n"])
def test_a_value_that_is_too_short_is_not_looked_for_and_that_is_said(value: str) -> None:
    redact = Redactor()
    assert redact.add(value) is False
    assert redact(f"abc {value} ab abcd") == f"abc {value} ab abcd"
    assert SHORTEST == 4 and redact.add("abcd")


def test_a_key_is_found_line_by_line_and_in_pieces() -> None:
    body = [f"{n:02d}bodyofthekey{n * 7919:050d}" for n in range(40)]
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *body, "-----END PRIVATE KEY-----", ""])
    redact = holding(key)
    assert "bodyofthekey" not in redact(key)
    assert "bodyofthekey" not in redact("> " + "\n> ".join(body))
    assert "bodyofthekey" not in redact(json.dumps({"key": key}))
    assert redact("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_structures_are_searched_with_their_keys() -> None:
    class Odd:
        def __repr__(self) -> str:
            return f"Odd({PLAIN})"

    found = holding(PLAIN).deeply(
        {PLAIN: [PLAIN, {"a": (PLAIN, 1, None, True, 2.5)}], "odd": Odd(), "raw": b"x" + PLAIN.encode()}
    )
    assert found == {"***": ["***", {"a": ["***", 1, None, True, 2.5]}], "odd": "Odd(***)", "raw": b"x***"}


def test_values_may_be_added_while_others_redact() -> None:
    """Every value is gone from the moment on that its `add` has returned, whatever other threads do."""
    redact, faults = Redactor(), []

    def work(thread: int) -> None:
        for number in range(15):
            value = f"secret-{thread}-{number:03d}-of-many"
            redact.add(value)
            if redact(f"<{value}>") != "<***>":
                faults.append(value)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_what_is_resolved_is_redacted_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Redactor()
    monkeypatch.setattr("mainstay.inventory.secrets.remember", mine.add)
    (tmp_path / "pw").write_text("from-a-file-7\n")
    (tmp_path / "pw").chmod(0o600)
    monkeypatch.setenv("MAINSTAY_TEST_PW", "from-the-environment-7")
    assert mine("from-a-file-7") == "from-a-file-7"
    for reference in ("file:pw", "env:MAINSTAY_TEST_PW", "command:printf from-a-command-7"):
        resolve(reference, tmp_path)
    assert mine("from-a-file-7 from-the-environment-7 from-a-command-7") == "*** *** ***"


def test_the_process_has_one_and_secrets_tell_it(tmp_path: Path) -> None:
    resolve("command:printf resolved-for-this-test", tmp_path)
    assert redaction.redact("it is resolved-for-this-test.") == "it is ***."

"""Hostile text: nothing that a host prints may steer a terminal, forge a line or hide what it is."""

from __future__ import annotations

import json
import re
import time

import pytest

from mainstay.console import clean

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff\U000e0000-\U000e007f]")

CORPUS = {
    "colour": ("\x1b[1;31mfailed\x1b[0m", "failed"),
    "256 colours": ("\x1b[38;5;196mred", "red"),
    "clear the screen": ("a\x1b[2J\x1b[Hb", "ab"),
    "cursor up and over": ("failed\x1b[1A\x1b[2Ksucceeded", "failedsucceeded"),
    "title, BEL": ("a\x1b]0;root@bank\x07b", "ab"),
    "title, ST": ("a\x1b]2;root@bank\x1b\\b", "ab"),
    "clipboard (OSC 52)": ("a\x1b]52;c;Y3VybCB4fHNo\x07b", "ab"),
    "hyperlink (OSC 8)": ("\x1b]8;;https://evil.example/\x07click\x1b]8;;\x07", "click"),
    "OSC without an end keeps the rest": ("\x1b]0;the rest of the output", "0;the rest of the output"),
    "DCS": ("a\x1bP+q544e\x1b\\b", "ab"),
    "8-bit CSI": ("a\x9b31mb", "ab"),
    "8-bit OSC": ("a\x9d0;title\x9cb", "ab"),
    "character set": ("a\x1b(0b", "ab"),
    "reset": ("a\x1bcb", "ab"),
    "device status report": ("a\x1b[6nb", "ab"),
    "bell, backspace, delete": ("pass\x08\x08\x08\x08fail\x07\x7f", "passfail"),
    "null": ("a\x00b", "ab"),
    "bidi override": ("user\u202etxt.exe", "usertxt.exe"),
    "bidi isolate": ("\u2067abc\u2069", "abc"),
    "zero width": ("pay\u200bpal", "paypal"),
    "tags that nobody sees": ("ok\U000e0041\U000e0042", "ok"),
    "byte order mark": ("\ufeffweb1", "web1"),
    "lone surrogate": ("a\udcffb", "a\ufffdb"),
    "nested introducers": ("\x1b\x1b[31m[32mx", "[32mx"),
    "rich markup stays text": ("[/bold] [red]x[/red]", "[/bold] [red]x[/red]"),
    "html stays text": ("<script>alert(1)</script>", "<script>alert(1)</script>"),
    "scripts of the world stay": ("Müller 日本 Ελλάδα 🙂", "Müller 日本 Ελλάδα 🙂"),
}


@pytest.mark.parametrize("name", CORPUS)
def test_block_takes_out_what_steers_a_terminal(name: str) -> None:
    raw, expected = CORPUS[name]
    assert clean.block(raw) == expected


@pytest.mark.parametrize("name", CORPUS)
def test_nothing_that_steers_is_left_and_cleaning_again_changes_nothing(name: str) -> None:
    for text in (CORPUS[name][0], CORPUS[name][0] * 3, "\x1b" + CORPUS[name][0]):
        cleaned = clean.block(text)
        assert not CONTROL.search(cleaned)
        assert clean.block(cleaned) == cleaned


def test_every_single_control_character_goes() -> None:
    for code in [*range(0x20), *range(0x7F, 0xA0)]:
        char = chr(code)
        kept = clean.block(f"a{char}b")
        assert not CONTROL.search(kept), hex(code)
        assert "\n" not in clean.line(f"a{char}b")


def test_a_carriage_return_overwrites_nothing() -> None:
    assert clean.block("FAILED\rok    \r\nnext") == "FAILED\nok    \nnext"


def test_a_forged_line_stays_one_line() -> None:
    forged = "1.0\r\n2026-11-22 web2: succeeded\u2028and more"
    assert clean.line(forged) == "1.0\\n2026-11-22 web2: succeeded\\nand more"
    assert clean.line("ends with a break\n") == "ends with a break"


def test_bytes_that_are_no_text_are_shown_with_replacement_characters() -> None:
    assert clean.block(b"caf\xe9 \xff\xfe ok") == "caf\ufffd \ufffd\ufffd ok"


def test_widths_count_columns() -> None:
    assert clean.width("web1") == 4
    assert clean.width("日本") == 4
    assert clean.width("e\u0301") == 1
    assert clean.shorten("日本語です", 5) == "日本…"
    assert clean.shorten("web1", 4) == "web1"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "\t="])
def test_a_spreadsheet_runs_nothing(start: str) -> None:
    assert clean.csv_cell(f"{start}cmd|' /C calc'!A0").startswith("'")
    assert clean.csv_cell("1.2-3") == "1.2-3"
    assert clean.csv_cell(None) == ""


@pytest.mark.thorough
@pytest.mark.parametrize(
    "piece", ["\x1b[31mGet:1 some package\x1b[0m\r\n", "\x1b]", "\x1b[", "\x9d", "\x1b[1;", "ordinary output\n"]
)
def test_megabytes_take_less_than_a_moment(piece: str) -> None:
    text = piece * (3_000_000 // len(piece))
    started = time.process_time()
    clean.block(text)
    # 0.05 to 0.3 s of CPU were measured; something quadratic would take minutes.
    assert time.process_time() - started < 30


@pytest.mark.parametrize("name", CORPUS)
def test_json_says_the_same_and_steers_nothing(name: str) -> None:
    value = {"said": CORPUS[name][0], "list": ["a", CORPUS[name][0]]}
    text = clean.json_text(json.dumps(value, indent=2, ensure_ascii=False))
    assert json.loads(text) == value
    assert not CONTROL.search(text)
    text.encode("utf-8")

"""Remote text, made harmless before a terminal sees it. What a host prints is hostile bytes.

Kept: every visible character, in every script. Gone: escape sequences with what they carry (clipboard, title, colours), other
control characters, what reverses or hides text. A lone carriage return becomes a line break, so that nothing is written over.
"""

from __future__ import annotations

import re
import unicodedata

_INTRODUCERS = "\x1b\x90\x98\x9b\x9d\x9e\x9f"
_STRINGS = re.compile(
    # OSC, DCS, SOS, PM, APC with an end on the same line. One without an end loses only its introducer (below): what
    # follows it may be all the output there is. No introducer is allowed inside, which keeps the search linear.
    rf"(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x9c\r\n{_INTRODUCERS}]*(?:\x07|\x9c|\x1b\\)"
)
_SEQUENCES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]"  # CSI: colours, cursor, erase
    r"|\x1b[ -/]{1,4}[0-~]"  # character sets
    r"|\x1b[0-Z\\-~]"  # two-character ones
)
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # C0 without tab, LF, CR; DEL; C1
    "\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidi, zero width
    "\U000e0000-\U000e007f]"  # tags: text that nobody sees
)
_SURROGATES = re.compile("[\ud800-\udfff]")
_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_BREAKS = re.compile("\r\n|[\r\u2028\u2029]")
_ENCODED = {"\n": "\\n", "\t": " "}


def block(text: str | bytes) -> str:
    """Text of any number of lines; bytes are read as UTF-8 with replacement characters."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    if not _SUSPECT.search(text):
        return text
    text = _SEQUENCES.sub("", _STRINGS.sub("", text))
    text = _BREAKS.sub("\n", text)
    return _SURROGATES.sub("\ufffd", _HIDDEN.sub("", text))


def line(text: object) -> str:
    """One line: line breaks are shown as `\\n`, so that no value can forge a second line."""
    cleaned = block(text if isinstance(text, (str, bytes)) else str(text))
    if "\n" in cleaned or "\t" in cleaned:
        cleaned = cleaned.strip("\n")
        for raw, shown in _ENCODED.items():
            cleaned = cleaned.replace(raw, shown)
    return cleaned


def width(text: str) -> int:
    """Columns that a cleaned line takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, columns: int) -> str:
    """Cut to so many columns, with … where something is missing."""
    if width(text) <= columns:
        return text
    kept, used = [], 0
    for char in text:
        used += _columns(char)
        if used > columns - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def json_text(text: str) -> str:
    """A JSON document with every character escaped that could steer a terminal; it says the same as before."""
    return _SUSPECT.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def csv_cell(value: object) -> str:
    """A cell that a spreadsheet shows and does not run: `=`, `+`, `-`, `@` at its start get an apostrophe before them."""
    text = line("" if value is None else value)
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@") else text

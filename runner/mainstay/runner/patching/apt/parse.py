"""Pure parsers of what apt and dpkg print under LC_ALL=C."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime

from mainstay.runner.patching.contract import Installed, LogEntry

_INST = re.compile(r"^Inst (\S+)(?: \[([^\]]+)\])? \((\S+) (.*?)\[([^\]]+)\]\)")
_REMV = re.compile(r"^(?:Remv|Purg) (\S+)(?: \[([^\]]+)\])?")
_VERSION = re.compile(r"^ (?:\*\*\*|   ) (\S+) (-?\d+)(?: \(phased (\d+)%\))?$")
_SOURCE = re.compile(r"^ {6,}(-?\d+) (\S.*)$")
_MISSING = re.compile(r"^E: (?:Version '[^']*' for '([^']+)' was not found|Unable to locate package (\S+))", re.M)
STATUS_FILE = "/var/lib/dpkg/status"


@dataclass(frozen=True, slots=True)
class Inst:
    name: str
    before: str | None
    after: str | None
    origin: str = ""
    arch: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A package file as `apt-cache policy` names it, with its release's fields (o, l, a, n, c…)."""

    line: str
    priority: int
    release: Mapping[str, str] = field(default_factory=dict)

    @property
    def security(self) -> bool:
        """A pocket for security fixes: Debian-Security, *-security, Ubuntu's ESM (whose archives are *-security too)."""
        suites = (self.release.get("a", ""), self.release.get("n", ""))
        return self.release.get("l") == "Debian-Security" or any(
            suite.endswith(("-security", "/updates")) for suite in suites
        )


@dataclass(frozen=True, slots=True)
class Version:
    version: str
    priority: int
    phased: int | None
    sources: tuple[str, ...]
    """Lines of package files, without the status file."""


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    installed: str | None
    candidate: str | None
    versions: tuple[Version, ...]
    """Newest first, as printed."""


def label(name: str, native: str) -> str:
    """`libc6:amd64` on an amd64 host is `libc6`."""
    return name.removesuffix(f":{native}")


def simulated(text: str) -> list[Inst]:
    """What `apt-get -s` would do: installed, upgraded, downgraded and removed packages, in its order."""
    found = []
    for line in text.splitlines():
        if match := _INST.match(line):
            origin = match[4].strip()
            found.append(Inst(match[1], match[2], match[3], origin, match[5]))
        elif match := _REMV.match(line):
            found.append(Inst(match[1], match[2], None))
    return found


def error(text: str) -> str:
    """What apt says went wrong, in one line of at most 400 characters."""
    lines = [line.strip() for line in text.splitlines()]
    wanted = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    depends = [line for line in lines if re.match(r"\S+ : (Depends|Breaks|Conflicts|PreDepends)", line)]
    return "; ".join([*wanted, *depends])[:400] or (lines[-1][:400] if lines else "nothing was said")


def not_found(text: str) -> tuple[str, ...]:
    """Packages of which the version asked for (or the package) is in no repository."""
    return tuple(match[1] or match[2].split("=")[0] for match in _MISSING.finditer(text))


def update_problem(text: str, status: str) -> str:
    """Why `apt-get update` is not to be believed; empty: every repository answered.

    Its status alone is no proof: before apt 2.1 there is no Error-Mode, and a dead mirror is a warning with status 0.
    """
    bad = re.compile(r"(?:Err:\d+ |[EW]: (?:Failed to fetch|Some index files failed|The repository|GPG error)|E: )")
    lines = [line.strip() for line in text.splitlines() if bad.match(line)]
    if status == "124":
        lines.append("it took longer than the time allowed")
    if lines:
        return "; ".join(dict.fromkeys(lines))[:600]
    return "" if status == "0" else f"apt-get update ended with {status or 'no status'}: {text.strip()[-300:]}"


def sources(text: str) -> dict[str, Source]:
    """`apt-cache policy` without names → package files by their line."""
    found: dict[str, Source] = {}
    current, priority = "", 0
    for line in text.splitlines():
        if line.startswith("Pinned packages:"):
            break
        if match := re.match(r"^ (-?\d+) (\S.*)$", line):
            priority, current = int(match[1]), match[2]
            found[current] = Source(current, priority)
        elif current and line.strip().startswith("release "):
            fields = dict(part.split("=", 1) for part in line.strip()[8:].split(",") if "=" in part)
            found[current] = Source(current, priority, fields)
    return found


def policies(text: str, native: str) -> dict[str, Policy]:
    """`apt-cache policy NAME…` → version tables by name."""
    found: dict[str, Policy] = {}
    blocks = re.split(r"^(\S+):$", text, flags=re.M)
    for name, block in zip(blocks[1::2], blocks[2::2], strict=True):
        installed = candidate = None
        versions: list[Version] = []
        for line in block.splitlines():
            if line.startswith("  Installed: "):
                installed = _version(line)
            elif line.startswith("  Candidate: "):
                candidate = _version(line)
            elif match := _VERSION.match(line):
                versions.append(Version(match[1], int(match[2]), int(match[3]) if match[3] else None, ()))
            elif versions and (match := _SOURCE.match(line)) and match[2] != STATUS_FILE:
                last = versions[-1]
                versions[-1] = Version(last.version, last.priority, last.phased, (*last.sources, match[2]))
        found[label(name, native)] = Policy(name, installed, candidate, tuple(versions))
    return found


def _version(line: str) -> str | None:
    value = line.split(": ", 1)[1].strip()
    return None if value == "(none)" else value


def installed(text: str, native: str) -> dict[str, Installed]:
    """Lines `package arch version status want flag` with tabs between. Packages of which only configuration is left are out."""
    found = {}
    for line in text.splitlines():
        parts = line.split("\t")
        if len(parts) != 6 or not parts[2] or parts[3] in ("not-installed", "config-files"):
            continue
        name, arch, version, state, want, flag = parts
        state = "reinst-required" if flag == "reinstreq" else state
        one = Installed(name=label(name, native), arch=arch, version=version, state=state, held=want == "hold")
        found[one.name] = one
    return found


def release_dates(text: str) -> dict[str, str]:
    """Lines `file name, tab, Date field` → RFC 3339 UTC by file name, without its ending."""
    found = {}
    for line in text.splitlines():
        name, _, date = line.partition("\t")
        if stamp := rfc2822(date):
            found[re.sub(r"_?(In)?Release$", "", name)] = stamp
    return found


def release_file(line: str) -> str:
    """Under which name apt keeps the Release file of a package file's line (`URI suite/component arch Packages`)."""
    uri, _, rest = line.partition(" ")
    suite = rest.split(" ")[0].rsplit("/", 1)[0] if "/" in rest.split(" ")[0] else rest.split(" ")[0]
    place = re.sub(r"^[a-z+]+://(?:[^/@]*@)?", "", uri).rstrip("/")
    # As apt quotes in URItoFileName
    quoted = re.sub(r'[\\|{}\[\]<>"^~_=!@#$%*]', lambda match: f"%{ord(match[0]):02x}", f"{place}/dists/{suite}")
    return quoted.replace("/", "_")


def rfc2822(text: str) -> str | None:
    try:
        moment = parsedate_to_datetime(text.strip())
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def modified(heads: str, uris: str) -> dict[str, str]:
    """curl's heads, each answer ended by a line `= URL`, and the lines `URI file` that it was asked, in the same order →
    RFC 3339 UTC by file name. An answer that is no 200 says nothing."""
    names = [line.split(" ", 1)[1] for line in uris.splitlines() if " " in line]
    dates: dict[str, str] = {}
    status, stamp, answered = "", None, 0
    for line in heads.splitlines():
        if line.startswith("HTTP/"):
            status, stamp = line.split(" ")[1] if " " in line else "", None
        elif line.lower().startswith("last-modified:"):
            stamp = rfc2822(line.split(":", 1)[1])
        elif line.startswith("= "):
            # By order: the URL is another one where the mirror has sent us on
            if status == "200" and stamp and answered < len(names):
                dates[names[answered]] = stamp
            status, stamp, answered = "", None, answered + 1
    return dates


def described(text: str) -> dict[tuple[str, str, str], tuple[str | None, int | None]]:
    """Fields of `apt-cache show` → (SHA-256, bytes) by (package, version, architecture)."""
    found = {}
    for block in re.split(r"\n\s*\n", text):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "Package" in fields and "Version" in fields:
            key = (fields["Package"], fields["Version"], fields.get("Architecture", ""))
            size = fields.get("Size", "")
            found[key] = (fields.get("SHA256"), int(size) if size.isdigit() else None)
    return found


def archive_name(name: str, version: str, arch: str) -> str:
    """How apt calls a package file in its cache."""
    bare = name.split(":")[0]
    return f"{bare}_{version.replace(':', '%3a')}_{arch}.deb"


def log_entries(text: str) -> list[LogEntry]:
    """dpkg.log's own lines: `date time action package:arch before after`."""
    pattern = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (install|upgrade|remove|purge) (\S+) (\S+) (\S+)$")
    found = []
    for line in text.splitlines():
        if match := pattern.match(line):
            before, after = (None if part == "<none>" else part for part in match.group(4, 5))
            found.append(LogEntry(at=match[1], action=match[2], name=match[3], before=before, after=after))
    return found

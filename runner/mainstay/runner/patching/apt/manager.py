"""apt and dpkg behind the PackageManager contract. Hosts see fixed POSIX sh texts and words of a checked grammar."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from mainstay.inventory.errors import MainstayError, Refused
from mainstay.runner.operation import HostWork, Outcome
from mainstay.runner.patching.apt import output as printed
from mainstay.runner.patching.apt import packagelog, parse, version
from mainstay.runner.patching.apt import survey as reading
from mainstay.runner.patching.apt.sections import cut, new_mark, script, sections
from mainstay.runner.patching.change import Change, Conffile
from mainstay.runner.patching.contract import (
    Broken,
    Installed,
    LogEntry,
    Old,
    Phased,
    Rights,
    Simulation,
    Staged,
    Survey,
    Want,
)
from mainstay.runner.shell.contract import STATE_DIR, Command, Job, Output, Shell

DEBS = f"{STATE_DIR}/debs"
LOOK_DEADLINE, WORK_DEADLINE = 300.0, 1800.0


class Apt:
    """See PackageManager."""

    name = "apt"

    def __init__(self) -> None:
        self._kept: dict[int, str] = {}
        """A shell's id → the folder with fresh lists that its host keeps for it."""

    def valid(self, name: str, version_: str | None) -> bool:
        return version.valid(name, version_)

    def compare(self, left: str, right: str) -> int:
        return version.compare(left, right)

    def place(self, sha256: str) -> str:
        assert sha256.isalnum(), "a digest in hex"
        return f"{DEBS}/{sha256}.deb"

    # --- reading -----------------------------------------------------------------------------------------------------

    def survey(
        self,
        shell: Shell,
        *,
        phased: Phased = "follow",
        allow_new: bool = True,
        dates: bool = False,
        keep: bool = False,
    ) -> Survey:
        flags = ["1" if flag else "0" for flag in (allow_new, dates, keep)]
        found = self._read(shell, "survey", *flags, phased, ends="")
        if folder := found.get("kept", "").strip():
            self._kept[id(shell)] = folder
        return reading.survey(found)

    def done(self, shell: Shell) -> None:
        folder = self._kept.pop(id(shell), None)
        if folder is not None:
            with suppress(MainstayError):  # it goes by itself
                self._read(shell, "forget", folder)

    def simulate(self, shell: Shell, wants: Sequence[Want], rights: Rights, *, real: bool) -> Simulation:
        mark, answer = self._simulate(shell, wants, rights, real, "together")
        found = dict(cut(answer.text, mark))
        if problem := _lists(found, real):
            return Simulation(ok=False, problem=problem)
        found = sections(answer, mark)
        return reading.with_details(reading.simulation(found["simulate"], found["status"]), found)

    def simulate_each(self, shell: Shell, wants: Sequence[Want], rights: Rights, *, real: bool) -> list[Simulation]:
        mark, answer = self._simulate(shell, wants, rights, real, "each")
        problem = _lists(dict(cut(answer.text, mark)), real)
        if problem:
            return [Simulation(ok=False, problem=problem) for _ in wants]
        sections(answer, mark)
        texts = [text for name, text in cut(answer.text, mark) if name == "simulate"]
        statuses = [text for name, text in cut(answer.text, mark) if name == "status"]
        return [reading.simulation(text, status) for text, status in zip(texts, statuses, strict=True)]

    def inspect(self, shell: Shell, *, real: bool) -> tuple[dict[str, Installed], tuple[str, ...]]:
        found = self._read(shell, "inspect", sudo=real)
        return parse.installed(found["installed"], found["native"].strip()), _complaints(found, audited=real)

    def _simulate(
        self, shell: Shell, wants: Sequence[Want], rights: Rights, real: bool, how: str
    ) -> tuple[str, Output]:
        mark = new_mark()
        kept = "-" if real else self._kept.get(id(shell), "-")
        argv = _argv("simulate", mark, "real" if real else "private", how, _options(rights, simulate=True), kept)
        stdin = "".join(f"{self._word(want)}\n" for want in wants).encode()
        return mark, shell.run(Command(argv, sudo=real, stdin=stdin, deadline=LOOK_DEADLINE))

    def _word(self, want: Want) -> str:
        """One word for apt-get. Raises Refused for what is no name or version: nothing else may reach a host."""
        if not version.valid(want.name, want.version):
            raise Refused(f"{want.name!r} {want.version!r} is no package with a version", hint="nothing was sent")
        if want.version is None:
            return f"{want.name}-"
        return want.file or f"{want.name}={want.version}"

    def _read(self, shell: Shell, name: str, *args: str, ends: str = "end", **command: Any) -> dict[str, str]:
        mark = new_mark()
        answer = shell.run(Command(_argv(name, mark, *args), deadline=LOOK_DEADLINE, **command))
        found = dict(cut(answer.text, mark))
        if not ends and found.get("update-status", "").strip() not in ("", "0"):
            return found
        return sections(answer, mark)

    # --- preflight ---------------------------------------------------------------------------------------------------

    def unlock(self, work: HostWork, wait: float) -> None:
        started = time.monotonic()
        while True:
            left = wait - (time.monotonic() - started)
            found = self._read(work.shell, "unlock", str(int(max(0, min(5, left)))), sudo=True)
            held = found["held"].strip("\n")
            if not held:
                return
            path, pid, command = [*held.split("\t"), "", ""][:3]
            holder = f"{command.strip() or 'a process'} (pid {pid}) holds {path}"
            if left <= 0:
                raise Refused(f"busy: {holder}", hint=f"waited {wait:.0f} s; lock_wait says how long")
            work.progress(f"waiting: {holder}")

    def repair(self, work: HostWork) -> list[str]:
        installed, complaints = self.inspect(work.shell, real=True)
        if not complaints:
            return []
        broken = _unwell(installed)
        found = self._change(work, "repair", deadline=WORK_DEADLINE)
        still = parse.installed(found["installed"], found["native"].strip())
        names = ", ".join(sorted(broken)) or "its journal"
        if left := _complaints(found):
            why = printed.outcome(1, (found["output"]).encode()).detail
            message = f"dpkg was interrupted ({names}) and could not be repaired: {why or '; '.join(left)[:300]}"
            raise Broken(message, frozenset(_unwell(still)), hint="dpkg --configure -a on the host says more")
        how = found["fixed"].strip() or "dpkg --configure -a"
        return [f"dpkg was interrupted ({names}); repaired with {how}"]

    def refresh(self, work: HostWork, wait: float) -> None:
        started = time.monotonic()
        while True:
            found = self._change(work, "refresh")
            problem = parse.update_problem(found["update"], found["update-status"].strip())
            if not problem:
                return
            # The lock of the lists is not waited for by apt itself, whatever DPkg::Lock::Timeout says.
            left = wait - (time.monotonic() - started)
            if "Could not get lock" not in found["update"] or left <= 0:
                raise Refused(f"not every repository answers: {problem}", hint="apt-get update on the host says more")
            self.unlock(work, left)

    def _change(
        self, work: HostWork, name: str, *args: str, stdin: bytes = b"", deadline: float = LOOK_DEADLINE
    ) -> dict[str, str]:
        mark = new_mark()
        command = Command(_argv(name, mark, *args), sudo=True, fence=work.fence, stdin=stdin, deadline=deadline)
        answer = work.shell.run(command)
        work.output(answer.stdout + answer.stderr)
        return sections(answer, mark)

    # --- changing ----------------------------------------------------------------------------------------------------

    def stage(
        self, work: HostWork, wants: Sequence[Want], rights: Rights, files: Sequence[tuple[str, str, str]]
    ) -> dict[str, Staged]:
        assert all(version.valid(name, text) for name, text, _ in files), "names come from the host's own apt"
        names = {parse.archive_name(*file): file[0] for file in files}
        stdin = "\n".join([*(self._word(want) for want in wants), "", *names, ""]).encode()
        found = self._change(work, "stage", _options(rights), stdin=stdin, deadline=WORK_DEADLINE)
        if found["status"].strip() != "0":
            raise Refused(f"could not be downloaded: {parse.error(found['download'])}")
        staged = [Staged(names.get(one.name, ""), one.path, one.sha256) for one in _staged(found["files"])]
        return {one.name: one for one in staged if one.name}

    def old(self, shell: Shell, names: Sequence[str], *, real: bool) -> Old:
        assert all(version.valid(name, None) for name in names), "names come from the host's own dpkg"
        stdin = "".join(f"{name}\n" for name in names).encode()
        found = self._read(shell, "old", sudo=real, stdin=stdin)
        return Old(reading.old_versions(found, names), _conffiles(found))

    def rebuild(self, work: HostWork, name: str) -> Staged | None:
        found = self._change(work, "rebuild", name, DEBS, deadline=WORK_DEADLINE)
        if found["status"].strip() != "0":
            work.progress(f"{name} can't be rebuilt: {parse.error(found['output'])}")
            return None
        return next(iter(_staged(found["file"])), None)

    def discard(self, work: HostWork, paths: Sequence[str]) -> None:
        ours = tuple(path for path in paths if path.startswith(f"{DEBS}/"))
        if ours:
            work.shell.run(Command(("rm", "-f", "--", *ours), sudo=True, fence=work.fence))

    def job(self, change: Change, name: str, *, lock_wait: float) -> Job:
        words: list[str] = []
        for item in change.items:
            file = self.place(item.sha256) if item.pushed and item.sha256 else None
            words.append("+" + self._word(Want(item.name, item.after, file)))
            words.append(f"={item.name}={item.after or '-'}")
            if item.auto and item.after:
                words.append(f"~{item.name}")
            if file:
                words.append(f"@{file}")
        removes = any(item.after is None for item in change.items)
        options = _options(Rights(remove=removes, downgrade=change.back, held=bool(change.held)))
        args = (options, "1" if change.back else "0", str(int(lock_wait)), *words)
        return Job(name=name, script=script("apply", common=False), args=args)

    def outcome(self, exit: int | None, output: bytes) -> Outcome:
        return printed.outcome(exit, output)

    def progress(self, output: bytes, total: int) -> str:
        return printed.progress(output, total)

    def kept(self, output: bytes) -> tuple[str, ...]:
        return printed.kept(output)

    def log_mark(self, shell: Shell) -> str:
        return packagelog.log_mark(shell)

    def log_since(self, shell: Shell, mark: str) -> list[LogEntry]:
        return packagelog.package_log_since(shell, mark)


def _argv(name: str, mark: str, *args: str) -> tuple[str, ...]:
    return ("sh", "-c", script(name), "mainstay", mark, *args)


def _options(rights: Rights, *, simulate: bool = False) -> str:
    # A simulation shows what would be removed, so that it can be named; the real transaction may not remove at all.
    words = [] if rights.remove or simulate else ["--no-remove"]
    words += ["--allow-downgrades"] if rights.downgrade else []
    words += ["--allow-change-held-packages"] if rights.held else []
    return " ".join(words) or "-"


def _lists(found: dict[str, str], real: bool) -> str:
    """Why private lists are not to be believed."""
    if real:
        return ""
    problem = parse.update_problem(found.get("update", ""), found.get("update-status", "").strip())
    return f"not every repository answers: {problem}" if problem else ""


def _complaints(found: dict[str, str], *, audited: bool = True) -> tuple[str, ...]:
    lines = [" ".join(line.split()) for line in found["audit"].splitlines() if line.startswith(" ")]
    if audited and "dpkg: error" in found["audit"]:
        lines.append(" ".join(found["audit"].split())[:200])
    known = " ".join(lines)
    installed = parse.installed(found["installed"], found["native"].strip())
    states = [f"{name} is {installed[name].state}" for name in sorted(_unwell(installed)) if name not in known]
    journal = [f"interrupted: /var/lib/dpkg/updates/{name}" for name in found["updates"].split()]
    return tuple(lines + states + journal)


def _unwell(installed: dict[str, Installed]) -> set[str]:
    return {name for name, one in installed.items() if one.state != "installed"}


def _staged(text: str) -> list[Staged]:
    found = []
    for line in text.splitlines():
        sha256, _, path = line.partition("  ")
        if len(sha256) == 64 and path.startswith("/"):
            found.append(Staged(path.rsplit("/", 1)[-1], path, sha256))
    return found


def _conffiles(found: dict[str, str]) -> tuple[Conffile, ...]:
    now = {}
    for line in found["digests"].splitlines():
        digest, _, path = line.partition("  ")
        now[path] = digest
    native, package, files = found["native"].strip(), "", []
    for line in found["conffiles"].splitlines():
        if line.startswith("@"):
            package = parse.label(line[1:], native)
        elif line.startswith(" /"):
            words = line[1:].split(" ")
            while words and words[-1] in ("obsolete", "remove-on-upgrade"):
                words.pop()
            path = " ".join(words[:-1])
            files.append(Conffile(package=package, path=path, shipped=words[-1], now=now.get(path)))
    return tuple(files)

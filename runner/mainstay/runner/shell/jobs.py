"""Detached work: the runner's text that a host gets, and what a poll of it says."""

from __future__ import annotations

import re

from mainstay.runner.shell import scripts
from mainstay.runner.shell.contract import Job, JobState, JobStatus
from mainstay.runner.shell.quote import quote

_NAME = re.compile(r"[A-Za-z0-9_-]{1,200}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_name(name: str) -> None:
    """Raises ValueError: the name becomes a folder and a unit."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} can't be a job's name: letters, digits, _ and -, at most 200")


def runner(job: Job, folder: str) -> str:
    """The script that runs the job in `folder` and writes down how it ended. Raises ValueError for what can't be run."""
    check_name(job.name)
    for name in job.env:
        if not _VARIABLE.fullmatch(name):
            raise ValueError(f"{name!r} can't be the name of an environment variable")
    env = {"LC_ALL": "C", **job.env}
    exports = "\n".join(f"export {name}={quote([value])}" for name, value in env.items())
    if job.user in (None, "root"):
        start = quote(["sh", f"{folder}/script", *job.args])
    else:
        # The script is root's alone, so its text is handed over.
        user = quote([str(job.user)])
        home = f'HOME="$(getent passwd {user} | cut -d: -f6)" USER={user} LOGNAME={user}'
        start = f'runuser -u {user} -- env {home} sh -c "$(cat "$j/script")" {quote(["mainstay", *job.args])}'
    return scripts.RUNNER.format(
        dir=quote([folder]), exports=exports, start=start, cap=scripts.JOB_CAP, every=scripts.JOB_CAP_EVERY
    )


def parse_poll(data: bytes, offset: int) -> JobState:
    """What scripts.POLL printed. Raises ValueError for anything else.

    A job counts as ended only with the last of its output, so that nobody stops asking too early. Output that was cut says so.
    """
    head, newline, output = data.partition(b"\n")
    words = head.decode("ascii", "replace").split(" ")
    if not newline or len(words) != 3:
        raise ValueError("no answer of a poll")
    status = JobStatus(words[0])
    after = offset + len(output)
    if output and after >= scripts.JOB_CAP:
        output += b"\nmainstay: what it printed beyond %d bytes was dropped\n" % scripts.JOB_CAP
    if status in (JobStatus.EXITED, JobStatus.LOST) and after < int(words[2]):
        return JobState(JobStatus.RUNNING, None, output, after)
    exit_status = int(words[1]) if status is JobStatus.EXITED else None
    return JobState(status, exit_status, output, after)

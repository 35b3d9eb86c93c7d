"""Base backups of PostgreSQL: unpacked, compared with their own manifest, and started until they are consistent.

A cluster is code as well as data: its functions, views and settings run what its host has put into them, as the server's user. So
that is nobody's account here, neither mainstay's own nor the one of a server that this machine may have beside.
"""

from __future__ import annotations

import os
from pathlib import Path

from mainstay.recovery.proving import asserting
from mainstay.recovery.proving.attempt import RESERVE, Attempt, NotProved, Tried, Untried, against
from mainstay.recovery.proving.postgres import Cluster, installed, said
from mainstay.recovery.proving.processes import User, run
from mainstay.recovery.proving.waiting import until
from mainstay.recovery.words import counted, sized
from mainstay.runner.verdict import Verdict

_GONE = ("postgresql.auto.conf", "recovery.signal", "standby.signal", "postmaster.pid")
"""What would make the server do as it was told on its host (archive, follow, run commands)."""


def prove_base(attempt: Attempt) -> Tried:
    user = User.of("nobody", machine=attempt.machine)
    if not user.other:
        raise Untried(
            "a base backup runs what its host has put into it: only a mainstay that is root can start it as somebody without rights"
        )
    brought = attempt.dump()
    free, needed = attempt.place.free(), brought.size * 2 + RESERVE
    if free < needed:
        has = f"{attempt.machine} has {sized(free)} free"
        raise Untried(f"a server of it may need {sized(needed)}, and {has}", limit=True)
    attempt.phase("recover")
    there = installed()
    if not there:
        raise Untried(f"{attempt.machine} has no PostgreSQL server: install the package postgresql")
    cluster = Cluster.at(attempt, there[max(there)], user)
    cluster.superuser = attempt.superuser
    _unpack(cluster, attempt, brought.path)
    version = _version(cluster)
    if version not in there:
        had = ", ".join(str(one) for one in sorted(there))
        raise Untried(f"it is of PostgreSQL {version}, and {attempt.machine} has {had}")
    cluster.bin = there[version]
    verified = _verified(cluster)
    with cluster.running(_settings(version), _config(cluster)):
        _recovered(cluster, attempt)
        attempt.phase("verify")
        count = cluster.ask("template1", "SELECT count(*) FROM pg_database WHERE NOT datistemplate", cluster.superuser)
        for one in attempt.checks:
            answer = cluster.ask(one.database, one.query, cluster.superuser)
            if why := asserting.judge(one, answer, attempt.at, attempt.made_at):
                raise NotProved(why)
    asked = f", {counted(len(attempt.checks), 'assertion')} held" if attempt.checks else ""
    return Tried(
        Verdict.SUCCEEDED,
        scope=f"the whole cluster, {counted(int(count or 0), 'database')}, {sized(brought.size)}{asked}",
        left_out=() if verified else ("its files were not compared with a manifest: it has none",),
        bytes=brought.size,
    )


def _unpack(cluster: Cluster, attempt: Attempt, path: Path) -> None:
    """By somebody without rights, in a folder of theirs: what an archive of a hostile host can reach is there."""
    cluster.data.mkdir(mode=0o700)
    if cluster.user.other:
        os.chown(cluster.data, cluster.user.uid, cluster.user.gid)
    with path.open("rb") as file:
        argv = ["tar", "-x", "-f", "-", "--no-same-owner", "--no-same-permissions", "-C", str(cluster.data)]
        done = run(argv, cluster.place, cluster.user, attempt.left(), stdin=file, watch=attempt.watch)
    if done.status:
        raise against(f"the archive can't be unpacked: {said(done)}", said(done), attempt.machine)


def _version(cluster: Cluster) -> int:
    """Its host may have put anything there: a link to a device without an end, a pipe that nobody writes to."""
    try:
        handle = os.open(cluster.data / "PG_VERSION", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            return int(file.read(16).decode("ascii"))
    except (OSError, ValueError):
        raise NotProved("it is no cluster of PostgreSQL: PG_VERSION is missing") from None


def _verified(cluster: Cluster) -> bool:
    """Whether every file was compared with the manifest. Raises NotProved where one differs."""
    if not (cluster.data / "backup_manifest").exists():
        return False
    done = cluster.run("pg_verifybackup", "-q", str(cluster.data))
    if done.status:
        raise NotProved(f"pg_verifybackup: {said(done)}")
    return True


def _settings(version: int) -> dict[str, str]:
    more = {"event_triggers": "off"} if version >= 17 else {}
    return {"recovery_target_action": "promote", "hot_standby": "on", "max_connections": "100", **more}


def _config(cluster: Cluster) -> list[str]:
    """Our own configuration instead of the cluster's, and everybody on the socket is let in: it is the user's alone."""
    for name in _GONE:
        path = cluster.data / name
        if path.is_dir() and not path.is_symlink():
            raise NotProved(f"it is no cluster of PostgreSQL: {name} is a folder")
        path.unlink(missing_ok=True)
    texts = {"drill.conf": "", "drill_hba.conf": "local all all trust\n", "drill_ident.conf": ""}
    for name, text in texts.items():
        path = cluster.place / name
        path.write_text(text)
        path.chmod(0o644)
    return [
        *("-c", f"config_file={cluster.place}/drill.conf"),
        *("-c", f"hba_file={cluster.place}/drill_hba.conf"),
        *("-c", f"ident_file={cluster.place}/drill_ident.conf"),
    ]


def _recovered(cluster: Cluster, attempt: Attempt) -> None:
    """A server answers before it is at the end of its recovery: it is asked until it says so."""
    until(lambda: cluster.ask("template1", "SELECT pg_is_in_recovery()", cluster.superuser) == "f", attempt.watched)

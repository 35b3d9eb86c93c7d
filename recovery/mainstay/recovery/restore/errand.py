"""Restore onto the controller: an errand, so that it works when the host is gone."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from mainstay.inventory.errors import Refused
from mainstay.inventory.host import Host
from mainstay.inventory.value import Json
from mainstay.recovery.depot import Depot
from mainstay.recovery.restic.contract import Damaged, Partial, Restic
from mainstay.recovery.restore import previewing
from mainstay.recovery.restore.comparing import Compared, Verified, compare, measured
from mainstay.recovery.restore.order import RESTORE, Piece, RestoreOrder
from mainstay.recovery.restore.targets import look_at
from mainstay.recovery.words import counted, sized
from mainstay.runner.calling_off import Cancelled
from mainstay.runner.errand import Desk, Errand
from mainstay.runner.operation import Forecast
from mainstay.runner.steps import HostFailed, StepIO


class RestoreErrand(Errand):
    """Steps: target, then restore and compare for each point."""

    kind = RESTORE

    def __init__(self, order: RestoreOrder, depot: Depot) -> None:
        self.order, self.depot = order, depot

    def preview(self, host: Host, now: float) -> Forecast:
        order, target = self.order, look_at(self.order.to)
        found = previewing.Overwritten()
        if not target.empty:
            for piece in order.pieces:
                restic = self._open(piece)
                previewing.look(restic, partial(self.depot.listings.ls, restic), piece, target.path, found)
        return previewing.forecast(order, target, found)

    def work(self, desk: Desk, forecast: Forecast) -> str:
        order = self.order
        began = time.monotonic()
        target = desk.step("target", self._make_target)["path"]
        for number, piece in enumerate(order.pieces, 1):
            name = "" if len(order.pieces) == 1 else f".{number}"
            came = desk.step(f"restore{name}", partial(self._restore, piece, target))
            desk.step(f"compare{name}", partial(self._compare, piece, target, came, began))
        return f"{counted(order.files, 'file')}, {sized(order.bytes)} in {target}, compared with the repository"

    def _open(self, piece: Piece) -> Restic:
        return self.depot.open(self.order.repositories[piece.point.repository], self.order.host)

    def _make_target(self, io: StepIO) -> Json:
        """The folder, made where it is not there. Looked at again: time has gone by since the preview."""
        target = look_at(self.order.to)
        if why := previewing.refused(self.order, target):
            raise Refused(why)
        if not target.exists:
            # What lies in it may be anybody's secrets: until restic has set each mode it is ours alone.
            Path(target.path).mkdir(mode=0o700, parents=True)
        io.detail = target.path
        return {"path": target.path}

    def _restore(self, piece: Piece, target: str, io: StepIO) -> Json:
        """Returns what restic could not restore, path → why. It is no failure yet: the comparison has the last word. verified: what
        it has read again; empty where that did not go well."""
        try:
            came = self._open(piece).restore(
                piece.point.id,
                target,
                include=piece.paths,
                verify=True,
                tell=lambda told: io.progress(f"{told.percent:.0f} %"),
            )
        except (Partial, Damaged) as error:
            io.detail = error.plain
            items = error.items if isinstance(error, Partial) else ()
            return {"left": {one.item: one.message for one in items}, "verified": {}}
        except Cancelled as off:
            raise Cancelled(f"{off}; what was written into {target} by then stays there, and is not whole") from None
        io.detail = f"point {piece.point.id[:12]} of {piece.point.at}"
        read = Verified(came.files + came.skipped, came.bytes + came.bytes_skipped, time.time_ns())
        return {"left": {}, "verified": asdict(read)}

    def _compare(self, piece: Piece, target: str, came: Mapping[str, Any], began: float, io: StepIO) -> None:
        """came: what `_restore` returned; of a run that was begun by an older mainstay, without `verified`."""
        verified = Verified(**came["verified"]) if came.get("verified") else None
        restic = self._open(piece)
        ls = partial(self.depot.listings.ls, restic)
        found = compare(restic, piece.point.id, target, piece.paths, verified, ls)
        judge(io, piece, target, found, came["left"], time.monotonic() - began)


def judge(io: StepIO, piece: Piece, target: str, found: Compared, left: Mapping[str, str], seconds: float) -> None:
    """Put down what came of one point. Raises HostFailed where something is not as the repository has it."""
    io.measures[f"restored {piece.point.unit}"] = measured(piece, target, found, seconds)
    for path, why in left.items():
        if path not in found.differing:
            io.notes.append(f"restic said of {path}: {why}")
    if not found.entries:
        raise HostFailed("nothing of what was asked for is in the point")
    if not found.ok:
        raise HostFailed(f"not as in the repository: {found.in_words()}")
    if found.files < piece.files:
        raise HostFailed(f"{counted(found.files, 'file')} instead of {piece.files:,} could be compared")
    if found.attributes_count:
        io.concerns.append(
            f"{counted(found.attributes_count, 'file')} with another mode or time: {found.attributes_in_words()}"
        )
    if os.geteuid() != 0:
        io.concerns.append("owners were not restored: mainstay does not run as root here")
    io.detail = f"{counted(found.files, 'file')}, {sized(found.bytes)} compared"

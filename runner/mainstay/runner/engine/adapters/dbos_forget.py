"""Deleting what has ended, so that the store does not grow for ever."""

from __future__ import annotations

from collections.abc import Sequence

from dbos import DBOS

from mainstay.runner.engine.adapters.dbos_ends import AT_ONCE, ended, outside
from mainstay.runner.engine.adapters.place import ENDED


def forget(ids: Sequence[str]) -> int:
    """Children first, so that what dies in between leaves no orphan. Returns how many were deleted."""
    count = 0
    for at in range(0, len(ids), AT_ONCE):
        for root in ended(list(ids[at : at + AT_ONCE])):
            children = outside(
                lambda root=root: DBOS.list_workflows(  # type: ignore[misc]  # bound now
                    workflow_id_prefix=f"{root.workflow_id}/", status=[*ENDED], load_input=False, load_output=False
                )
            )
            gone = [*(row.workflow_id for row in children if row.workflow_id.startswith(f"{root.workflow_id}/"))]
            gone.append(root.workflow_id)
            for first in range(0, len(gone), AT_ONCE):
                batch = gone[first : first + AT_ONCE]
                outside(lambda batch=batch: DBOS.delete_workflows(batch))  # type: ignore[misc]  # bound now
            count += len(gone)
    return count

"""Records on their way out: with what each step printed, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from mainstay.console import clean
from mainstay.console.render import packages
from mainstay.inventory.value import Json
from mainstay.runner.artifacts.contract import ArtifactMissing, Artifacts
from mainstay.runner.record import MaintenanceRecord

COLUMNS = (
    "record",
    "run",
    "kind",
    "plan",
    "maintenance_type",
    "run_verdict",
    "requested_by",
    "started_at",
    "finished_at",
    "undoes",
    "host",
    "verdict",
    "reason",
    "wave",
    "packages_changed",
    "packages",
    "hash",
)


def read_outputs(artifacts: Artifacts, record: MaintenanceRecord) -> dict[str, bytes]:
    """Artifact → what the step printed. Those that are no longer kept are left out; a damaged one raises."""
    found: dict[str, bytes] = {}
    for part in record.hosts:
        for step in part.steps:
            if step.output is None or step.output in found:
                continue
            try:
                found[step.output] = artifacts.read(step.output)
            except ArtifactMissing:
                continue
    return found


def with_outputs(body: Json, outputs: dict[str, bytes] | None) -> Json:
    """Each step gets `output_text`: text with replacement characters, raw otherwise; null where it is not kept."""
    if outputs is None:
        return body
    for part in body["hosts"]:
        for step in part["steps"]:
            raw = outputs.get(step["output"]) if step["output"] else None
            step["output_text"] = raw.decode("utf-8", "replace") if raw is not None else None
    return body


def to_csv(records: Sequence[MaintenanceRecord]) -> str:
    """RFC 4180, a line per host. No cell starts a formula in a spreadsheet."""
    sheet = io.StringIO()
    writer = csv.writer(sheet)
    writer.writerow(COLUMNS)
    for record in records:
        summary = record.summary
        head = [record.seq, summary.id, summary.kind, summary.plan, summary.maintenance_type, summary.verdict]
        head += [summary.requested_by, summary.started_at, summary.finished_at, summary.links.undoes]
        for part in record.hosts:
            changes = packages.changed(part.before, part.after)
            told = "; ".join(str(change) for change in changes)
            row = [*head, part.host, part.verdict, part.reason, part.wave, len(changes), told, record.hash]
            writer.writerow([clean.csv_cell(cell) for cell in row])
    return sheet.getvalue()

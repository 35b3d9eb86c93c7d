"""The JSON Schema of a site's files, for editors. Published as docs/reference/site.schema.json.

It says the form. What needs the whole site (names that exist, selectors that match) is said by `mainstay check`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pydantic.json_schema import models_json_schema

from mainstay.inventory.settings import InventoryFile, SiteFile
from mainstay.inventory.value import Json, Value
from mainstay.recovery.plan import BackupPlan
from mainstay.recovery.repository import Repository
from mainstay.runner.plan import PatchPlan
from mainstay.schedules.freeze_entries import FreezeEntry, IcsCalendar
from mainstay.schedules.windows import Window


class SchedulesFile(Value):
    """schedules/*.yml"""

    windows: dict[str, Window] = {}
    freezes: tuple[str | FreezeEntry, ...] = ()
    """Calendars (freezes.ics, https://…), dates (2026-12-24, 2026-12-20/2027-01-06), or mappings."""
    calendars: dict[str, str | IcsCalendar] = {}
    """Those that plans name under `calendar`."""
    plans: dict[str, PatchPlan | BackupPlan] = {}


class RecoveryFile(Value):
    """recovery/*.yml"""

    repositories: dict[str, Repository] = {}


def site_schema() -> Json:
    """JSON Schema 2020-12. `#/$defs/SiteFile`, `InventoryFile`, `SchedulesFile` and `RecoveryFile` describe one kind of file
    each."""
    files = (SiteFile, InventoryFile, SchedulesFile, RecoveryFile)
    _, schema = models_json_schema([(model, "validation") for model in files], title="A site of mainstay")
    for model in ("PatchPlan", "BackupPlan", "Window", "Repository"):
        for filled_in in ("name", "source", "prove_first", "repositories", "order"):
            schema["$defs"][model]["properties"].pop(filled_in, None)
    # without it an editor could not tell a backup from a patch
    schema["$defs"]["BackupPlan"]["required"].append("kind")
    _without_odd_defaults(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "anyOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in files],
        **schema,
    }


def _without_odd_defaults(schema: Any) -> None:
    """Drop defaults that are not written the way people write them (seconds, bytes, whole models)."""
    if isinstance(schema, dict):
        default = schema.get("default")
        if isinstance(default, (float, dict, list)) or (isinstance(default, int) and default > 10**6):
            del schema["default"]
        for inner in schema.values():
            _without_odd_defaults(inner)
    elif isinstance(schema, list):
        for inner in schema:
            _without_odd_defaults(inner)


def published() -> str:
    """The text of docs/reference/site.schema.json."""
    return json.dumps(site_schema(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(published())

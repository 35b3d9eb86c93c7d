"""JSON by hash: what is too large for a checkpoint goes through the artifact store, and the checkpoint holds its name."""

from __future__ import annotations

import json

from mainstay.inventory.value import Json, canonical
from mainstay.runner.artifacts.contract import Artifacts


def put_json(artifacts: Artifacts, data: Json) -> str:
    return artifacts.put(canonical(data), kind="json")


def get_json(artifacts: Artifacts, hash: str) -> Json:
    """Raises ArtifactMissing, ArtifactDamaged."""
    data: Json = json.loads(artifacts.read(hash))
    return data

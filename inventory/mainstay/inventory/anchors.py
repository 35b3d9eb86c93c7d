"""`anchors:` of mainstay.yml: other machines that keep every seal of the ledger too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem, WrongValue
from mainstay.inventory.names import shown
from mainstay.inventory.secrets import check_reference
from mainstay.inventory.validation import did_you_mean
from mainstay.inventory.value import Value

Reference = Annotated[str, AfterValidator(check_reference)]


def _host(value: Any) -> Any:
    return {"host": value} if isinstance(value, str) else value


class SshPlace(Value):
    """A file on a host of the inventory, reached with its pinned keys."""

    host: str
    path: Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f]+$")] | None = None
    """Absolute; /var/lib/mainstay-anchor/SITE where it is not given."""


class S3Place(Value):
    """A bucket, there already. Without keys they come from boto3's own chain: environment, ~/.aws, the instance."""

    bucket: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9!_.*'()/-]*$")] = ""
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]+$")] | None = None
    endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/@]+/?$")] | None = None
    """Of another server than Amazon's."""
    access_key: Reference | None = None
    secret_key: Reference | None = None


class Place(Value):
    """Somewhere else where the ledger's seals are kept: exactly one of the three."""

    ssh: Annotated[SshPlace | None, BeforeValidator(_host, json_schema_input_type=str | SshPlace)] = None
    s3: S3Place | None = None
    file: Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\x00-\x1f]+$")] | None = None


def _one(place: Place) -> Place:
    if sum(one is not None for one in (place.ssh, place.s3, place.file)) != 1:
        raise WrongValue("An anchor is one of ssh, s3 and file.", hint="Write each as an entry of its own: - ssh: HOST")
    if place.s3 is not None and (place.s3.access_key is None) != (place.s3.secret_key is None):
        raise WrongValue("access_key and secret_key go together.", hint="Without both, boto3's own chain is asked.")
    return place


Anchor = Annotated[Place, AfterValidator(_one)]


def anchor_references(anchors: Sequence[Place], spot: Spot) -> Iterable[tuple[str, Spot]]:
    for number, place in enumerate(anchors):
        for word in ("access_key", "secret_key"):
            if place.s3 is not None and (reference := getattr(place.s3, word)):
                yield reference, spot.at(number, "s3", word)


def anchor_problems(anchors: Sequence[Place], names: Sequence[str], spot: Spot) -> Iterable[Problem]:
    seen: set[str] = set()
    for number, place in enumerate(anchors):
        at = spot.at(number)
        text = str(place.to_json())
        if text in seen:
            yield at.problem("is there twice.", hint="Each anchor is a place of its own.")
        seen.add(text)
        if place.ssh is not None and place.ssh.host not in names:
            hint = did_you_mean(place.ssh.host, names) or "Declare it in inventory/hosts.yml, and pin its key."
            yield at.at("ssh").problem(f"There is no host {shown(place.ssh.host)}.", hint=hint)

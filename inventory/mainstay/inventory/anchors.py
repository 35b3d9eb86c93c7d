"""`anchors:` of mainstay.yml: other machines that keep every seal of the ledger too."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints, WithJsonSchema

from mainstay.inventory.document import Spot
from mainstay.inventory.errors import Problem, WrongValue
from mainstay.inventory.names import shown
from mainstay.inventory.references import Reference
from mainstay.inventory.validation import did_you_mean
from mainstay.inventory.value import Value

PATH = r"^/[^\x00-\x1f]+$"
BUCKET = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
PREFIX = r"^[A-Za-z0-9!_.*'()/-]*$"
REGION = r"^[a-z0-9-]+$"
ENDPOINT = r"^https?://[^\s/@]+/?$"


def _form(pattern: str, hint: str) -> AfterValidator:
    """As a pattern of its own would refuse it, with words that say what is wanted."""

    def check(text: str) -> str:
        if re.search(pattern, text) is None or text.endswith("\n"):
            raise WrongValue(f"{shown(text)} is not written as it has to be.", hint=hint)
        return text

    return AfterValidator(check)


def _schema(pattern: str) -> WithJsonSchema:
    return WithJsonSchema({"pattern": pattern, "type": "string"})


def _host(value: Any) -> Any:
    return {"host": value} if isinstance(value, str) else value


class SshPlace(Value):
    """A file on a host of the inventory, reached with its pinned keys."""

    host: str
    path: Annotated[str, _form(PATH, "Write it from / on: /var/lib/mainstay-anchor/acme"), _schema(PATH)] | None = None
    """Absolute; /var/lib/mainstay-anchor/SITE where it is not given."""


class S3Place(Value):
    """A bucket, there already. Without keys they come from boto3's own chain: environment, ~/.aws, the instance."""

    bucket: Annotated[
        str, _form(BUCKET, "A bucket's name is 3 to 63 lower-case letters, digits, dots and dashes."), _schema(BUCKET)
    ]
    prefix: Annotated[str, _form(PREFIX, "Write for example mainstay/acme"), _schema(PREFIX)] = ""
    region: Annotated[str, _form(REGION, "Write for example eu-central-1"), _schema(REGION)] | None = None
    endpoint: Annotated[str, _form(ENDPOINT, "Write https://HOST or https://HOST:PORT"), _schema(ENDPOINT)] | None = (
        None
    )
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


def anchors_in(anchors: Sequence[Place], state: Path, root: Path, spot: Spot) -> Iterable[Problem]:
    """Files that would be lost, or rewritten, together with the state that they are to tell of. state: its folder, resolved."""
    for number, place in enumerate(anchors):
        if place.file and (root / Path(place.file).expanduser()).resolve().parent == state:
            hint = "Name a file on another disk, or what is mounted from another machine."
            yield spot.at(number, "file").problem("is in the state's own folder: who loses one loses both.", hint=hint)


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

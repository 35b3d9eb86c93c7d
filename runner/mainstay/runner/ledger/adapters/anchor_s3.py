"""An anchor in an S3 bucket: one object per seal, its key the number in twenty digits, put only where there is none.

`If-None-Match: *` (https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html) lets the bucket itself
refuse to overwrite; that nobody deletes is for the bucket's owner: object lock, or a policy without s3:DeleteObject.
boto3 is imported when a bucket is first asked for: it takes a fifth of a second, and most verbs ask none.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from mainstay.inventory.errors import MainstayError
from mainstay.runner.ledger.anchors import AnchorUnusable, conflict
from mainstay.runner.ledger.chain import Seal
from mainstay.runner.ledger.seals import line_of, read_line
from mainstay.runner.shell.printable import printable

DIGITS = 20
LARGEST = 4096
"""Bytes of an object that are read; a seal takes some 130."""
READERS = 8

# boto3's defaults wait a minute for a connection and a minute for an answer, five times over. A checksum behind the body
# is what servers other than Amazon's often don't know.
_SETTINGS: dict[str, Any] = {
    "connect_timeout": 5,
    "read_timeout": 10,
    "retries": {"total_max_attempts": 2, "mode": "standard"},
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
    "max_pool_connections": READERS,
    "user_agent_extra": "mainstay",
}


@dataclass(frozen=True, slots=True)
class Bucket:
    """prefix: without a slash at its ends; endpoint: of another server than Amazon's."""

    name: str
    prefix: str
    region: str | None = None
    endpoint: str | None = None

    @property
    def shown(self) -> str:
        server = f" at {self.endpoint}" if self.endpoint else ""
        return f"s3 {self.name}/{self.prefix}".rstrip("/") + server

    @property
    def folder(self) -> str:
        """What every key begins with."""
        return f"{self.prefix}/" if self.prefix else ""


class S3Anchor:
    """Implements RemoteAnchor. keys: (access key, secret key), asked for when first used; boto3's own chain without."""

    def __init__(self, place: Bucket, keys: Callable[[], tuple[str, str] | None] | None = None) -> None:
        self.name = place.shown
        self._place = place
        self._keys = keys
        self._made: Any = None
        self._lock = threading.Lock()

    def make(self) -> None:
        """The bucket is its owner's, and has to be there. Under the number 0 lies what shows that its server refuses to
        overwrite: one that has never heard of If-None-Match would let anybody rewrite what it has seen."""
        with self._translated():
            for _ in range(2):
                refused = not self._put_new(0, b'{"seq": 0}\n')
        if not refused:
            raise AnchorUnusable(
                f"anchor {self.name}: this server overwrites what is there: it does not know If-None-Match",
                hint="Take another server, or an anchor over SSH.",
            )

    def append(self, seals: Sequence[Seal]) -> None:
        for seal in seals:
            with self._translated():
                self._put(seal)

    def _put(self, seal: Seal) -> None:
        if self._put_new(seal.seq, line_of(seal)):
            return
        there = self._get(seal.seq)
        if there is None:  # another one is just putting it, or what is there is no seal
            raise AnchorUnusable(f"anchor {self.name}: {self._key(seal.seq)} is there, and no seal")
        if there.hash != seal.hash:
            raise conflict(self.name, seal.seq)

    def _put_new(self, seq: int, body: bytes) -> bool:
        """False where there is one already."""
        import botocore.exceptions

        try:
            self._client().put_object(
                Bucket=self._place.name,
                Key=self._key(seq),
                Body=body,
                ContentType="application/json",
                IfNoneMatch="*",
            )
        except botocore.exceptions.ClientError as error:
            if _status(error) in (409, 412):
                return False
            raise
        return True

    def last(self, near: int = 0) -> Seal | None:
        # Listed from just before the expected number; from the beginning only where nothing is there.
        numbers = (self._numbers(near - 1) if near > 1 else []) or self._numbers(0)
        # What is no seal, or another number's, is passed over as a line of a file would be.
        return next((seal for number in reversed(numbers) if (seal := self._read(number)) is not None), None)

    def seals(self) -> list[Seal]:
        with ThreadPoolExecutor(READERS) as readers:
            return [seal for seal in readers.map(self._read, self._numbers(0)) if seal is not None]

    def close(self) -> None:
        if self._made is not None:
            self._made.close()

    def _numbers(self, after: int) -> list[int]:
        """Every number past `after` under which there is an object, ascending."""
        prefix = self._place.folder
        with self._translated():
            pages = (
                self._client()
                .get_paginator("list_objects_v2")
                .paginate(Bucket=self._place.name, Prefix=prefix, StartAfter=self._key(after))
            )
            names = [item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", ())]
        return [int(name) for name in names if len(name) == DIGITS and name.isascii() and name.isdecimal()]

    def _read(self, number: int) -> Seal | None:
        with self._translated():
            seal = self._get(number)
        return seal if seal is not None and seal.seq == number else None

    def _get(self, number: int) -> Seal | None:
        answer = self._client().get_object(Bucket=self._place.name, Key=self._key(number))
        with answer["Body"] as body:
            data: bytes = body.read(LARGEST)
        return read_line(data)

    def _key(self, seq: int) -> str:
        return f"{self._place.folder}{seq:0{DIGITS}d}"

    def _client(self) -> Any:
        import boto3
        import botocore.config

        with self._lock:
            if self._made is None:
                keys = self._keys() if self._keys is not None else None
                access, secret = keys if keys is not None else (None, None)
                # Other servers than Amazon's seldom have a name of its own for each bucket.
                style = {"s3": {"addressing_style": "path"}} if self._place.endpoint else {}
                # A session of its own: boto3's default one is not safe for threads.
                self._made = boto3.session.Session().client(
                    "s3",
                    region_name=self._place.region,
                    endpoint_url=self._place.endpoint,
                    aws_access_key_id=access,
                    aws_secret_access_key=secret,
                    config=botocore.config.Config(**_SETTINGS, **style),
                )
            return self._made

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import botocore.exceptions

        try:
            yield
        except botocore.exceptions.ClientError as error:
            said = error.response.get("Error", {})
            text = printable(f"{said.get('Code', _status(error))}: {said.get('Message', '')}".rstrip(": "))
            raise AnchorUnusable(f"anchor {self.name}: {text}", hint=_HINTS.get(str(said.get("Code")))) from None
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError, OSError, ValueError) as error:
            # `from None`: what they hold can quote a request, with its headers
            raise AnchorUnusable(f"anchor {self.name}: {printable(str(error)) or type(error).__name__}") from None
        except AnchorUnusable:
            raise
        except MainstayError as error:  # a secret that can't be had
            raise AnchorUnusable(f"anchor {self.name}: {error.message}", hint=error.hint) from error


_HINTS = {
    "NoSuchBucket": "Make the bucket, with object lock where nobody shall be able to delete; mainstay makes none.",
    "AccessDenied": "It takes s3:PutObject, s3:GetObject and s3:ListBucket, and nothing that deletes.",
    "InvalidAccessKeyId": "Look at the access key that the anchor's credentials name.",
    "SignatureDoesNotMatch": "Look at the secret key that the anchor's credentials name.",
}


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))

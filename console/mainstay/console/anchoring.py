"""The anchors that a site names, made of what lies behind them. Nothing is opened before it is asked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mainstay.inventory.anchors import Place, S3Place
from mainstay.inventory.host import Host
from mainstay.inventory.secrets import Secrets
from mainstay.inventory.site import Site
from mainstay.runner.ledger.anchor_ssh import FOLDER, SshAnchor
from mainstay.runner.ledger.anchors import FileAnchor, RemoteAnchor
from mainstay.runner.ledger.seals import Anchor
from mainstay.runner.shell.contract import Shells


def anchors_of(site: Site, secrets: Secrets, host: Callable[[str], Host]) -> list[RemoteAnchor]:
    """In the order of mainstay.yml."""
    return [_made(place, site, secrets, host) for place in site.anchors]


def _made(place: Place, site: Site, secrets: Secrets, host: Callable[[str], Host]) -> RemoteAnchor:
    if place.ssh is not None:
        path = place.ssh.path or f"{FOLDER}/{site.name}"
        return SshAnchor(lambda: _shells(site, secrets, host), host(place.ssh.host), path)
    if place.s3 is not None:
        return _s3(place.s3, secrets)
    assert place.file is not None, "exactly one of them is given"
    return FileAnchor(Anchor(Path(os.path.normpath(site.root / Path(place.file).expanduser()))))


def _shells(site: Site, secrets: Secrets, host: Callable[[str], Host]) -> Shells:
    """Of the anchor alone: it goes on while a run closes its own."""
    from mainstay.runner.shell.adapters.fabric import FabricShells

    return FabricShells(host, site.known_hosts, secrets.resolve, root=site.root)


def _s3(place: S3Place, secrets: Secrets) -> RemoteAnchor:
    from mainstay.runner.ledger.adapters.anchor_s3 import Bucket, S3Anchor

    def keys() -> tuple[str, str] | None:
        if place.access_key is None or place.secret_key is None:
            return None
        return secrets.resolve(place.access_key).reveal(), secrets.resolve(place.secret_key).reveal()

    return S3Anchor(Bucket(place.bucket, place.prefix.strip("/"), place.region, place.endpoint), keys)

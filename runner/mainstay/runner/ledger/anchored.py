"""The ledger together with what lies around it: anchors on other machines, and the runs that it tells of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from mainstay.inventory.value import Json
from mainstay.runner.ledger.comparing import Compared, compare_all, refuse_a_new_beginning
from mainstay.runner.ledger.contract import Entry, Finding, Ledger
from mainstay.runner.ledger.courier import Courier

Runs = Callable[[], Mapping[str, bool]]
"""id → whether it has ended, of every run that the state knows."""


class AnchoredLedger:
    """Implements Ledger over another one. runs: what the state knows; without it, nothing is held against the runs."""

    def __init__(self, inner: Ledger, courier: Courier, runs: Runs | None = None) -> None:
        self._inner = inner
        self._runs = runs
        self.courier = courier

    def seal(self, id: str, body: Json) -> Entry:
        entry = self._inner.seal(id, body)
        self.courier.wake()
        return entry

    def get(self, id: str) -> Entry | None:
        return self._inner.get(id)

    def entries(self, after: int = 0) -> Iterator[Entry]:
        return self._inner.entries(after)

    def head(self) -> tuple[int, str]:
        return self._inner.head()

    def index(self) -> dict[int, tuple[str, str]]:
        return self._inner.index()

    def verify(self) -> list[Finding]:
        """Also what the state's runs say against it. Asks no other machine: see `compare`."""
        if self._runs is None:
            return self._inner.verify()
        # In this order a run that ends meanwhile is never taken for one without a record, nor its record for one too many.
        ended = [id for id, over in self._runs().items() if over]
        sealed = {id: seq for seq, (id, _) in self._inner.index().items()}
        known = self._runs()
        return [*self._inner.verify(), *unmatched(ended, sealed, known)]

    def guard(self) -> None:
        """As the inner one's, with what is at hand here. Only where the ledger is empty the anchors elsewhere are asked
        whether it always was."""
        self._inner.guard()
        if self.courier.anchors and self._inner.head()[0] == 0:
            refuse_a_new_beginning(self.courier.anchors)

    def compare(self) -> list[Compared]:
        """What each anchor elsewhere says of the ledger; brings them what they have not got first."""
        delivered = {lag.name: lag.delivered for lag in self.courier.flush()}
        index = {seq: hash for seq, (_, hash) in self._inner.index().items()}
        return compare_all(self.courier.anchors, index, delivered)


def unmatched(ended: Iterable[str], sealed: Mapping[str, int], known: Iterable[str]) -> list[Finding]:
    """Runs that ended without a record, and records without a run. sealed: id → seq."""
    there = set(known)
    found = [
        Finding(kind="unsealed", message=f"run {id} has ended, and there is no record of it")
        for id in ended
        if id not in sealed
    ]
    return found + [
        Finding(kind="run-missing", seq=seq, message=f"entry {seq} ({id}): nothing is known of its run any more")
        for id, seq in sealed.items()
        if id not in there
    ]

"""The database that the state, the ledger and shared artifacts lie in: a SQLite file, or PostgreSQL.

`read` sees one moment; `write` is one short transaction, alone in its time: whoever looks and then writes in it needs no
other lock. What the two databases say in different words is asked of `Database` and nowhere else.

**A connection that breaks.** PostgreSQL may be restarted, or lost for a while, in the middle of anything. Whatever is
marked `persistent` is then done again from its beginning for PATIENCE seconds. When the answer to a COMMIT is lost,
nobody knows whether it happened, so everything that is marked has to be one that may happen twice:

- a row with a key (run, host, part, record, artifact) is written with the same content, which counts as success;
- a fence's number is skipped, which nobody minds: they only have to grow;
- an intervention carries an id made before the first try, so that the same request is kept once;
- slots are taken by run and host: those that it finds are its own;
- what overwrites (where a run is, a note, a block) overwrites with the same again.
"""

from __future__ import annotations

import functools
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa

from mainstay.runner.engine.contract import Unkept

PATIENCE = 30.0
"""Seconds for which a database that went away is asked again before StateUnusable is raised."""

T = TypeVar("T")
P = ParamSpec("P")


class StateUnusable(Unkept):
    """The database can't be opened or written."""


class ConnectionLost(StateUnusable):
    """The connection broke, or none could be made; whether the last COMMIT happened is not known."""


class Database(ABC):
    """name: how errors call it. engine: one pool of connections. Both close with `close`."""

    dialect: Literal["sqlite", "postgresql"]

    def __init__(self, name: str, engine: sa.Engine) -> None:
        self.name = name
        self._engine = engine
        # The threads of one process queue here, in their order, and not in the database.
        self._writer = threading.Lock()

    @abstractmethod
    def read(self) -> AbstractContextManager[sa.Connection]:
        """One moment, however many statements. Raises StateUnusable."""

    @abstractmethod
    def write(self, *, long: bool = False) -> AbstractContextManager[sa.Connection]:
        """Alone in its time. long: a migration or a restored state, which may take its time. Raises StateUnusable."""

    @abstractmethod
    def noting(self) -> AbstractContextManager[sa.Connection]:
        """A short write of what is going on right now, beside the others where the database can: it need not outlive a
        power cut, and waits for no disk. Raises StateUnusable."""

    def persist(self, work: Callable[[], T]) -> T:
        """`work`, done again where the connection broke in it. Raises StateUnusable."""
        return work()

    @abstractmethod
    def insert(self, table: sa.Table) -> Any:
        """An INSERT with `on_conflict_do_nothing`, `on_conflict_do_update` and `excluded`."""

    @abstractmethod
    def greatest(self, *values: Any) -> sa.ColumnElement[Any]: ...

    @abstractmethod
    def least(self, *values: Any) -> sa.ColumnElement[Any]: ...

    @abstractmethod
    def bytes_of(self, column: sa.ColumnElement[str]) -> sa.ColumnElement[bytes]:
        """A text as it lies there, in UTF-8."""

    @abstractmethod
    def has_table(self, of: sa.Connection, name: str) -> bool: ...

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            told = self._told(error)
            if told is None:
                raise  # a constraint, or a fault of ours
            raise told from error
        except sa.exc.TimeoutError as error:
            raise StateUnusable(
                f"{self.name}: no connection became free", hint="Is the database very slow, or are its locks held?"
            ) from error

    @abstractmethod
    def _told(self, error: sa.exc.DBAPIError) -> StateUnusable | None:
        """The error in our words; None for one that is not about the database's health."""


class OnDatabase(Protocol):
    @property
    def _database(self) -> Database: ...


S = TypeVar("S", bound=OnDatabase)


def persistent(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """The whole method again where the connection broke in it: it has to be one that may happen twice."""

    @functools.wraps(method)
    def tried(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._database.persist(lambda: method(self, *args, **kwargs))

    return tried


def storable(text: str) -> str:
    """Text that UTF-8 can say: what a host or a command line brings may hold halves of surrogate pairs,
    and PostgreSQL takes no NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")

"""What the controller does with a repository, by restic. One object reaches one repository for one purpose (`Access`).

Every method gives values, or raises a ResticError whose text holds no secret. Nothing is tried again by itself: not a wrong
password, not an init. What is removed is named by its full id, and asked for afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO, Literal, Protocol

from mainstay.inventory.errors import MainstayError
from mainstay.inventory.secrets import Secret
from mainstay.recovery.repository import Access
from mainstay.recovery.restic.messages import Progress, Unreadable
from mainstay.recovery.restic.replies import CheckSummary, Key, Lock, Node, RestoreSummary, Snapshot, Stats
from mainstay.recovery.restic.version import Version

Tell = Callable[[Progress], None]
"""Hears of progress, in the thread that called."""
Overwrite = Literal["always", "if-changed", "if-newer", "never"]
READ_ALL = (1, 1)


class Restic(Protocol):
    """Safe for one thread at a time; several of them may work with one repository, as restic's own locks allow."""

    @property
    def access(self) -> Access: ...

    def version(self) -> Version:
        """Of the program. Raises TooOld."""

    def identity(self) -> str | None:
        """The repository's id; None: there is none at this place. Raises WrongPassword, Unreachable."""

    def init(self, like: Access | None = None) -> str:
        """Make the repository; returns its id. like: one that is going to be copied from (or to): data that both have is
        found only if both cut it alike. Raises ResticError where there is one already: nothing is changed then."""

    def snapshots(self, *, tags: Sequence[str] = (), host: str | None = None) -> list[Snapshot]:
        """Those that have all of the tags, oldest first by `at`, then id. Nothing is locked for it."""

    def stats(self, ids: Sequence[str] = ()) -> Stats:
        """Of what the repository keeps for these snapshots, or for all."""

    def forget(self, ids: Sequence[str]) -> list[str]:
        """Remove these snapshots (full ids); their data stays until `prune`. Returns those that were there, and are gone
        now: it asks the repository. Raises NotRemoved where one is still there."""

    def prune(self, *, max_unused: str = "5%", tell: Tell | None = None) -> int | None:
        """Remove data that no snapshot needs; returns how many bytes, as restic rounds them, None where it does not say.
        Locks out everybody else meanwhile. max_unused: what may stay."""

    def check(self, part: tuple[int, int] | None = None, *, tell: Tell | None = None) -> CheckSummary:
        """The structure; and, with part (n, t), that n-th of t parts of the data, read and compared with its hashes.
        READ_ALL: all of it. What is damaged is an answer, not an exception."""

    def copy(self, source: Access, ids: Sequence[str], *, tell: Tell | None = None) -> dict[str, str]:
        """Copy these snapshots of the other repository into this one; what is here already is not copied again. Returns
        the id of each here: it asks the repository. Raises Partial where one is not here."""

    def restore(
        self,
        snapshot: str,
        target: str,
        *,
        include: Sequence[str] = (),
        subfolder: str = "",
        overwrite: Overwrite = "always",
        verify: bool = False,
        dry: bool = False,
        touched: Callable[[str, str], None] | None = None,
        tell: Tell | None = None,
        watch: Callable[[], None] | None = None,
    ) -> RestoreSummary:
        """Into a folder of the controller. include: paths in the snapshot, as they are (no patterns); nothing: all of it.
        subfolder: its content goes directly into the target. verify: read again what was written and compare.
        dry: write nothing. touched: hears of each file what is (or, with dry, would be) done: `restored`, `updated`,
        `unchanged`, and its path. watch: is called about twenty times a second meanwhile; what it raises ends it. Raises
        NothingRestored where nothing of what is asked for is there, Partial where something could not be restored."""

    def dump(self, snapshot: str, path: str, into: BinaryIO) -> int:
        """Write the content of one file (a folder comes as a tar archive) into a stream; returns how many bytes. What came
        before an error is there all the same: it raises."""

    def ls(
        self, snapshot: str, each: Callable[[Node], None], paths: Sequence[str] = (), *, patient: bool = True
    ) -> int:
        """Tell of every entry, or of those in these folders and below them; returns how many. Not patient: where the
        repository does not answer, it is Unreachable as soon as for any question."""

    def find(self, pattern: str, ids: Sequence[str] = ()) -> list[tuple[str, Node]]:
        """(snapshot, entry) of those whose name or path matches; `*`, `?` and `[]` are patterns."""

    def locks(self) -> list[Lock]: ...

    def unlock(self, ids: Iterable[str]) -> list[str]:
        """Remove these lock files and no others (full ids); returns those that were there and are gone now."""

    def keys(self) -> list[Key]: ...

    def add_key(self, password: Secret, *, user: str = "", host: str = "") -> None:
        """A further password for the same repository."""


Open = Callable[[Access], Restic]


class ResticError(MainstayError):
    """Something about a repository. `repository` is the name of its declaration."""

    kind = "repository"

    def __init__(self, access: Access, message: str, *, hint: str | None = None) -> None:
        where = access.repository if not access.host else f"{access.repository} of {access.host}"
        super().__init__(f"repository {where}: {message}", hint=hint)
        self.repository = access.repository
        self.plain = message


class TooOld(ResticError):
    """No restic, or one that is not believed."""

    kind = "restic-too-old"


class NoRepository(ResticError):
    """There is none at this place, and none was made."""

    kind = "no-repository"


class WrongPassword(ResticError):
    """No key of the repository opens with this password. It was tried once."""

    kind = "wrong-password"


class Unreachable(ResticError):
    """The storage could not be reached, or did not let us in; how it is with the repository is not known."""

    kind = "repository-unreachable"


class Locked(ResticError):
    """Somebody else holds the repository, or has died with it."""

    kind = "locked"


class Damaged(ResticError):
    """Data that should be there is lost or changed."""

    kind = "damaged"


class Partial(ResticError):
    """Some of it was done, and some not. items: what was not, as far as restic named it."""

    kind = "partial"

    def __init__(
        self, access: Access, message: str, items: Sequence[Unreadable] = (), *, hint: str | None = None
    ) -> None:
        super().__init__(access, message, hint=hint)
        self.items = tuple(items)


class NotRemoved(Partial):
    """The repository still has what was to be removed: it is append-only for us, or refused it."""

    kind = "not-removed"


class NothingRestored(ResticError):
    """Nothing of what was asked for is in the snapshot."""

    kind = "nothing-restored"


class Stopped(ResticError):
    """It did not end in its time, or was stopped by us; what it had begun is cleaned up as far as restic does so."""

    kind = "stopped"

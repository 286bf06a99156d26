"""Whether the process of a worker is there: it locks a file of its own beside the database, and the operating system gives
that lock back at any death. So the owner learns of a death at its next look, without waiting for the silence to grow long.

Only a shortcut. Without the file (deleted, or never made) a worker is known by its beat alone, and so is one that is
frozen. Whoever deletes the row of a worker deletes its file first: what is left over after a crash in between is a worker
without a file. A file without a worker is left by one that dies while it joins, and goes when somebody owns next.
"""

import contextlib
import os
from collections.abc import Collection, Iterable

from perdure.stores.sqlite.lock import OwnerLock


class Presence:
    """The files of one database's workers, and the locks of those that are here."""

    def __init__(self, database: str) -> None:
        self._database = database
        self._held: dict[int, OwnerLock] = {}

    def _path(self, member: int) -> str:
        return f"{self._database}-worker-{member}"

    def begin(self, member: int) -> None:
        """Be there, from before anybody knows of this worker."""
        lock = OwnerLock(self._path(member))
        try:
            taken = lock.try_take()
        except OSError:
            return
        if taken:
            self._held[member] = lock
        else:
            self.forget(member)

    def end(self, member: int) -> None:
        """Be there no more."""
        self.forget(member)
        lock = self._held.pop(member, None)
        if lock is not None:
            lock.release()

    def gone(self, members: Iterable[int]) -> list[int]:
        """Those whose process has died for certain."""
        return [member for member in members if self._is_left(self._path(member))]

    def _is_left(self, path: str) -> bool:
        """A worker that leaves deletes its file before it lets go of the lock, and may do both between two looks here."""
        try:
            return os.path.isfile(path) and not OwnerLock(path).is_taken() and os.path.isfile(path)
        except OSError:
            return False

    def forget(self, member: int) -> None:
        """Nobody has to look for this worker any more."""
        with contextlib.suppress(OSError):
            os.unlink(self._path(member))

    def sweep(self, known: Collection[int]) -> None:
        """Nobody has to look for any but these."""
        folder, name = os.path.split(f"{self._database}-worker-")
        for each in os.listdir(folder):
            number = each.removeprefix(name)
            if each.startswith(name) and number.isdecimal() and int(number) not in known:
                self.forget(int(number))

    def close(self) -> None:
        """What the operating system does at a death."""
        held, self._held = self._held, {}
        for lock in held.values():
            lock.release()

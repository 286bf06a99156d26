"""Who owns the database: an exclusive lock on a file beside it, which the operating system takes back at any death.

`flock` belongs to the open file, not to the process: two stores in one process exclude each other, and another
descriptor of the same file that is closed does not release it. Python opens files close-on-exec, so programs started
by the owner do not carry the lock on; a forked child closes its copy at once, since otherwise the lock would outlive
its owner in it.

Asking who owns takes a *shared* lock for an instant (microseconds). An engine that tries to own in just that instant
fails; therefore it tries a few times in a row, 1, 2, 4 ... milliseconds apart, before it believes that somebody owns:
who asks may lose its processor, or the interpreter lock, in just that instant.
"""

import fcntl
import os
import time
import weakref

TRIES = 6
_PAUSE_SECONDS = 0.001


class OwnerLock:
    """The lock of one database, held or not. `path` is the lock file's."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor: int | None = None
        _all.add(self)

    @property
    def held(self) -> bool:
        """Whether it is this object that holds the lock."""
        return self._descriptor is not None

    def try_take(self) -> bool:
        """Take the lock unless somebody has it. Raises OSError if the file cannot be opened for writing."""
        if self.held:
            return False
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        for attempt in range(TRIES):
            if attempt:
                time.sleep(_PAUSE_SECONDS * 2 ** (attempt - 1))
            if _lock(descriptor, fcntl.LOCK_EX):
                self._descriptor = descriptor
                return True
        os.close(descriptor)
        return False

    def is_taken(self) -> bool:
        """Whether anybody holds the lock now."""
        if self.held:
            return True
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_all: "weakref.WeakSet[OwnerLock]" = weakref.WeakSet()


def _release_in_child() -> None:
    for lock in list(_all):
        lock.release()


os.register_at_fork(after_in_child=_release_in_child)

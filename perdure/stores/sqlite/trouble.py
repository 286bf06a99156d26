"""What an error of SQLite means: for the owner, who must decide about its batch, and for a person."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from perdure import errors
from perdure.stores import base

BUSY_SECONDS = 10.0
"""How long a call waits for another process's transaction before it gives up."""

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_FORBIDDEN = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_UNFIT = frozenset({sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE})
UNFIT_VALUES = (OverflowError, UnicodeError, sqlite3.InterfaceError, sqlite3.DataError)
"""Raised by the binding of a value that SQLite cannot hold, whatever the database's state."""


def code_of(error: sqlite3.Error) -> int:
    """The primary result code; 0 for errors that the Python module raises by itself."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    return code_of(error) in _BUSY


def is_about_the_content(error: sqlite3.Error) -> bool:
    """Whether it is what a statement says that is wrong for this database, and not the database that cannot be used."""
    return code_of(error) == sqlite3.SQLITE_ERROR or code_of(error) in _UNFIT


def for_owner(error: Exception, path: str, committing: bool) -> Exception:
    """What `Journal.commit` raises for it; `committing` if it was COMMIT itself that failed."""
    if isinstance(error, UNFIT_VALUES):
        return base.CommitRefused(f"a value that SQLite cannot hold: {error}")
    if not isinstance(error, sqlite3.Error):
        return error
    code = code_of(error)
    if code in _UNFIT or isinstance(error, sqlite3.IntegrityError):
        return base.CommitRefused(str(error))
    if code == sqlite3.SQLITE_FULL or code in _FORBIDDEN:
        return base.StoreFull(str(for_people(error, path)))
    if code in _DAMAGED:
        return for_people(error, path)
    if isinstance(error, sqlite3.ProgrammingError):
        return base.CommitRefused(str(error))
    if code == sqlite3.SQLITE_IOERR and committing:
        return base.CommitInDoubt(f"{path}: {error}")
    return base.StoreUnavailable(f"{path}: {error}")


def for_people(error: sqlite3.Error, path: str) -> errors.StoreError:
    """The error a user reads: what was found, and what to do next."""
    code = code_of(error)
    if code in _BUSY:
        return errors.StoreUnreachable(
            f"{path}: another program has kept the database locked for {BUSY_SECONDS:g} s; "
            "close what holds a transaction open on it (a database browser?) and try again"
        )
    if code == sqlite3.SQLITE_FULL:
        return _full(path, str(error))
    if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_IOERR_SHMSIZE:
        return _full(f"{path}-shm", "it cannot grow")
    if code in _FORBIDDEN:
        return errors.StoreReadOnly(
            f"{path}: cannot be written ({error}); make the file and its folder writable for this user"
        )
    if code in _DAMAGED:
        return errors.StoreCorrupt(
            f"{path}: the file is damaged or is no SQLite database ({error}); "
            f"restore a backup, or save what can be read with: sqlite3 {path} .recover"
        )
    if isinstance(error, sqlite3.ProgrammingError) and "closed" in str(error):
        return closed(path)
    return errors.StoreUnreachable(f"{path}: the database does not answer ({error}); check its disk, then try again")


def of_system(error: OSError, path: str, purpose: str) -> errors.StoreError:
    """The same of a file beside the database, which SQLite knows nothing of."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(path, error.strerror or "the disk is full")
    return errors.StoreReadOnly(
        f"{path}: the file that {purpose} cannot be written ({error.strerror}); make it writable for this user"
    )


def _full(path: str, why: str) -> errors.StoreFull:
    return errors.StoreFull(
        f"{path}: no room left to write ({why}); nothing was lost. Free space on its disk, then start again"
    )


def closed(path: str) -> errors.StoreError:
    return errors.StoreUnreachable(f"{path}: this store was closed; open it again")


@contextmanager
def told_to_people(path: str) -> Iterator[None]:
    """Errors of SQLite inside become those a user reads."""
    try:
        yield
    except sqlite3.Error as error:
        raise for_people(error, path) from error

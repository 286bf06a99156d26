"""From a path to connections: what the file is, whether it may be used, its schema brought up to date.

An engine makes a database that is not there and migrates one that is old; a client does neither, unless it is told to
make one. A schema is changed only while nobody owns the database: an engine of the older version would go on writing the
old rows into the new tables.
"""

import errno
import os
import platform
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

from perdure import errors
from perdure.stores.sqlite import migrations
from perdure.stores.sqlite.lock import OwnerLock
from perdure.stores.sqlite.migrations import Schema
from perdure.stores.sqlite.missing import not_found
from perdure.stores.sqlite.trouble import BUSY_SECONDS, code_of, is_busy, of_system, told_to_people

OLDEST_SQLITE = (3, 35, 0)
CACHED_STATEMENTS = 256
CHECKPOINT_PAGES = 4_000
"""The log is copied into the file each time it holds this many pages: fewer checkpoints write hot pages less often."""

LATE_CHECKPOINT_PAGES = 40_000
"""Whoever does not own does so only then, which is when nobody owns for long. SQLite up to 3.51.2 can lose what was committed
if two connections do it, the one just after the other, while a third one begins the log anew; if only the connection that
has just committed does, the log cannot be begun anew meanwhile."""

PATIENCE_S = 10.0
"""How long an engine that has to migrate waits for an older one that owns the database, and is perhaps being stopped."""

LOG_LIMIT_BYTES = 64 * 1024 * 1024
CACHE_KIB = 16 * 1024


class Place:
    """A database that was found fit to use. `path` is its real one; the files beside it are named after that.

    `create` makes one that is not there, `migrate` brings an old one up to date; without them such a database is refused.
    """

    def __init__(
        self,
        path: str,
        max_pages: int | None = None,
        create: bool = True,
        migrate: bool = True,
        schema: Schema | None = None,
    ) -> None:
        self.path = os.path.realpath(path)
        self._max_pages = max_pages
        with _examined(self.path, create) as (connection, found):
            schema = schema or migrations.schema()
            demand_known(self.path, found, schema)
            if found == 0 and not create:
                raise not_found(self.path, "the file is empty")
            if 0 < found < schema[-1].number and not migrate:
                raise errors.SchemaTooOld(
                    f"{self.path} has schema {found}, and this version of Perdure needs {schema[-1].number}; "
                    "bring it up to date with `perdure migrate`, or start an engine of this version"
                )
            _bring(connection, self.path, found, schema, PATIENCE_S)

    def writing(self, owns: bool, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
        """A connection for transactions that are durable when COMMIT returns; `owns` if it is the owner's."""
        connection = _connect(self.path, factory)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES if owns else LATE_CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if self._max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {self._max_pages}")
        return connection

    def reading(self) -> sqlite3.Connection:
        connection = _connect(self.path)
        connection.execute("PRAGMA query_only = ON")
        return connection


def version(path: str) -> int:
    """The schema a database has, 0 if it is empty or not there. Nothing is changed.

    Raises:
        errors.StoreError: it cannot be read, or is none of ours.
    """
    path = os.path.realpath(path)
    if not os.path.exists(path):
        return 0
    with _examined(path, create=False) as (_, found):
        return found


def demand_known(path: str, found: int, schema: Schema) -> None:
    """Raises errors.SchemaTooNew of a database that a newer Perdure has written."""
    if found > schema[-1].number:
        raise errors.SchemaTooNew(
            f"{path} was written by a newer Perdure (schema {found}; this one knows {schema[-1].number}); upgrade Perdure"
        )


def upgrade(path: str, schema: Schema, patience_s: float = 0.0) -> int:
    """Bring a database to the last version of a schema, making it if it is not there. Gives the version it had.

    Raises:
        errors.StoreError: it cannot be changed, or somebody else owns it; nothing was changed.
    """
    path = os.path.realpath(path)
    with _examined(path, create=True) as (connection, found):
        _bring(connection, path, found, schema, patience_s)
        return found


@contextmanager
def _examined(path: str, create: bool) -> Iterator[tuple[sqlite3.Connection, int]]:
    """A connection to what was found to be a database of ours, or nothing yet; and the version of its schema."""
    _require_sqlite()
    _inspect(path, create)
    with told_to_people(path):
        connection = _connect(path)
        try:
            yield connection, _version_of(connection, path)
        finally:
            connection.close()


def _version_of(connection: sqlite3.Connection, path: str) -> int:
    try:
        return migrations.version_of(connection, path)
    except sqlite3.DatabaseError as error:
        if code_of(error) != sqlite3.SQLITE_NOTADB:
            raise
        raise errors.StoreCorrupt(
            f"{path} is no SQLite database (it begins with other bytes); name another file"
        ) from error


def _bring(connection: sqlite3.Connection, path: str, found: int, schema: Schema, patience_s: float) -> None:
    """Use the log, and apply what is missing. Who makes a database does so at the same time as others."""
    _use_log(connection, path)
    if found >= schema[-1].number:
        return
    if found == 0:
        migrations.apply(connection, path, schema)
        return
    lock = OwnerLock(f"{path}-owner")
    try:
        if _alone(lock, connection, path, schema[-1].number, patience_s):
            migrations.apply(connection, path, schema)
    except OSError as error:
        raise of_system(error, lock.path, "says who owns the database") from error
    finally:
        lock.release()


def _alone(lock: OwnerLock, connection: sqlite3.Connection, path: str, newest: int, patience_s: float) -> bool:
    """Take the owner's lock. False if whoever had it has migrated meanwhile.

    Raises:
        errors.SchemaTooOld: somebody keeps it.
    """
    end = time.monotonic() + patience_s
    while not lock.try_take():
        found = migrations.version_of(connection, path)
        if found >= newest:
            return False
        if time.monotonic() >= end:
            raise errors.SchemaTooOld(
                f"{path} has schema {found}, and cannot be brought to {newest} while an engine of an older version owns it; "
                "stop that engine first"
            )
        time.sleep(0.02)
    return True


def _connect(path: str, factory: type[sqlite3.Connection] = sqlite3.Connection) -> sqlite3.Connection:
    return sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        factory=factory,
        cached_statements=CACHED_STATEMENTS,
    )


def _require_sqlite() -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise errors.StoreUnreachable(
            f"Perdure needs SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer, and this Python "
            f"({platform.python_version()}) is linked to {sqlite3.sqlite_version}; use a newer Python or system"
        )


def _inspect(path: str, create: bool) -> None:
    """Refuse what cannot be a database of ours, before anything is opened or written.

    The file itself is opened by SQLite alone. When a process closes a file, the system takes back all locks that the process
    has on it, whoever has them: other connections of this process would stand there without, somebody else would take
    himself for the last one and delete the log, and what these connections commit would be lost.
    """
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise errors.StoreUnreachable(f"{path}: the folder {folder} does not exist; create it first")
    if os.path.isdir(path):
        raise errors.StoreUnreachable(f"{path} is a folder; name a file in it, for example {path}/perdure.db")
    if not os.path.exists(path):
        if not create:
            raise not_found(path)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise errors.StoreReadOnly(f"{path}: this user may not create files in {folder}; choose another folder")
        return
    if not os.access(path, os.R_OK):
        raise errors.StoreUnreachable(
            f"{path}: cannot be read ({os.strerror(errno.EACCES)}); give this user the right to read and write it"
        )
    if not os.access(path, os.W_OK) or not os.access(folder, os.W_OK | os.X_OK):
        raise errors.StoreReadOnly(
            f"{path}: the file and its folder must be writable, also for reading (SQLite keeps its log beside it)"
        )


def _use_log(connection: sqlite3.Connection, path: str) -> None:
    """Switch to write-ahead logging, once and for all. SQLite does not wait by itself for others to let it."""
    patience = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > patience:
                raise
            time.sleep(0.01)
        else:
            break
    if mode != "wal":
        raise errors.StoreUnreachable(
            f"{path}: its file system does not carry SQLite's write-ahead log (a network share?); use a local disk"
        )

"""From a path to connections: what the file is, whether it may be used, its schema brought up to date."""

import os
import platform
import sqlite3
import time
from collections.abc import Iterator
from importlib import resources

from perdure import errors
from perdure.stores.sqlite.trouble import BUSY_SECONDS, for_people, is_busy, told_to_people

APPLICATION_ID = 0x50445552  # "PDUR", in the file's header: `file x.db` shows it
OLDEST_SQLITE = (3, 35, 0)
CACHED_STATEMENTS = 256
CHECKPOINT_PAGES = 4_000
"""The log is copied into the file each time it holds this many pages: fewer checkpoints write hot pages less often."""

LOG_LIMIT_BYTES = 64 * 1024 * 1024
CACHE_KIB = 16 * 1024
_MAGIC = b"SQLite format 3\0"


class Place:
    """A database that was found fit to use. `path` is its real one; the files beside it are named after that."""

    def __init__(self, path: str, max_pages: int | None = None) -> None:
        self.path = os.path.realpath(path)
        self._max_pages = max_pages
        _require_sqlite()
        _inspect(self.path)
        with told_to_people(self.path):
            connection = _connect(self.path)
            try:
                _prepare(connection, self.path)
            finally:
                connection.close()

    def writing(self) -> sqlite3.Connection:
        """A connection for transactions that are durable when COMMIT returns."""
        connection = _connect(self.path)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_LIMIT_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        if self._max_pages is not None:
            connection.execute(f"PRAGMA max_page_count = {self._max_pages}")
        return connection

    def reading(self) -> sqlite3.Connection:
        connection = _connect(self.path)
        connection.execute("PRAGMA query_only = ON")
        return connection


def _connect(path: str) -> sqlite3.Connection:
    return sqlite3.connect(
        path,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )


def _require_sqlite() -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise errors.StoreUnreachable(
            f"Perdure needs SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer, and this Python "
            f"({platform.python_version()}) is linked to {sqlite3.sqlite_version}; use a newer Python or system"
        )


def _inspect(path: str) -> None:
    """Refuse what cannot be a database of ours, before anything is opened or written."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        raise errors.StoreUnreachable(f"{path}: the folder {folder} does not exist; create it first")
    if os.path.isdir(path):
        raise errors.StoreUnreachable(f"{path} is a folder; name a file in it, for example {path}/perdure.db")
    if not os.path.exists(path):
        if not os.access(folder, os.W_OK | os.X_OK):
            raise errors.StoreReadOnly(f"{path}: this user may not create files in {folder}; choose another folder")
        return
    try:
        with open(path, "rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise errors.StoreUnreachable(
            f"{path}: cannot be read ({error.strerror}); give this user the right to read and write it"
        ) from error
    if magic and magic != _MAGIC:
        raise errors.StoreCorrupt(f"{path} is no SQLite database (it begins with other bytes); name another file")
    if not os.access(path, os.W_OK) or not os.access(folder, os.W_OK | os.X_OK):
        raise errors.StoreReadOnly(
            f"{path}: the file and its folder must be writable, also for reading (SQLite keeps its log beside it)"
        )


def _prepare(connection: sqlite3.Connection, path: str) -> None:
    """Look at what is in the database; only if that is ours, or nothing, change anything."""
    version = _version(connection, path)
    known = len(_schema_files())
    if version > known:
        raise errors.SchemaTooNew(
            f"{path} was written by a newer Perdure (schema {version}; this one knows {known}); upgrade Perdure"
        )
    _use_log(connection, path)
    if version < known:
        connection.execute("PRAGMA synchronous = FULL")
        for number, script in enumerate(_schema_files(), 1):
            _migrate(connection, path, number, script)


def _version(connection: sqlite3.Connection, path: str) -> int:
    connection.execute("BEGIN")  # one snapshot: another process may be creating the schema right now
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    connection.execute("COMMIT")
    if application != APPLICATION_ID and (application or version or tables):
        raise errors.StoreCorrupt(
            f"{path} is a SQLite database of another application (no Perdure schema in it); name another file"
        )
    return version


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


def _migrate(connection: sqlite3.Connection, path: str, number: int, script: str) -> None:
    """Apply one file of the schema, in one transaction, unless another process has just done so."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        if connection.execute("PRAGMA user_version").fetchone()[0] < number:
            for statement in _statements(script):
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {number}")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise for_people(error, path) from error


def _schema_files() -> list[str]:
    """The migrations, in order; the n-th brings schema n - 1 to n."""
    folder = resources.files("perdure.stores.sqlite") / "schema"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return [file.read_text(encoding="utf-8") for file in files]


def _statements(script: str) -> Iterator[str]:
    """The statements one by one: `executescript` would commit the transaction they belong to."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

"""The schema's versions: numbered SQL files, the n-th of which brings schema n - 1 to n.

Those that are missing are applied together in one transaction, so a database is at one version or at another, never in
between. There is no way back: old rows would have to be made of new ones.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

from perdure import errors
from perdure.stores.numbering import numbered
from perdure.stores.sqlite.trouble import for_people, is_about_the_content

APPLICATION_ID = 0x50445552  # "PDUR", in the file's header: `file x.db` shows it


class Migration(NamedTuple):
    """One file. `name` is that of the file, without its ending."""

    number: int
    name: str
    script: str


Schema = Sequence[Migration]
"""All versions, from the first to the newest."""


def schema(folder: Traversable | None = None) -> Schema:
    """The migrations in a folder, in order; without one, those of this version of Perdure.

    Raises:
        ValueError: their numbers are not 1, 2, 3 and so on.
    """
    return _own() if folder is None else numbered(folder, _migration)


@cache
def _own() -> Schema:
    return tuple(numbered(resources.files("perdure.stores.sqlite") / "schema", _migration))


def _migration(number: int, file: Traversable) -> Migration:
    return Migration(number, file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))


def version_of(connection: sqlite3.Connection, path: str) -> int:
    """The version a database is at; 0 of an empty one.

    Raises:
        errors.StoreCorrupt: it is another application's.
    """
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


def apply(connection: sqlite3.Connection, path: str, pending: Schema) -> None:
    """Bring the database to the version of the last of these, but for those that another process has just applied.

    Raises:
        errors.StoreError: that is not possible; nothing was changed.
    """
    name = ""
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        for migration in pending:
            name = migration.name
            for statement in _statements(migration.script) if migration.number > version else ():
                connection.execute(statement)
        if pending and pending[-1].number > version:
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {pending[-1].number}")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if is_about_the_content(error):
            raise errors.StoreCorrupt(
                f"{path}: the migration {name} does not fit what is in the database ({error}); nothing was changed. "
                "If its tables were changed by hand, change them back, or restore a backup"
            ) from error
        raise for_people(error, path) from error


def script_of(pending: Schema, version: int) -> str:
    """What `apply` does to a database of that version, as a script for the program `sqlite3`."""
    parts = [] if version else ["PRAGMA journal_mode = WAL;\n"]
    parts += ["PRAGMA synchronous = FULL;\nBEGIN IMMEDIATE;\n"]
    parts += [f"-- {migration.name}\n{migration.script.rstrip()}\n" for migration in pending]
    ends = f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {pending[-1].number};\nCOMMIT;\n"
    return "\n".join([*parts, ends])


def _statements(script: str) -> Iterator[str]:
    """The statements one by one: `executescript` would commit the transaction they belong to."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""

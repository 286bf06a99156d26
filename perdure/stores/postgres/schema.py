"""The schema's versions: numbered SQL files, and the functions that belong to the newest of them.

What is missing is applied in one transaction, which holds an advisory lock: of members that start together one does it, and
the others find it done.
"""

from importlib import resources

import psycopg

NAMESPACE = "perdure"
_LOCK = 0x50445552  # "PDUR"


def scripts() -> list[str]:
    """The files of the schema, in order."""
    return _texts("schema")


def routines() -> list[str]:
    """The functions, which are made anew with each version."""
    return _texts("routines")


def _texts(folder: str) -> list[str]:
    files = (resources.files("perdure.stores.postgres") / folder).iterdir()
    return [file.read_text(encoding="utf-8") for file in sorted(files, key=lambda file: file.name)]


def migrate(address: str) -> int:
    """Bring the schema up to date.

    Returns: how many files were applied.
    """
    with psycopg.connect(address) as connection:  # one transaction
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = version_of(connection)
        pending = scripts()[version:]
        if not pending:
            return 0
        if not version:
            connection.execute("CREATE SCHEMA IF NOT EXISTS perdure")
            connection.execute("CREATE TABLE perdure.version (number integer NOT NULL)")
            connection.execute("INSERT INTO perdure.version VALUES (0)")
        for script in (*pending, *routines()):
            connection.execute(script.encode())  # a whole file at once: without parameters that may be many statements
        connection.execute("UPDATE perdure.version SET number = %s", (version + len(pending),))
        return len(pending)


def version_of(connection: "psycopg.Connection[tuple[object, ...]]") -> int:
    """The version a database is at, 0 of one without a schema."""
    there = connection.execute("SELECT to_regclass('perdure.version')").fetchone()
    if there is None or there[0] is None:
        return 0
    found = connection.execute("SELECT number FROM perdure.version").fetchone()
    return 0 if found is None else int(str(found[0]))

"""The schema's versions: numbered SQL files, and the functions that belong to the newest of them.

What is missing is applied in one transaction, which holds an advisory lock: of members that start together one does it, and
the others find it done. Members of the version before go on meanwhile and afterwards: so a migration only adds, and what nobody
needs any more is dropped by a later one. Each file says, in its first line, the oldest schema whose code it still serves; older
code is refused from then on. A function whose parameters change gets a second form, and the old one stays as long as the code that
calls it is served. Files that end in `.online.sql` build indexes while others write (CREATE INDEX CONCURRENTLY): each of their
statements is a transaction of its own, and can be said again.
"""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

import psycopg
from psycopg import sql

from perdure import errors
from perdure.stores.numbering import numbered
from perdure.stores.postgres.place import Place
from perdure.stores.postgres.trouble import told_to_people

_LOCK = 0x50445552  # "PDUR"
_SERVES = re.compile(r"-- serves: (\d+)\n")
_INVALID = (
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = 'perdure' AND NOT i.indisvalid ORDER BY 1"
)
LOCK_PAUSE_SECONDS = 0.05
ENCODING = "UTF8"
_MAKE = """\
CREATE SCHEMA IF NOT EXISTS perdure;
CREATE TABLE perdure.version (number integer NOT NULL, serves integer NOT NULL);
INSERT INTO perdure.version VALUES (0, 0);
"""


class Migration(NamedTuple):
    """One file. `name` is that of the file, without its ending; `serves` the oldest schema whose code can go on with this one."""

    number: int
    name: str
    script: str
    serves: int
    online: bool


Schema = Sequence[Migration]
"""All versions, from the first to the newest."""


class Version(NamedTuple):
    """What a database has: 0 of one without a schema."""

    number: int
    serves: int


def schema(folder: Traversable | None = None) -> Schema:
    """The migrations in a folder, in order; without one, those of this version of Perdure.

    Raises:
        ValueError: their numbers are not 1, 2, 3 and so on, or one does not say whom it serves.
    """
    return numbered(folder or resources.files("perdure.stores.postgres") / "schema", _migration)


def _migration(number: int, file: Traversable) -> Migration:
    name = file.name.removesuffix(".sql")
    script = file.read_text(encoding="utf-8")
    serves = _SERVES.match(script)
    if serves is None:
        raise ValueError(f"the first line of {file.name} must be like: -- serves: 1")
    return Migration(number, name.removesuffix(".online"), script, int(serves[1]), name.endswith(".online"))


def routines() -> list[str]:
    """The functions, which are made anew with each version."""
    files = (resources.files("perdure.stores.postgres") / "routines").iterdir()
    return [file.read_text(encoding="utf-8") for file in sorted(files, key=lambda file: file.name)]


def roles() -> str:
    """A script that makes roles with the least rights, and says what each of them may."""
    return (resources.files("perdure.stores.postgres") / "roles.sql").read_text(encoding="utf-8")


def script_of(pending: Schema, found: Version) -> str:
    """What `migrate` does to a database of that version, as a script for the program `psql`."""
    parts = [
        "\\set ON_ERROR_STOP on\n",
        f"BEGIN ISOLATION LEVEL READ COMMITTED;\nSELECT pg_advisory_xact_lock({_LOCK});\n",
    ]
    parts += [] if found.number else [_MAKE]
    for each in pending:
        parts += ["COMMIT;\n"] if each.online else []
        parts.append(f"-- {each.name}\n{each.script.rstrip()}\n")
        parts += (
            [f"BEGIN ISOLATION LEVEL READ COMMITTED;\nSELECT pg_advisory_xact_lock({_LOCK});\n"] if each.online else []
        )
    parts += [text.rstrip() + "\n" for text in routines()]
    parts += [f"{_noted(pending[-1])};\nCOMMIT;\n"] if pending else ["COMMIT;\n"]
    return "\n".join(parts)


def _noted(migration: Migration) -> str:
    return f"UPDATE perdure.version SET number = {migration.number}, serves = {migration.serves}"


def version(place: Place) -> Version:
    """The version a database is at. Nothing is changed.

    Raises:
        errors.StoreError: the server cannot be asked.
    """
    with told_to_people(place.shown), place.connect() as connection:
        return version_of(connection)


def version_of(connection: "psycopg.Connection[tuple[object, ...]]") -> Version:
    there = connection.execute("SELECT to_regclass('perdure.version')").fetchone()
    if there is None or there[0] is None:
        return Version(0, 0)
    found = connection.execute("SELECT number, serves FROM perdure.version").fetchone()
    return Version(0, 0) if found is None else Version(int(str(found[0])), int(str(found[1])))


def demand_known(place: Place, found: Version, known: Schema) -> None:
    """Raises errors.SchemaTooNew of a database that a newer Perdure has changed so that this one cannot go on with it."""
    newest = known[-1].number
    if found.number > newest and found.serves > newest:
        raise errors.SchemaTooNew(
            f"{place.shown} was brought to schema {found.number} by a newer Perdure, which serves code of schema {found.serves} "
            f"and newer; this one knows {newest}. Upgrade Perdure"
        )


def encoding_of(connection: "psycopg.Connection[tuple[object, ...]]") -> str:
    found = connection.execute("SHOW server_encoding").fetchone()
    return str(found[0]) if found else ""


def demand_encoding(place: Place, connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    """Raises errors.StoreUnreachable of a database that cannot hold every text."""
    encoding = encoding_of(connection)
    if encoding != ENCODING:
        raise errors.StoreUnreachable(
            f"{place.shown}: the encoding of the database is {encoding}, which does not hold every text; Perdure needs {ENCODING}: "
            "createdb --encoding=UTF8 --template=template0"
        )


def bring(place: Place, known: Schema | None = None, *, create: bool = True, upgrade: bool = True) -> Version:
    """See to it that a database has the schema of this version. Gives the version it had.

    Raises:
        errors.StoreNotFound: it has none, and none is to be made.
        errors.SchemaTooOld: it has an older one, and is not to be, or cannot be, changed by this user.
        errors.StoreError: the server cannot be asked, or a newer Perdure has the database.
    """
    known = known or schema()
    with told_to_people(place.shown), place.connect_soon() as connection:
        demand_encoding(place, connection)
        found = version_of(connection)
        demand_known(place, found, known)
        if found.number >= known[-1].number:
            return found
        if not found.number and not create:
            raise errors.StoreNotFound(
                f"{place.shown}: the database has no schema of Perdure; an engine makes it when it starts, and so do "
                "`perdure migrate` and Client(..., create=True)"
            )
        if found.number and not upgrade:
            raise _too_old(
                place, found, known, "bring it up to date with `perdure migrate`, or start an engine of this version"
            )
    try:
        with told_to_people(place.shown):
            _apply(place, known)
    except errors.StoreReadOnly as error:
        raise _too_old(
            place, found, known, "this user may not change it; run `perdure migrate` as one who may"
        ) from error
    return found


def _too_old(place: Place, found: Version, known: Schema, advice: str) -> errors.SchemaTooOld:
    has = f"schema {found.number}" if found.number else "no schema"
    return errors.SchemaTooOld(
        f"{place.shown} has {has}, and this version of Perdure needs {known[-1].number}; {advice}"
    )


def migrate(address: str) -> int:
    """Bring the schema at an address up to date.

    Returns: how many files were applied.
    """
    place = Place(address)
    return schema()[-1].number - bring(place).number


def _apply(place: Place, known: Schema) -> None:
    while True:
        with _locked(place) as connection:
            found = version_of(connection)
            pending = known[found.number :]
            if not pending:
                return
            if not found.number:
                connection.execute(_MAKE.encode())
            if not pending[0].online:
                together = _until_online(pending)
                for each in together:
                    connection.execute(each.script.encode())  # many statements at once, as there are no parameters
                if together[-1] is known[-1]:
                    for routine in routines():
                        connection.execute(routine.encode())
                connection.execute(_noted(together[-1]).encode())
                continue
            with place.connect() as other:  # which holds no lock that the index would wait for
                for name in invalid_indexes(
                    other
                ):  # a build that has failed leaves one, which IF NOT EXISTS takes for there
                    other.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS perdure.{}").format(sql.Identifier(name)))
                for statement in _statements(pending[0].script):
                    other.execute(statement.encode())
            if pending[0] is known[-1]:
                for routine in routines():
                    connection.execute(routine.encode())
            connection.execute(_noted(pending[0]).encode())


def invalid_indexes(connection: "psycopg.Connection[tuple[object, ...]]") -> list[str]:
    """Those whose building has failed: they cost, and serve nobody."""
    return [str(name) for (name,) in connection.execute(_INVALID)]


def _until_online(pending: Schema) -> list[Migration]:
    together: list[Migration] = []
    for each in pending:
        if each.online:
            break
        together.append(each)
    return together


@contextmanager
def _locked(place: Place) -> "Iterator[psycopg.Connection[tuple[object, ...]]]":
    """A transaction that excludes all others of this kind."""
    with place.connect() as connection:
        connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED  # what is read after the lock is new
        while True:
            with connection.transaction():
                taken = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,)).fetchone()
                if taken == (True,):
                    yield connection
                    return
            time.sleep(
                LOCK_PAUSE_SECONDS
            )  # with no statement open, whose end an index that is being built would wait for


def _statements(script: str) -> Iterator[str]:
    """Of a script without bodies of functions."""
    for statement in script.split(";\n"):
        if re.sub(r"--.*", "", statement).strip():
            yield statement

"""Brings a database to the newest schema, while members of the version before go on.

One does it at a time, which an advisory lock sees to; others that want the same find it done. Files are applied together in one
transaction, but for those that build indexes, which are on their own. Whatever is broken off is finished by the next one. The
functions, and the rights of the roles, come with the last file: until then a database is at the version before, for everybody.

Nobody is kept waiting: what is to be changed is locked for a moment only, and if somebody has it the transaction is undone and
tried again. Members whose code the new schema does not serve end with it, as all that they would still write is refused.
"""

import contextlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from perdure import errors
from perdure.stores.postgres.place import Place
from perdure.stores.postgres.schema import (
    INVALID,
    Migration,
    Schema,
    Version,
    demand_encoding,
    demand_known,
    invalid_indexes,
    rights,
    routines,
    schema,
    version_of,
)
from perdure.stores.postgres.standing_by import Tell, Waits, for_a_build, for_a_migration, to_the_log
from perdure.stores.postgres.trouble import told_to_people

LOCK = 0x50445552  # "PDUR"
LOCK_PAUSE_SECONDS = 0.05
AGAIN_SECONDS = 1.0
"""Between two tries members come to their turn."""

MOMENT_MS = 1_000
"""So long is waited for a table that is to be changed: whoever wants it after that waits, too."""

LOCKED_SECONDS = 60.0
"""How long it is tried again."""

_MAKE = """\
CREATE SCHEMA IF NOT EXISTS perdure;
CREATE TABLE perdure.version (number integer NOT NULL, serves integer NOT NULL, files integer NOT NULL);
INSERT INTO perdure.version VALUES (0, 0, 0);
"""
_END_UNSERVED = """\
LOCK TABLE perdure.members, perdure.workers IN ACCESS EXCLUSIVE MODE;
DELETE FROM perdure.workers WHERE member IN (SELECT id FROM perdure.members WHERE knows < {0});
UPDATE perdure.beats SET turn = 0 WHERE member IN (SELECT id FROM perdure.members WHERE alive AND knows < {0});
UPDATE perdure.members SET alive = false, handed_over = true WHERE alive AND knows < {0};
"""
_HAS_ROLES = """
SELECT count(DISTINCT r.rolname) = 3 FROM pg_namespace n, aclexplode(n.nspacl) a JOIN pg_roles r ON r.oid = a.grantee
WHERE n.nspname = 'perdure' AND r.rolname IN ('perdure_engine', 'perdure_client', 'perdure_reader')
"""
_BEING_BUILT = """
SELECT 1 FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE p.datname = current_database() AND n.nspname = 'perdure' LIMIT 1
"""
_IN_THE_WAY = """
SELECT a.pid, a.application_name, a.state, extract(epoch FROM now() - a.xact_start)::bigint FROM pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND EXISTS (
    SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE l.pid = a.pid AND l.granted AND n.nspname = 'perdure'
) ORDER BY a.xact_start LIMIT 1
"""


def bring(
    place: Place, known: Schema | None = None, *, create: bool = True, upgrade: bool = True, tell: Tell | None = None
) -> Version:
    """See to it that a database has the schema of this version. Gives the version it had. What it waits for is told; without `tell`
    it is in the log.

    Raises:
        errors.StoreNotFound: it has none, and none is to be made.
        errors.SchemaTooOld: it has an older one, and is not to be, or cannot be, changed by this user.
        errors.StoreError: the server cannot be asked, or a newer Perdure has the database.
    """
    known = known or schema()
    with told_to_people(place.shown), place.unhurried(soon=True) as connection:
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
            apply(place, known, tell=tell)
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

    Returns: how many versions further it is.
    """
    place = Place(address)
    return schema()[-1].number - bring(place).number


def apply(place: Place, known: Schema, patience: float = LOCKED_SECONDS, tell: Tell | None = None) -> None:
    """Apply what is missing.

    Raises:
        errors.StoreUnreachable: somebody else has locked what is to be changed, for longer than `patience` seconds.
        psycopg.Error: a file cannot be applied, or the server not be asked.
    """
    end = time.monotonic() + patience
    while True:
        try:
            if _step(place, known, tell or to_the_log(place.shown)):
                return
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
            if time.monotonic() > end:
                raise errors.StoreUnreachable(
                    f"{place.shown}: tables that are to be changed are in use{_in_the_way(place)}; end that transaction, and "
                    "migrate again. What was done already stays, and engines go on meanwhile"
                ) from error
            time.sleep(AGAIN_SECONDS)
        else:
            end = time.monotonic() + patience


def _step(place: Place, known: Schema, tell: Tell) -> bool:
    """One more part. Whether there is none any more."""
    with _locked(place, tell) as connection:
        found = version_of(connection)
        demand_known(place, found, known)
        if found.number >= known[-1].number:
            return True
        part = _next(known[found.files :])
        if part and part[0].online:
            with place.connect() as other:  # which holds no lock that the index would wait for
                _build(other, part[0], tell)
        for script in _scripts(part, found, known, connection.execute(_HAS_ROLES).fetchone() == (True,)):
            connection.execute(script.encode())  # many statements at once, as there are no parameters
        return False


def _next(pending: Schema) -> list[Migration]:
    """What is applied together next: files up to one that is online, or that alone. None are left of one that is only to get
    its functions."""
    if pending and pending[0].online:
        return [pending[0]]
    together: list[Migration] = []
    for each in pending:
        if each.online:
            break
        together.append(each)
    return together


def _scripts(part: Schema, found: Version, known: Schema, has_roles: bool) -> Iterator[str]:
    """What is done about a part in its transaction."""
    after = _after(part, found, known)
    if not found.files:
        yield _MAKE
    if found.number and after.serves > found.serves:
        yield _END_UNSERVED.format(after.serves)
    for each in part:
        if not each.online:
            yield f"-- {each.name}\n{each.script}"
    if after.number > found.number:
        yield from routines()
        if has_roles:
            yield rights()
    yield f"UPDATE perdure.version SET number = {after.number}, serves = {after.serves}, files = {after.files}"


def _after(part: Schema, found: Version, known: Schema) -> Version:
    """What the database is at then."""
    files, serves = (part[-1].number, part[-1].serves) if part else (found.files, found.serves)
    newest = known[-1].number
    return Version(newest if files >= newest else found.number, serves, files)


def _build(connection: "psycopg.Connection[tuple[object, ...]]", migration: Migration, tell: Tell) -> None:
    connection.execute("SET statement_timeout = 0")
    connection.execute("SET lock_timeout = 0")
    try:
        waits = Waits(tell, for_a_build)
        while connection.execute(_BEING_BUILT).fetchone():  # by one that was killed: its server has not noticed yet
            waits.go_on(connection)
            time.sleep(LOCK_PAUSE_SECONDS)
        # A build that has failed leaves one, which IF NOT EXISTS takes for there.
        for name in invalid_indexes(connection):
            connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS perdure.{}").format(sql.Identifier(name)))
        for statement in _statements(migration.script):
            connection.execute(statement.encode())
    finally:
        with contextlib.suppress(psycopg.Error):
            connection.execute("RESET statement_timeout")  # a pooler may give it to somebody else
            connection.execute("RESET lock_timeout")


@contextmanager
def _locked(place: Place, tell: Tell) -> "Iterator[psycopg.Connection[tuple[object, ...]]]":
    """A transaction that excludes all others of this kind, however long it takes, and waits for a table for a moment only."""
    waits = Waits(tell, for_a_migration(LOCK))
    while True:
        with place.unhurried() as connection:
            taken = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (LOCK,)).fetchone()
            if taken == (True,):
                for setting in _settings():
                    connection.execute(setting.encode())
                yield connection
                return
            waits.go_on(connection)
        # With no statement open, whose end an index that is being built would wait for.
        time.sleep(LOCK_PAUSE_SECONDS)


def _settings() -> list[str]:
    return [
        f"SET LOCAL lock_timeout = {MOMENT_MS}",
        "SET LOCAL statement_timeout = 0",
        "SET LOCAL idle_in_transaction_session_timeout = 0",
    ]


def _in_the_way(place: Place) -> str:
    """Who has tables of ours for longest."""
    with place.unhurried() as connection:
        found = connection.execute(_IN_THE_WAY).fetchone()
    if found is None:
        return ""
    pid, name, state, seconds = found
    return f" by backend {pid} ({name or 'without a name'}, {state}), whose transaction is open for {seconds} s"


def _statements(script: str) -> Iterator[str]:
    """Of a script without bodies of functions."""
    for statement in script.split(";\n"):
        if re.sub(r"--.*", "", statement).strip():
            yield statement


def script_for(place: Place, known: Schema) -> str:
    """What `bring` would do to a database now, as a script for the program `psql`.

    Raises:
        errors.StoreError: the server cannot be asked.
    """
    with told_to_people(place.shown), place.unhurried() as connection:
        return script_of(known, version_of(connection), connection.execute(_HAS_ROLES).fetchone() == (True,))


def script_of(known: Schema, found: Version, has_roles: bool = False) -> str:
    """The same for a database of that version."""
    parts = [
        "-- If it stops in the middle: say `perdure migrate`, or make this script anew.",
        "\\set ON_ERROR_STOP on",
        "SET statement_timeout = 0;",
    ]
    while found.number < known[-1].number:
        part = _next(known[found.files :])
        if part and part[0].online:
            parts += ["SET lock_timeout = 0;", f"-- {part[0].name}\n{part[0].script}", _DEMAND_VALID]
        parts += ["BEGIN ISOLATION LEVEL READ COMMITTED;", *(f"{setting};" for setting in _settings()), _guard(found)]
        parts += [script.rstrip().removesuffix(";") + ";" for script in _scripts(part, found, known, has_roles)]
        parts.append("COMMIT;")
        found = _after(part, found, known)
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _guard(found: Version) -> str:
    """That nobody does the same, or has done it."""
    return _GUARD % (LOCK, _GUARD_FILES % found.files if found.files else "")


_GUARD = """\
DO $guard$ BEGIN
    IF NOT pg_try_advisory_xact_lock(%d) THEN
        RAISE EXCEPTION 'somebody else is just bringing this schema up to date' USING HINT = 'Look again when that is done.';
    END IF;%s
END $guard$;"""
_GUARD_FILES = """
    IF (SELECT files FROM perdure.version) <> %d THEN
        RAISE EXCEPTION 'the schema has changed since this script was made' USING HINT = 'Make it anew: perdure migrate --sql';
    END IF;"""
_DEMAND_VALID = f"""\
DO $guard$ BEGIN
    IF EXISTS ({INVALID}) THEN
        RAISE EXCEPTION 'an index could not be built: %', ({INVALID} LIMIT 1) USING HINT = 'DROP INDEX CONCURRENTLY it, and go on.';
    END IF;
END $guard$;"""

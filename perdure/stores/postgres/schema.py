"""The schema's versions: numbered SQL files, and the functions that belong to the newest of them.

Members of the version before go on while a database gets a new schema (`migrating.py`), and afterwards. What follows for a file:

- It only adds: columns with a default, tables, functions. What nobody needs any more is dropped by a later one. It says, in its
  first line, the oldest schema whose code it still serves; older code is refused from then on.
- It takes no time: what is changed by one is locked until all of it is done. Rows are filled in by the code that comes with it.
- Files that end in `.online.sql` build indexes while others write (CREATE INDEX CONCURRENTLY IF NOT EXISTS): each of their statements
  is a transaction of its own, and can be said again.

And for the functions in `routines/`, which are made anew with each version: code that is served calls them as before. One whose
parameters or result change gets a second form beside the old one, and no defaults, as a call must not fit both; the old form
stays until a file drops it that does not serve its callers any more. (The functions that applications call, `perdure.start`, are
dropped and made anew by the file: within its transaction nobody sees that.) What old forms call, by a name that stays, may
change only so that it serves them, too.
"""

import re
from collections.abc import Sequence
from importlib import resources
from importlib.resources.abc import Traversable
from typing import NamedTuple

import psycopg

from perdure import errors
from perdure.stores.numbering import numbered
from perdure.stores.postgres.place import Place
from perdure.stores.postgres.trouble import told_to_people

_SERVES = re.compile(r"-- serves: (\d+)\n")
ENCODING = "UTF8"


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
    """What a database has: code that knows no newer schema than `number`, and none older than `serves`, finds in it what it needs;
    0 of one without a schema. `files`: how many were applied. That is more while a migration is not at its end, or was broken
    off: the functions of the newest are still to come then."""

    number: int
    serves: int
    files: int


NONE = Version(0, 0, 0)


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


def rights() -> str:
    """What each role may."""
    return (resources.files("perdure.stores.postgres") / "rights.sql").read_text(encoding="utf-8")


def roles() -> str:
    """A script for the program `psql` that makes roles with the least rights, and says what each of them may."""
    made = (resources.files("perdure.stores.postgres") / "roles.sql").read_text(encoding="utf-8")
    return f"{made}\n{rights()}\nCOMMIT;\n"


def version(place: Place) -> Version:
    """The version a database is at. Nothing is changed.

    Raises:
        errors.StoreError: the server cannot be asked.
    """
    with told_to_people(place.shown), place.unhurried() as connection:
        return version_of(connection)


def version_of(connection: "psycopg.Connection[tuple[object, ...]]") -> Version:
    there = connection.execute("SELECT to_regclass('perdure.version')").fetchone()
    if there is None or there[0] is None:
        return NONE
    found = connection.execute("SELECT number, serves, files FROM perdure.version").fetchone()
    return NONE if found is None else Version(*(int(str(each)) for each in found))


def demand_known(place: Place, found: Version, known: Schema) -> None:
    """Raises errors.SchemaTooNew of a database that a newer Perdure has changed so that this one cannot go on with it."""
    newest = known[-1].number
    if found.serves > newest:
        raise errors.SchemaTooNew(
            f"{place.shown} was brought to schema {found.files} by a newer Perdure, which serves code of schema {found.serves} "
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


def invalid_indexes(connection: "psycopg.Connection[tuple[object, ...]]") -> list[str]:
    """Those whose building has failed: they cost, and serve nobody."""
    return [str(name) for (name,) in connection.execute(INVALID)]


INVALID = (
    "SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = 'perdure' AND NOT i.indisvalid ORDER BY 1"
)

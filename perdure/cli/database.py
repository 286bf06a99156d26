"""Which database a command works on, and opening it. Reading commands never create one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from perdure.cli.options import Settings
from perdure.cli.problems import NOT_FOUND, UNREACHABLE, USAGE, Problem, guess
from perdure.stores import addresses

DEFAULT = "sqlite:///perdure.db"


class Database(NamedTuple):
    """`path` is None unless it is a file. `chosen_by` says where the address came from."""

    address: str
    path: Path | None
    chosen_by: str

    @property
    def shown(self) -> str:
        """The address without the password it may have."""
        return addresses.shown(self.address)


def find(settings: Settings) -> Database:
    """By --db, then PERDURE_DB, then perdure.toml or pyproject.toml here or above, then the default."""
    if settings.db:
        return _database(settings.db, Path.cwd(), settings.db_option)
    if os.environ.get("PERDURE_DB"):
        return _database(os.environ["PERDURE_DB"], Path.cwd(), "PERDURE_DB")
    for folder in (Path.cwd(), *Path.cwd().parents):
        for name in ("perdure.toml", "pyproject.toml"):
            address = _configured(folder / name)
            if address:
                return _database(address, folder, str(folder / name))
    return _database(DEFAULT, Path.cwd(), "default")


def _configured(file: Path) -> str | None:
    if not file.is_file():
        return None
    import tomllib

    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as error:
        if file.name == "pyproject.toml":
            return None
        raise Problem(f"{file} cannot be read", USAGE, [str(error)]) from error
    table = content.get("tool", {}).get("perdure", {}) if file.name == "pyproject.toml" else content
    address = table.get("db") if isinstance(table, dict) else None
    if address is not None and not isinstance(address, str):
        raise Problem(f"db in {file} is no text", USAGE, [], 'write  db = "sqlite:///orders.db"')
    return address


def _database(address: str, folder: Path, chosen_by: str) -> Database:
    if "://" not in address:
        address = f"sqlite:///{address}"
    scheme, _, rest = address.partition("://")
    if scheme in ("postgresql", "postgres"):
        return Database(address, None, chosen_by)
    if scheme != "sqlite":
        raise Problem(
            f"{scheme}:// is no database this version can open",
            USAGE,
            [f"chosen by {chosen_by}"],
            "use  sqlite:///file.db  (relative),  sqlite:////absolute/file.db  or  postgresql://user@host/name",
        )
    name = rest.removeprefix("/")
    if not name or ":memory:" in name:
        raise Problem(f"{address} names no file", USAGE, [f"chosen by {chosen_by}"], "write it as  sqlite:///orders.db")
    path = Path(os.path.expanduser(name))
    if not path.is_absolute():
        path = folder / path
    relative = os.path.relpath(path)
    short = relative if not relative.startswith("..") else str(path)
    return Database(f"sqlite:///{short}", path, chosen_by)


@contextmanager
def opened(settings: Settings) -> Iterator[Any]:
    """A connection to the database.

    Raises:
        Problem: there is no such database.
    """
    database = find(settings)
    demand(database)
    if settings.verbose:
        settings.narrate([(f"database {database.shown}  (by {database.chosen_by})", "dim")])
    client = Connection(database.address)
    try:
        yield client
    finally:
        client.close()


def demand(database: Database) -> None:
    """Refuse a database that does not exist.

    Raises:
        Problem: there is no such file.
    """
    from perdure.stores.sqlite.missing import databases_in

    path = database.path
    if path is None or path.is_file():
        return
    what = "is a directory" if path.is_dir() else "does not exist"
    facts = [f"looked for {path}", f"chosen by {database.chosen_by}"]
    others = [os.path.relpath(path.parent / name) for name in databases_in(str(path.parent))]
    if others:
        facts.append(f"databases there: {', '.join(others)}")
    meant = others[0] if len(others) == 1 else guess(path.name, others)
    creates = "" if others else ";  perdure migrate  creates one, and so does an engine"
    hint = f"name it with  --db {meant or 'sqlite:///file.db'}  or PERDURE_DB{creates}"
    raise Problem(f"database {database.shown} {what}", UNREACHABLE, facts, hint)


class Connection:
    """The store, and verbs on its runs for commands that need them: reading does not wait for asyncio to be imported."""

    def __init__(self, address: str) -> None:
        from perdure.stores.open import open_store

        self.store = open_store(address, create=False, migrate=False)

    @cached_property
    def verbs(self) -> Any:
        from perdure import Client

        return Client(self.store)

    def close(self) -> None:
        if "verbs" in vars(self):
            self.verbs.close()
        else:
            self.store.admin.close()


def stored_run(client: Any, id: str, run_id: str | None = None) -> Any:
    """A run as it lies in the store: the newest of its id, or the one whose `run_id` begins so.

    Raises:
        Problem: it is gone, or there is no such run.
    """
    views = client.store.views
    row = views.row(id) if run_id is None else _certain(views, id, run_id)
    stored = None if row is None else views.stored(row.key)
    if stored is None:
        raise Problem(f"run {id!r} is gone", NOT_FOUND)
    return stored


def _certain(views: Any, id: str, run_id: str) -> Any:
    from perdure.stores.base import RunFilter

    runs = [row for row in views.search(RunFilter(id_prefix=id, limit=RUNS_OF_AN_ID)) if row.id == id]
    fitting = [row for row in runs if row.run_id.hex().startswith(run_id.lower())]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(row.run_id.hex()[:8] for row in runs[:10])
    what = f"no run of {id!r} has a run_id that begins with" if not fitting else f"several runs of {id!r} begin with"
    raise Problem(f"{what} {run_id!r}", NOT_FOUND, [f"run ids, the newest first: {known}"])


RUNS_OF_AN_ID = 1_000
"""Among so many runs, the newest of those whose ids begin with one, a certain run of that id is sought."""


def description(settings: Settings, client: Any, stored: Any) -> Any:
    """A stored run as it is told to people."""
    from perdure.client.description import describe

    views = client.store.views
    now = int(settings.now().timestamp() * 1e6) * 1000
    return describe(stored, views.members, lambda digest: views.blob(stored.run.key, digest), now)

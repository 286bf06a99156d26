"""`perdure migrate`: the schema of a database, made or brought up to date before any engine starts."""

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import click

from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import ERROR, OK, REFUSED, USAGE, Problem

FIELDS = ("database", "from", "to", "newest", "migrations")


class Way(NamedTuple):
    """From one version of the schema to another. `newest` is what this version of Perdure needs."""

    database: str
    found: int
    target: int
    newest: int
    pending: Any

    def record(self, state: str) -> dict[str, Any]:
        steps = [{"number": each.number, "name": each.name, "state": state} for each in self.pending]
        ends = self.target if state == "applied" else self.found
        return {"database": self.database, "from": self.found, "to": ends, "newest": self.newest, "migrations": steps}


class File:
    """A database in a file, by the names this command uses."""

    def __init__(self, where: Any) -> None:
        from perdure.stores.sqlite import migrations

        self.shown = where.shown
        self.known: Any = migrations.schema()
        self._path = str(where.path)

    def found(self) -> int:
        from perdure.stores.sqlite import opening

        found = opening.version(self._path)
        opening.demand_known(self.shown, found, self.known)
        return found

    def script(self, way: Way) -> str:
        from perdure.stores.sqlite import migrations

        return migrations.script_of(way.pending, way.found)

    def apply(self, way: Way) -> int:
        from perdure.stores.sqlite import opening

        return opening.upgrade(self._path, self.known[: way.target])


class Server:
    """The same of a database of a PostgreSQL server."""

    def __init__(self, where: Any, tell: Callable[[str], object]) -> None:
        from perdure.stores.postgres import schema
        from perdure.stores.postgres.place import Place

        self.shown = where.shown
        self.known: Any = schema.schema()
        self._place = Place(where.address)
        self._tell = tell

    def found(self) -> int:
        from perdure.stores.postgres import schema

        found = schema.version(self._place)
        schema.demand_known(self._place, found, self.known)
        return min(found.number, self.known[-1].number)  # a newer one that serves this version is as good

    def script(self, way: Way) -> str:
        from perdure.stores.postgres import migrating

        return migrating.script_for(self._place, self.known)

    def apply(self, way: Way) -> int:
        from perdure.stores.postgres import migrating

        return migrating.bring(self._place, self.known, tell=self._tell).number


@click.command(cls=Command)
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 if migrations are pending.")
@click.option("--sql", is_flag=True, help="Change nothing; print the statements, for sqlite3 or psql.")
@click.option("--roles", is_flag=True, help="Change nothing; print roles with the least rights, for psql.")
@click.option("--to", type=click.IntRange(1), metavar="N", help="Stop at this version of the schema of a file.")
@options(json=True, quiet="Names of migrations only.")
@click.pass_obj
def migrate(settings: Settings, check: bool, sql: bool, roles: bool, to: int | None) -> int:
    """Bring the schema of the database up to date; make the database, or in PostgreSQL the schema, if there is none.

    An engine does the same when it starts. This command does it ahead of time, as a step of a deployment, and as a user who
    may. A file is changed only while no engine owns it. In PostgreSQL engines of the version before go on meanwhile and
    afterwards. There is no way back to an older schema: make a copy before.

    Example: perdure migrate --check
    """
    from perdure.cli import database

    if check + sql + roles > 1:
        named = " and ".join(f"--{name}" for name, given in (("check", check), ("sql", sql), ("roles", roles)) if given)
        raise Problem(f"{named} exclude each other", USAGE, [], "perdure migrate --sql  prints what is pending")
    where = database.find(settings)
    if roles or (to is not None and where.path is None):
        _demand_kind(where, roles)
    if roles:
        from perdure.stores.postgres import schema

        click.echo(schema.roles(), nl=False)
        return OK
    if check:
        database.demand(where)
    if settings.verbose:
        settings.narrate([(f"database {where.shown}  (by {where.chosen_by})", "dim")])
    place = Server(where, settings.narrate) if where.path is None else File(where)
    way = _way(place, place.found(), to)
    if sql:
        if way.pending:
            click.echo(place.script(way), nl=False)
        _narrate(settings, way, "pending")
        return OK
    if not check and way.pending:
        way = _way(place, place.apply(way), to)
    _tell(settings, way, "pending" if check else "applied")
    return ERROR if check and way.pending else OK


def _demand_kind(where: Any, roles: bool) -> None:
    """Refuse what makes sense with the other kind of database only.

    Raises:
        Problem: it is of that kind.
    """
    if roles and where.path is not None:
        raise Problem("a file has no roles", USAGE, [f"chosen by {where.chosen_by}: {where.shown}"],
                      "name a server with  --db postgresql://host/name")  # fmt: skip
    if not roles:
        raise Problem("--to is for databases in files", USAGE,
                      ["in PostgreSQL the functions of this version belong to its newest schema"], "leave it out")  # fmt: skip


def _way(place: File | Server, found: int, to: int | None) -> Way:
    """What has to be done.

    Raises:
        Problem: there is no such way.
    """
    schema = place.known
    newest = schema[-1].number
    if to is not None and to > newest:
        raise Problem(f"there is no schema {to}", USAGE, [f"this version of Perdure knows 1 to {newest}"], "")
    if to is not None and to < found:
        raise Problem(
            f"{place.shown} has schema {found}, and there is no way back to {to}",
            REFUSED,
            ["old rows cannot be made of new ones without losing what only the new ones hold"],
            f"restore the copy made before the migration, and use the version of Perdure that has schema {to}",
        )
    target = to or newest
    return Way(place.shown, found, target, newest, [each for each in schema if found < each.number <= target])


def _tell(settings: Settings, way: Way, state: str) -> None:
    from perdure.cli import output

    if settings.json:
        output.write_json(output.selected(way.record(state), output.fields(settings.json, FIELDS)))
        return
    for migration in way.pending:
        if settings.quiet:
            click.echo(migration.name)
        elif sys.stdout.isatty():
            icon, style = ("✓ ", "completed") if state == "applied" else ("◌ ", "queued")
            settings.write([(icon, style), (migration.name, "")])
        else:
            click.echo(f"{state}\t{migration.name}")
    if not settings.quiet:
        _narrate(settings, way, state)


def _narrate(settings: Settings, way: Way, state: str) -> None:
    count = len(way.pending)
    if not count:
        beyond = "" if way.found == way.newest else f", and the newest is {way.newest}"
        settings.narrate([(f"{way.database} has schema {way.found}{beyond}: nothing to do", "dim")])
    elif state == "applied":
        was = f"schema {way.found} → {way.target}" if way.found else f"made with schema {way.target}"
        settings.narrate([(f"{way.database}: {was}", "dim")])
    else:
        pending = "1 migration is pending" if count == 1 else f"{count} migrations are pending"
        settings.narrate([(f"{way.database} has schema {way.found} of {way.newest}: {pending}", "retrying")])

"""`perdure migrate`: the schema of a database, made or brought up to date before any engine starts."""

import sys
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


@click.command(cls=Command)
@click.option("--check", is_flag=True, help="Change nothing; exit code 1 if migrations are pending.")
@click.option("--sql", is_flag=True, help="Change nothing; print the statements, for the program sqlite3.")
@click.option("--to", type=click.IntRange(1), metavar="N", help="Stop at this version of the schema.")
@options(json=True, quiet="Names of migrations only.")
@click.pass_obj
def migrate(settings: Settings, check: bool, sql: bool, to: int | None) -> int:
    """Bring the schema of the database up to date; make the database if there is none.

    An engine does the same when it starts. This command does it ahead of time, as a step of a deployment. All migrations
    are applied in one transaction, and only while no engine owns the database. There is no way back to an older
    schema: make a copy of the file before, while no engine runs.

    Example: perdure migrate --check
    """
    from perdure.cli import database
    from perdure.stores.sqlite import migrations, opening

    if check and sql:
        raise Problem(
            "--check and --sql exclude each other", USAGE, [], "perdure migrate --sql  prints what is pending"
        )
    where = database.find(settings)
    if check:
        database.demand(where)
    if settings.verbose:
        settings.narrate([(f"database {where.address}  (by {where.chosen_by})", "dim")])
    assert where.path is not None  # every database is a file yet
    way = _way(where.address, opening.version(str(where.path)), migrations.schema(), to)
    if sql:
        if way.pending:
            click.echo(migrations.script_of(way.pending, way.found), nl=False)
        _narrate(settings, way, "pending")
        return OK
    if not check and way.pending:
        before = opening.upgrade(str(where.path), migrations.schema()[: way.target])
        way = _way(where.address, before, migrations.schema(), to)
    _tell(settings, way, "pending" if check else "applied")
    return ERROR if check and way.pending else OK


def _way(address: str, found: int, schema: Any, to: int | None) -> Way:
    """What has to be done.

    Raises:
        Problem: there is no such way.
        errors.SchemaTooNew: a newer version has written the database.
    """
    from perdure.stores.sqlite.opening import demand_known

    demand_known(address, found, schema)
    newest = schema[-1].number
    if to is not None and to > newest:
        raise Problem(f"there is no schema {to}", USAGE, [f"this version of Perdure knows 1 to {newest}"], "")
    if to is not None and to < found:
        raise Problem(
            f"{address} has schema {found}, and there is no way back to {to}",
            REFUSED,
            ["old rows cannot be made of new ones without losing what only the new ones hold"],
            f"restore the copy made before the migration, and use the version of Perdure that has schema {to}",
        )
    target = to or newest
    return Way(address, found, target, newest, [each for each in schema if found < each.number <= target])


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

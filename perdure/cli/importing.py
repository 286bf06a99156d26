"""`perdure import`: exported runs back into a database."""

import io
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import ERROR, NOT_FOUND, OK, Problem

FIELDS = ("id", "run_id", "workflow", "status", "events", "fate")


@click.command(cls=Command, name="import")
@click.argument("sources", nargs=-1, required=True, metavar="FILE|FOLDER|-...")
@click.option("--store", metavar="URL", help="The database; the same as --db.")
@click.option("--new-ids", is_flag=True, help="Under ids of their own, beside runs that have these.")
@click.option("--running", is_flag=True, help="Open runs go on at once; else they are blocked until they are released.")
@options(json=True, quiet="Ids only.")
@click.pass_obj
def import_(settings: Settings, sources: tuple[str, ...], store: str | None, new_ids: bool, running: bool) -> int:
    """Take runs that  perdure export  has written into a database: all of them, or none.

    A run that has ended comes as it is. One that is open comes blocked, since it may go on where it was exported:  perdure
    retry RUN  lets it go on here, and so does --running. A run that is here already is left alone, so the same import may be
    made again; an id that another run has is refused.

    Example: perdure import order-1.json --store sqlite:///copy.db
    """
    from perdure import errors
    from perdure.cli import output
    from perdure.cli.database import opened
    from perdure.client.importing import import_runs

    if store is not None:
        settings.db, settings.db_option = store, "--store"
    chosen = output.fields(settings.json, FIELDS)
    runs = _read(sources)
    with opened(settings) as client:
        try:
            imported = import_runs(client.store, runs, new_ids=new_ids, running=running)
        except errors.RunExists as error:
            raise Problem(str(error).partition("; ")[0], ERROR, [], "--new-ids, or another database") from error
        except errors.ExportUnreadable as error:
            raise Problem(str(error), ERROR, ["nothing was imported"]) from error
    if settings.json:
        import msgspec

        output.write_json([output.selected(msgspec.to_builtins(each), chosen) for each in imported])
    elif settings.quiet:
        for each in imported:
            click.echo(each.id)
    else:
        _tell(settings, imported)
    return OK


def _read(sources: tuple[str, ...]) -> list[tuple[str, Any]]:
    """All runs of the sources; nothing is imported if one of them cannot be read."""
    from perdure import errors
    from perdure.client.export_files import runs_in

    found: list[tuple[str, Any]] = []
    for source in sources:
        try:
            if source == "-":
                found += _stdin()
            else:
                found += list(runs_in(Path(source)))
        except errors.ExportUnreadable as error:
            raise Problem(str(error), NOT_FOUND) from error
    for _, run in found:
        if isinstance(run, errors.ExportUnreadable):
            raise Problem(str(run), ERROR, ["nothing was imported"])
    return found


def _stdin() -> list[tuple[str, Any]]:
    """The runs of standard input, which is kept in a file as long as somebody may read what is in streams."""
    from perdure.client.export_files import runs_of

    buffer = getattr(sys.stdin, "buffer", None)
    kept = tempfile.NamedTemporaryFile()  # noqa: SIM115  it goes with those who may read it
    shutil.copyfileobj(io.BytesIO(sys.stdin.read().encode()) if buffer is None else buffer, kept)
    kept.flush()
    kept.seek(0)
    return list(runs_of(kept, "standard input", lambda: open(kept.name, "rb")))  # type: ignore[arg-type]


def _tell(settings: Settings, imported: list[Any]) -> None:
    from perdure.cli.lines import clean
    from perdure.cli.tokens import token

    for each in imported:
        icon, style = token(each.status)
        what = f"{each.events:,} events" if each.fate == "imported" else "was here already"
        settings.write(
            [
                (f"{icon} {each.status}", style),
                ("  ", ""),
                (clean(each.id), "bold"),
                (f"  {clean(each.workflow)}  {what}", ""),
            ]
        )
    new = sum(each.fate == "imported" for each in imported)
    settings.narrate([(f"{new:,} of {len(imported):,} runs imported", "dim")])

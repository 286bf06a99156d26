"""`perdure export`: runs as JSON documents, into a file, a folder or standard output."""

import os
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click

from perdure.cli import picking
from perdure.cli.completion import run_ids
from perdure.cli.filters import filtered
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import ERROR, OK, USAGE, Problem
from perdure.cli.progress import Progress
from perdure.cli.sizes import size


@click.command(cls=Command)
@click.argument("runs", nargs=-1, metavar="[RUN...]", shell_complete=run_ids)
@click.option("-o", "--output", metavar="FILE|FOLDER/|-", default="-", help="Where to; - is standard output.")
@click.option("--redact", is_flag=True, help="Without values, messages and logs; cannot be replayed.")
@click.option(
    "--no-streams", is_flag=True, help="Without what was written to streams; cannot be imported, if there is any."
)
@click.option("--run-id", metavar="HEX", help="An earlier run of the id, by the beginning of its run_id.")
@click.option("--format", type=click.Choice(["perdure"]), default="perdure", help="Form of the documents.")
@filtered
@picking.EVERY
@options(quiet="No word about what was written.")
@click.pass_obj
def export(settings: Settings, runs: tuple[str, ...], output: str, redact: bool, no_streams: bool,
           run_id: str | None, format: str, state: tuple[str, ...], workflow: str | None, since_: str | None,
           attributes: tuple[str, ...], all_: bool) -> int:  # fmt: skip
    """Write runs as JSON: all that is needed to replay them with other code, or to look at them elsewhere.

    RUN is an id, the unique beginning of one, @last, or - to read ids from standard input; a filter picks many. One run is
    a document of many lines, several are a document per line, each followed by lines with what is in its streams; into a
    folder (it ends with /) goes a file per run.

    --redact leaves out arguments, results, streams, messages of exceptions, logs and names of machines. Ids, names, times and
    numbers stay.

    Example: perdure export --state failed -o failures/
    """
    from perdure.cli.database import opened

    pick = picking.Pick(runs, state, workflow, since_, all_, attributes)
    pick.demand("perdure export")
    if run_id is not None and len(runs) != 1:
        raise Problem("--run-id is about one id", USAGE, [], "perdure export RUN --run-id HEX")
    with opened(settings) as client, Progress(settings, "exporting", picking.count(settings, client, pick)) as progress:
        found = _exported(settings, client, _stored(settings, client, pick, run_id), redact, no_streams, progress)
        if output == "-":
            return _to_stdout(settings, found)
        if output.endswith(os.sep) or Path(output).is_dir():
            return _to_folder(settings, Path(output), found, progress)
        return _to_file(settings, Path(output), found, progress)


def _stored(settings: Settings, client: Any, pick: picking.Pick, run_id: str | None) -> Iterator[Any]:
    from perdure.cli import database, selection

    if run_id is not None:
        yield database.stored_run(client, selection.one(client, settings, pick.runs[0]), run_id)
        return
    for row in picking.rows(settings, client, pick):
        stored = client.store.views.stored(row.key)
        if stored is not None:
            yield stored


def _exported(
    settings: Settings, client: Any, found: Iterator[Any], redact: bool, no_streams: bool, progress: Progress
) -> Iterator[Any]:
    from perdure.client.export import exported
    from perdure.client.redaction import redacted

    for stored in found:
        run = exported(client.store.views, stored, settings.now(), None if no_streams else client.store.streams)
        yield redacted(run) if redact else run
        progress.step()


class Tally:
    """How much was written."""

    def __init__(self) -> None:
        self.runs = self.events = self.bytes = 0

    def count(self, run: Any, parts: Iterable[bytes]) -> Iterator[bytes]:
        self.runs += 1
        self.events += len(run.events)
        for data in parts:
            self.bytes += len(data)
            yield data

    def tell(self, settings: Settings, progress: Progress, place: str) -> int:
        """Say it, to a person; a pipe was told the names of the files. The exit code."""
        progress.wipe()
        if not self.runs:
            settings.narrate("no run fits, nothing was written")
        elif not settings.quiet:
            runs = "1 run" if self.runs == 1 else f"{self.runs:,} runs"
            text = f"{place}  {runs}, {self.events:,} events, {size(self.bytes)}"
            if sys.stdout.isatty():
                settings.write([("✓ ", "completed"), (text, "")])
            else:
                settings.narrate([(text, "dim")])
        return OK


def _documents(found: Iterator[Any], tally: Tally) -> Iterator[bytes]:
    """One run as a document of many lines, several as one per line, piece by piece."""
    first = next(found, None)
    if first is None:
        return
    second = next(found, None)
    if second is None:
        yield from tally.count(first, first.document())
        return
    for run in chain((first, second), found):
        yield from tally.count(run, run.lines())


def _to_stdout(settings: Settings, found: Iterator[Any]) -> int:
    tally = Tally()
    sys.stdout.flush()
    for data in _documents(found, tally):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    if not tally.runs:
        settings.narrate("no run fits, nothing was written")
    return OK


def _to_file(settings: Settings, path: Path, found: Iterator[Any], progress: Progress) -> int:
    tally = Tally()
    documents = _documents(found, tally)
    first = next(documents, None)
    if first is not None:
        _write(path, chain((first,), documents))
        _name(settings, progress, path)
    return tally.tell(settings, progress, str(path))


def _to_folder(settings: Settings, folder: Path, found: Iterator[Any], progress: Progress) -> int:
    """A file per run. Runs of one id have their run_id in the name, but for the first that comes: the newest."""
    from perdure.client.export_files import file_name

    tally = Tally()
    names: set[str] = set()
    for run in found:
        name = file_name(run.id)
        if name in names:
            name = file_name(f"{run.id}~{run.run.run_id.hex()[:12]}")
        names.add(name)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot(folder, error) from error
        _write(folder / name, tally.count(run, run.document()))
        _name(settings, progress, folder / name)
    return tally.tell(settings, progress, f"{folder}{os.sep}")


def _name(settings: Settings, progress: Progress, path: Path) -> None:
    """The file that was written, for whoever reads the pipe."""
    if not settings.quiet and not sys.stdout.isatty():
        progress.wipe()
        click.echo(str(path))


def _write(path: Path, parts: Iterable[bytes]) -> None:
    from perdure.client.export_files import write_whole

    try:
        write_whole(path, parts)
    except OSError as error:
        raise _cannot(path, error) from error


def _cannot(path: Path, error: OSError) -> Problem:
    missing = isinstance(error, FileNotFoundError)
    hint = f"make the folder first:  mkdir -p {path.parent}" if missing else "name another place with  -o"
    return Problem(f"{path} cannot be written", ERROR, [error.strerror or str(error)], hint)

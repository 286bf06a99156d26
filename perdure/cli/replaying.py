"""`perdure replay`: does the code at hand still do what recorded histories have? For a person, and for CI."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import click

from perdure.cli import picking
from perdure.cli.completion import files_and_run_ids
from perdure.cli.filters import filtered
from perdure.cli.options import CODEC, Command, Settings, options
from perdure.cli.problems import DIVERGED, ERROR, NOT_FOUND, OK, USAGE, Problem
from perdure.cli.progress import Progress
from perdure.cli.times import took
from perdure.cli.tokens import Line

FIELDS = ("name", "id", "workflow", "status", "events", "verdict", "after", "message", "hint", "recorded", "produced",
          "source", "seconds")  # fmt: skip


class Judged(NamedTuple):
    verdict: Any
    seconds: float

    def record(self) -> dict[str, Any]:
        verdict, block = self.verdict, self.verdict.block
        why = {name: getattr(block, name, "") for name in ("message", "hint", "recorded", "produced", "source")}
        return {
            "name": verdict.name,
            "id": verdict.id,
            "workflow": verdict.workflow,
            "status": verdict.status,
            "events": verdict.events,
            "verdict": verdict.kind,
            "after": verdict.after,
            **why,
            "seconds": round(self.seconds, 6),
        }


@click.command(cls=Command)
@click.argument("sources", nargs=-1, metavar="[RUN|FILE|FOLDER|-...]", shell_complete=files_and_run_ids)
@click.option("-m", "--module", "modules", multiple=True, required=True, metavar="MODULE",
              help="Where the code is: shop.workflows, or a path; may be repeated.")  # fmt: skip
@click.option("--junit", metavar="FILE", help="Write the verdicts as JUnit XML, too.")
@CODEC
@filtered
@picking.EVERY
@options(json=True, quiet="Names of those that do not fit only.")
@click.pass_obj
def replay(settings: Settings, sources: tuple[str, ...], modules: tuple[str, ...], junit: str | None,
           codec: str | None, state: tuple[str, ...], workflow: str | None, since_: str | None,
           attributes: tuple[str, ...], all_: bool) -> int:  # fmt: skip
    """Show recorded histories to the code at hand, and say where it does otherwise. Nothing is run, nothing is changed.

    A source is a run of the database, a file that  perdure export  has written, a folder of them, or - for ids or exported
    runs on standard input; a filter picks runs of the database. Exit code 6 if the code does not fit a history, 4 if a
    workflow is not in MODULE, 1 if a history cannot be read.

    Example: perdure replay --state open --module shop.workflows
    """
    from perdure.cli import loading, output
    from perdure.client.replaying import Replays

    pick = picking.Pick(sources, state, workflow, since_, all_, attributes)
    pick.demand("perdure replay")
    chosen = output.fields(settings.json, FIELDS)
    code = [loading.import_module(module) for module in modules]
    began = time.perf_counter()
    with ExitStack() as stack:
        spoken = None if codec is None else loading.load_codec(codec)
        replays = stack.enter_context(Replays(code, codec=spoken))
        if not replays.workflows:
            raise Problem(f"{', '.join(modules)} has no workflow", NOT_FOUND, [], "name the module that has them")
        work = _work(settings, pick, stack, replays)
        progress = stack.enter_context(Progress(settings, "replaying", work.total))
        judged: list[Judged] = []
        for verdict in _timed(work.verdicts):
            judged.append(verdict)
            progress.step()
            _tell(settings, progress, verdict.verdict)
    if settings.json:
        output.write_json([output.selected(each.record(), chosen) for each in judged])
    if junit is not None:
        _write_junit(Path(junit), judged)
    _sum_up(settings, judged, time.perf_counter() - began)
    if codec is None and any(_lacks_codec(each.verdict) for each in judged):
        settings.narrate([("hint", "hint"), (": name what Engine(codec=...) is given:  --codec MODULE:NAME", "")])
    return _exit_code([each.verdict for each in judged])


def _lacks_codec(verdict: Any) -> bool:
    from perdure.payload.coding import NO_CODEC

    return verdict.block is not None and NO_CODEC in verdict.block.message


class Work(NamedTuple):
    """Histories to be judged, and how many there are, None if that is not known."""

    verdicts: Iterator[Any]
    total: int | None


def _work(settings: Settings, pick: picking.Pick, stack: ExitStack, replays: Any) -> Work:
    """What was named, in its order: runs of the database are read one by one, and files too."""
    from perdure.cli.database import opened

    paths = [source for source in pick.runs if picking.is_path(source)]
    files = [file for path in paths for file in _files(path)]
    stdin = _stdin() if "-" in pick.runs else None
    ids = [source for source in pick.runs if source not in paths and source != "-"]
    if isinstance(stdin, list):
        ids += stdin
    named = pick._replace(runs=ids)
    client = stack.enter_context(opened(settings)) if ids or pick.filters else None
    certain = not isinstance(stdin, bytes) and all(file.suffix == ".json" for file in files)
    found = 0 if client is None else picking.count(settings, client, named)

    def verdicts() -> Iterator[Any]:
        for file in files:
            yield from _of_file(file, replays)
        if isinstance(stdin, bytes):
            yield from _of_bytes(stdin, replays)
        if client is not None:
            yield from _of_database(settings, client, named, replays)

    return Work(verdicts(), found + len(files) if certain and found is not None else None)


def _stdin() -> bytes | list[str]:
    """What is piped in: exported runs, or ids, one per line."""
    buffer = getattr(sys.stdin, "buffer", None)
    data: bytes = sys.stdin.read().encode() if buffer is None else buffer.read()
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        return data
    lines = data.decode("utf-8", "replace").splitlines()
    return [line.split("\t")[0].strip() for line in lines if line.strip()]


def _files(path: str) -> list[Path]:
    """The files a path stands for.

    Raises:
        Problem: there are none.
    """
    from perdure import errors
    from perdure.client.export_files import files_in

    try:
        return files_in(Path(path))
    except errors.ExportUnreadable as error:
        raise Problem(str(error), NOT_FOUND) from error


def _of_file(file: Path, replays: Any) -> Iterator[Any]:
    from perdure.client.export_files import runs_in

    for name, run in runs_in(file):
        yield _judged(name, run, replays)


def _of_bytes(data: bytes, replays: Any) -> Iterator[Any]:
    from perdure.client.export_files import runs_of_bytes

    for name, run in runs_of_bytes(data, "standard input"):
        yield _judged(name, run, replays)


def _judged(name: str, run: Any, replays: Any) -> Any:
    from perdure import errors
    from perdure.client.replaying import unreadable

    return unreadable(name, run) if isinstance(run, errors.ExportUnreadable) else replays.judge(name, run)


def _of_database(settings: Settings, client: Any, pick: picking.Pick, replays: Any) -> Iterator[Any]:
    views = client.store.views
    for row in picking.rows(settings, client, pick):
        stored = views.stored(row.key)
        if stored is not None:
            yield replays.judge_stored(row.id, stored, lambda digest, key=row.key: views.blob(key, digest))


def _timed(verdicts: Iterator[Any]) -> Iterator[Judged]:
    from perdure.cli import output

    while True:
        began = time.perf_counter()
        with output.unheard():
            verdict = next(verdicts, None)
        if verdict is None:
            return
        yield Judged(verdict, time.perf_counter() - began)


def _tell(settings: Settings, progress: Progress, verdict: Any) -> None:
    """Say at once what does not fit."""
    if verdict.block is None or settings.json:
        return
    progress.wipe()
    if settings.quiet:
        click.echo(verdict.name)
        return
    for line in lines_of(verdict):
        settings.write(line)


def lines_of(verdict: Any) -> list[Line]:
    """A history that the code does not fit: what, where, and what to do. Places below the working folder are short."""
    from perdure.cli.lines import clean

    _, *facts = [clean(line).replace(f"at {Path.cwd()}/", "at ") for line in verdict.lines()]
    hints = len(verdict.block.hint.splitlines())
    lines: list[Line] = [[("✗ ", "failed"), (clean(verdict.label), "bold"), (f" {clean(verdict.head)}", "failed")]]
    lines += [[(f"    {fact}", "")] for fact in facts[: len(facts) - hints]]
    for n, hint in enumerate(facts[len(facts) - hints :]):
        lines.append([("  hint", "hint"), (f": {hint}", "")] if n == 0 else [(f"        {hint}", "")])
    return lines


def _sum_up(settings: Settings, judged: list[Judged], seconds: float) -> None:
    """The last line: data where it is all there is to say, else narration."""
    failed = sum(each.verdict.block is not None for each in judged)
    events = sum(each.verdict.events for each in judged)
    figures = f"{events:,} events, {took(seconds)}"
    histories = "1 history" if len(judged) == 1 else f"{len(judged):,} histories"
    if not judged:
        settings.narrate("no run fits, nothing was replayed")
    elif failed:
        line: Line = [("✗ ", "failed"), (f"{failed:,} of {histories} failed, {figures}", "")]
        (settings.narrate if settings.json or settings.quiet else settings.write)(line)
    elif not settings.quiet:
        line = [("✓ ", "completed"), (f"{histories} replayed, {figures}", "")]
        (settings.narrate if settings.json else settings.write)(line)


def _exit_code(verdicts: list[Any]) -> int:
    """The worst of all verdicts: the code does otherwise, or is not here, or there is no telling."""
    kinds = {verdict.kind for verdict in verdicts} - {"ok"}
    if kinds - {"unknown-workflow", "unreadable"}:
        return DIVERGED
    if "unknown-workflow" in kinds:
        return NOT_FOUND
    return ERROR if kinds else OK


def _write_junit(path: Path, judged: list[Judged]) -> None:
    from perdure.cli.junit import document
    from perdure.client.export_files import write_whole

    try:
        write_whole(path, (document("perdure replay", judged),))
    except OSError as error:
        raise Problem(f"--junit {path} cannot be written", USAGE, [error.strerror or str(error)]) from error

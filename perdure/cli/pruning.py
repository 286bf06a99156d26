"""`perdure prune`: delete runs for good that have ended long ago."""

import sys
from collections.abc import Iterator
from typing import Any

import click
import msgspec

from perdure.cli.completion import workflows
from perdure.cli.filters import states
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import OK, REFUSED, USAGE, Problem
from perdure.cli.progress import Progress
from perdure.cli.tokens import CLOSED

FIELDS = ("runs", "deleted")
BATCH = 500


@click.command(cls=Command)
@click.option("--older-than", metavar="AGE", required=True, help="Ended longer ago than 30d, 12h, ...")
@click.option("--workflow", shell_complete=workflows, metavar="NAME", help="Only runs of this workflow.")
@click.option("--state", multiple=True, metavar="STATE[,...]", help=f"Only {', '.join(CLOSED)}.")
@click.option("--dry-run", is_flag=True, help="Count them, and delete nothing.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask, however many runs it is.")
@options(json=True, quiet="The number alone.")
@click.pass_obj
def prune(
    settings: Settings, older_than: str, workflow: str | None, state: tuple[str, ...], dry_run: bool, yes: bool
) -> int:
    """Delete runs that have ended, with all they have: history, payloads, streams.

    A run stays as long as another one of its family or of its chain is open. Engines may work meanwhile, and need not.
    Engine(retention="30d") does the same all the time.

    Example: perdure prune --older-than 30d --state completed --dry-run
    """
    from perdure.cli import output
    from perdure.cli.database import opened
    from perdure.stores.pruning import Prune

    chosen = output.fields(settings.json, FIELDS)
    wanted = Prune(
        _before(settings, older_than), limit=BATCH, workflow=workflow, statuses=_statuses(state), counts_only=True
    )
    with opened(settings) as client:
        wanted = msgspec.structs.replace(wanted, closed_before=wanted.closed_before + _ahead(client))
        with Progress(settings, "counting", None) as progress:
            total = sum(_stepped(progress, _batches(client, wanted)))
        deleted = 0
        if total and not dry_run:
            if not yes:
                _ask(settings, total)
            with Progress(settings, "deleting", total) as progress:
                deleted = sum(_stepped(progress, _batches(client, _real(wanted))))
    if settings.json:
        output.write_json(output.selected({"runs": total, "deleted": deleted}, chosen))
    elif settings.quiet:
        click.echo(str(total if dry_run else deleted))
    else:
        settings.narrate(f"would delete {total:,} runs" if dry_run else f"{deleted:,} runs deleted")
    return OK


def _before(settings: Settings, older_than: str) -> int:
    from perdure.durations import duration_ns
    from perdure.errors import DefinitionError

    try:
        return int(settings.now().timestamp() * 1e6) * 1_000 - duration_ns(older_than)
    except DefinitionError as error:
        raise Problem(f"--older-than {older_than!r} is no age: {error}", USAGE, [], "write 90s, 24h or 30d") from None


def _ahead(client: Any) -> int:
    """By how much the clock of the database, which counts, is ahead of this machine's."""
    import logging

    from perdure.runtime.clock import Clock
    from perdure.runtime.world import World

    world = World()
    Clock(world, logging.getLogger("perdure")).ask(client.store.admin)
    return world.offset_ns


def _statuses(given: tuple[str, ...]) -> tuple[int, ...]:
    from perdure.kernel.run import Status

    words = states(given)
    still_open = [word for word in words if word not in CLOSED]
    if still_open:
        raise Problem(f"runs that are {still_open[0]} have not ended", USAGE, [], f"states: {', '.join(CLOSED)}")
    return tuple(int(Status.named(word)) for word in words)


def _real(wanted: Any) -> Any:
    import msgspec

    return msgspec.structs.replace(wanted, counts_only=False)


def _batches(client: Any, wanted: Any) -> Iterator[int]:
    """How many runs there were in each."""
    import msgspec

    further: int | None = 0
    while further is not None:
        pruned = client.store.admin.prune(msgspec.structs.replace(wanted, after=further))
        yield pruned.runs
        further = pruned.further


def _stepped(progress: Progress, batches: Iterator[int]) -> Iterator[int]:
    for count in batches:
        for _ in range(count):
            progress.step()
        yield count


def _ask(settings: Settings, total: int) -> None:
    if not sys.stdin.isatty():
        raise Problem(
            f"{total:,} runs would be deleted for good, and nobody to ask",
            REFUSED,
            [],
            "add --yes, or look first with --dry-run",
        )
    sys.stderr.write(f"Delete {total:,} runs for good? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Problem("nothing done", REFUSED)

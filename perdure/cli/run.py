"""`perdure run`: a workflow to its end, in this process, on a local database."""

import sys
import time
from typing import Any

import click

from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import INTERRUPTED, OK
from perdure.cli.tokens import CLOSED

REDRAW_S = 0.1
LOOK_S = 0.02


@click.command(cls=Command)
@click.argument("target", metavar="MODULE:WORKFLOW")
@click.option("--id", "id_", metavar="ID", help="Id of the run; the id of an existing run resumes it.")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="Arguments: an object by name, an array by position.")
@click.option("--arg", "args", multiple=True, metavar="NAME=VALUE", help="One argument; may be repeated.")
@options(quiet=True)
@click.pass_obj
def run(settings: Settings, target: str, id_: str | None, input_: str | None, args: tuple[str, ...]) -> int:
    """Run a workflow to its end in this process and print its result as JSON.

    The id is printed first (on stderr); with --id of an existing run it goes on where it stood. Exit code 3 if the
    run fails, is cancelled or terminated, or is blocked.

    Example: perdure run shop.py:process_order --id order-1 --arg amount=10
    """
    from perdure.cli import arguments, database, loading

    where = database.find(settings)
    module, definition = loading.load(target)
    names, texts = signature(definition)
    positional, named = arguments.parse(input_, args, names, texts)
    call = definition(*positional, **named)
    if settings.verbose:
        settings.narrate([(f"database {where.address}  (by {where.chosen_by})", "dim")])
    from perdure import Engine

    id = id_
    try:
        with Engine(where.address, [module]) as engine:
            handle = engine.start(call, id=id_).wait()
            id = handle.id
            settings.narrate([(id, "bold")])
            with database.opened(settings) as client:
                watch(settings, client, handle.id)
                return _end(settings, client, handle.id)
    except KeyboardInterrupt:
        settings.narrate("")
        if id is not None:
            again = f"perdure run {target} --id {id}" + (f" --db {settings.db}" if settings.db else "")
            settings.narrate(f"stopped; what is done is kept. Go on with:  {again}")
        return INTERRUPTED


def signature(definition: Any) -> tuple[list[str] | None, frozenset[str]]:
    """The parameters of a workflow, and those that are plain text."""
    import inspect

    found = list(inspect.signature(definition.fn, eval_str=False).parameters.values())
    if definition.cls is not None:
        found = found[1:]
    if any(parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL) for parameter in found):
        return None, frozenset()
    texts = frozenset(p.name for p in found if p.annotation in (str, "str"))
    return [parameter.name for parameter in found], texts


def watch(settings: Settings, client: Any, id: str) -> None:
    """Wait until the run has ended or is blocked; on a terminal show how it gets on."""
    from perdure.cli.follow import STUCK, status_of

    def is_over() -> bool:
        state = status_of(client.store.views.row(id))
        return state in CLOSED or state in STUCK

    watched = sys.stderr.isatty() and not settings.quiet
    begin = time.monotonic()
    while not is_over():
        if watched and time.monotonic() - begin > 3 * REDRAW_S:
            _animate(settings, client, id, is_over)
            break
        time.sleep(LOOK_S)
    if watched:
        from perdure.cli.database import stored_run
        from perdure.cli.show import picture

        for line in picture(settings, client, stored_run(client, id), "tree"):
            settings.narrate(line)


def _animate(settings: Settings, client: Any, id: str, is_over: Any) -> None:
    """The growing picture at the bottom of the screen; it is wiped at the end, the last one is printed for good."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from perdure.cli.database import stored_run
    from perdure.cli.lines import painted
    from perdure.cli.show import picture

    color, ascii = settings.colored(sys.stderr), settings.plain_signs(sys.stderr)
    console = Console(file=sys.stderr, force_terminal=True, no_color=not color, highlight=False)

    def frame() -> Text:
        drawn = picture(settings, client, stored_run(client, id), "tree", height=console.size.height - 2)
        return Text.from_ansi("\n".join(painted(line, color, ascii) for line in drawn), no_wrap=True, overflow="crop")

    with Live(frame(), console=console, transient=True, auto_refresh=False, redirect_stdout=False) as screen:
        drawn_at = time.monotonic()
        while not is_over():
            time.sleep(LOOK_S)
            if time.monotonic() - drawn_at >= REDRAW_S:
                screen.update(frame(), refresh=True)
                drawn_at = time.monotonic()


def _end(settings: Settings, client: Any, id: str) -> int:
    from perdure.cli import output
    from perdure.cli.database import description, stored_run
    from perdure.cli.result import not_completed

    run = description(client, stored_run(client, id))
    if run.status != "completed":
        raise not_completed(run)
    output.write_json(run.result)
    return OK

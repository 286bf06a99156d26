"""`perdure run`: a workflow to its end, in this process, on a local database."""

import sys
from contextlib import closing
from typing import Any

import click

from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import ERROR, INTERRUPTED, Problem

REDRAW_S = 0.1
PATIENCE_S = 0.3
"""A run that takes no longer than this is drawn once, when it has ended."""

HUNG = "10s"
"""A call into C that does not come back for so long ends the process, so that the run in its turn is known by name."""


@click.command(cls=Command)
@click.argument("target", metavar="MODULE:WORKFLOW")
@click.option("--id", "id_", metavar="ID", help="Id of the run; the id of an existing run resumes it.")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="Arguments: an object by name, an array by position.")
@click.option("--arg", "args", multiple=True, metavar="NAME=VALUE", help="One argument; may be repeated.")
@options(quiet="The result, and no picture.")
@click.pass_obj
def run(settings: Settings, target: str, id_: str | None, input_: str | None, args: tuple[str, ...]) -> int:
    """Run a workflow to its end in this process and print its result as JSON.

    The id is printed first (on stderr); with --id of an existing run it goes on where it stood, and needs no arguments.
    Exit code 3 if the run fails, is cancelled or terminated, or if a bug blocks or holds it.

    Example: perdure run shop.py:process_order --id order-1 --arg amount=10
    """
    from perdure.cli import arguments, database, loading
    from perdure.cli.start import signature
    from perdure.cli.waiting import again, finish

    where = database.find(settings)
    module, definition = loading.load(target)
    positional, named = arguments.parse(input_, args, *signature(definition.parameters.published()))
    if settings.verbose:
        settings.narrate([(f"database {where.shown}  (by {where.chosen_by})", "dim")])
    from perdure import Engine

    _show_logs(settings)
    id = None
    try:
        with Engine(where.address, [module], kill_when_hung=HUNG) as engine:
            call = recorded(engine.store, definition, id_) if id_ and input_ is None and not args else None
            id = engine.start(call or definition(*positional, **named), id=id_).wait().id
            settings.narrate([(id, "bold")])
            with closing(database.Connection(where.address)) as client:
                if not engine.owns:
                    _say_who(settings, client)
                drawn = watch(settings, engine, client, id)
                return finish(settings, client, id, told=drawn)
    except KeyboardInterrupt:
        settings.narrate("")
        if id is not None:
            command = again(settings, "perdure", "run", target, "--id", id)
            settings.narrate(f"stopped; what is done is kept. Go on with:  {command}")
        return INTERRUPTED


def _show_logs(settings: Settings) -> None:
    """What stops the run is told at the end, and a picture shows the attempts: else those that fail are told at once."""
    import logging

    engine = logging.getLogger("perdure")
    engine.propagate = False
    if settings.quiet or sys.stderr.isatty():
        engine.addHandler(logging.NullHandler())
        return
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: record.levelno < logging.ERROR)
    engine.addHandler(handler)


def recorded(store: Any, definition: Any, id: str) -> Any:
    """The call the run of that id was started with, so that it can be resumed by its id alone; None without a run.

    Raises:
        Problem: it is a run of another workflow.
    """
    from perdure.payload import unseal
    from perdure.runtime.attaching import begin_of

    row = store.views.row(id)
    if row is None:
        return None
    key = row.chain or row.key  # what the run goes on as may have other arguments
    begin = begin_of(store, key)
    workflow = row.workflow if begin is None else begin.workflow
    if workflow != definition.name:
        raise Problem(
            f"the id {id!r} belongs to a run of workflow {workflow}, and this start is of {definition.name}",
            ERROR, [], "choose another id",
        )  # fmt: skip
    payload = None if begin is None else begin.input
    if payload is None:
        return None
    data = unseal(payload, lambda digest: store.views.blob(key, digest) or b"")
    args, kwargs = definition.parameters.decode(data)
    return definition(*args, **kwargs)


def _say_who(settings: Settings, client: Any) -> None:
    for owner in client.store.views.owners()[:1]:
        settings.narrate([(f"engine {owner.host}:{owner.pid} holds this database and runs it", "dim")])


def watch(settings: Settings, engine: Any, client: Any, id: str) -> bool:
    """Wait until the run is at rest; on a terminal show how it gets on. Whether a picture is left on the screen.

    Raises:
        errors.EngineNotRunning: the engine was stopped by a fault.
    """
    if settings.quiet or not settings.lively(sys.stderr):
        rests(engine, id, None)
        return False
    if not rests(engine, id, PATIENCE_S):
        _animate(settings, engine, client, id)
    from perdure.cli.database import stored_run
    from perdure.cli.show import picture

    result_follows = sys.stdout.isatty()
    for line in picture(settings, client, stored_run(client, id), "tree", result=not result_follows):
        settings.narrate(line)
    return True


def rests(engine: Any, id: str, seconds: float | None) -> bool:
    """Wait so long for the run to come to rest: it has ended, or goes on only when somebody mends or releases it."""
    from perdure.errors import RunDidNotComplete, WaitedTooLong

    try:
        engine.handle(id).result(timeout=seconds).wait()
    except WaitedTooLong:
        return False
    except RunDidNotComplete:
        return True
    return True


def _animate(settings: Settings, engine: Any, client: Any, id: str) -> None:
    """The growing picture at the bottom of the screen; it is wiped at the end, the last one is printed for good.

    What the activities print to the same terminal goes above it.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from perdure.cli.database import stored_run
    from perdure.cli.lines import painted
    from perdure.cli.show import picture
    from perdure.cli.waiting import interruptible

    color, ascii = settings.colored(sys.stderr), settings.plain_signs(sys.stderr)
    console = Console(file=sys.stderr, force_terminal=True, no_color=not color, highlight=False)

    def frame() -> Text:
        drawn = picture(settings, client, stored_run(client, id), "tree", height=console.size.height - 2)
        return Text.from_ansi("\n".join(painted(line, color, ascii) for line in drawn), no_wrap=True, overflow="crop")

    redirect = sys.stdout.isatty()
    drawing = Live(frame(), console=console, transient=True, auto_refresh=False, redirect_stdout=redirect)
    with interruptible() as interrupted, drawing as screen:
        while not interrupted() and not rests(engine, id, REDRAW_S):
            screen.update(frame(), refresh=True)
    if interrupted():
        raise KeyboardInterrupt

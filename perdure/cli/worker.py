"""`perdure worker`: a process that works, for runs that others start: the activities of queues, or whole runs."""

import signal
from typing import Any

import click

from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import OK, USAGE, Problem

LOOK_SECONDS = 0.05
"""How often `--once` looks whether there is anything left to do."""


@click.command(cls=Command)
@click.argument("modules", metavar="MODULE...", nargs=-1, required=True)
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="A queue to serve; may be repeated.")
@click.option("--slots", type=click.IntRange(min=1), default=1_000, metavar="N", help="async def activities at a time.")
@click.option("--threads", type=click.IntRange(min=1), default=64, metavar="N", help="Plain functions at a time.")
@click.option("--processes", type=click.IntRange(min=1), metavar="N", help='Those of runs_in="process" at a time.')
@click.option("--drain", default="30s", metavar="DURATION", help="When it ends: how long to wait for what it runs.")
@click.option("--build", metavar="NAME", help="Names this version of the code (of an engine); else a fingerprint.")
@click.option("--retention", metavar="DURATION", help="Delete runs that ended so long ago (of an engine); else never.")
@click.option("--once", is_flag=True, help="End when nothing waits in the queues and nothing runs.")
@options(quiet="No banner.")
@click.pass_obj
def worker(settings: Settings, modules: tuple[str, ...], queues: tuple[str, ...], slots: int, threads: int,
           processes: int | None, drain: str, build: str | None, retention: str | None, once: bool) -> int:  # fmt: skip
    """Work until a signal comes: run the activities of the queues named, with the code in MODULE (a module or a file).

    Without --queue it is an engine. A file of SQLite it owns, or stands by until its owner is gone; a database of PostgreSQL it
    shares with others of its kind, on as many machines as are wanted.
    As many workers as are wanted may serve a queue. SIGTERM and Ctrl-C let what runs finish, for --drain; what has not
    ended then is given back and tried again elsewhere.

    Example: perdure worker shop.images --queue thumbnails --threads 8
    """
    from perdure.cli import database, loading
    from perdure.durations import duration_ns

    if once and not queues:
        raise Problem("--once is for queues", USAGE, [], "name one:  --queue NAME")
    if build is not None and queues:
        raise Problem("--build is for an engine, which moves runs", USAGE, [], "leave it out beside --queue")
    if retention is not None and queues:
        raise Problem("--retention is for an engine, which has runs", USAGE, [], "leave it out beside --queue")
    where = database.find(settings)
    loaded = [loading.import_module(place) for place in modules]
    patience = duration_ns(drain) / 1e9
    _log_to_stderr()
    from perdure import Engine, Worker

    most: dict[str, Any] = {"concurrency": slots, "threads": threads, "processes": processes}
    made: Any
    if queues:
        made = Worker(where.address, loaded, queues=queues, drain=patience, **most)
    else:
        made = Engine(where.address, loaded, drain=patience, build=build, retention=retention, **most)
    with made as working, _stopped_by_signals(working, bool(queues)) as stopped:
        if not settings.quiet:
            settings.narrate([("perdure worker  ", "bold"), (_portrait(working, where.shown, queues), "dim")])
        while not stopped.wait(LOOK_SECONDS if once else 0.5):
            if once and working.idle:
                break
            working.demand_running()
        if not settings.quiet:
            settings.narrate(f"ending; what runs has {drain} to finish")
    return OK


def _portrait(working: Any, address: str, queues: tuple[str, ...]) -> str:
    if queues:
        return f"{address}  queues: {', '.join(queues)}  activities: {', '.join(working.activities)}"
    if not working.owns:
        return f"{address}  stands by, another engine owns it"
    return f"{address}  {'owns it' if working.store.membership is None else 'takes part'}"


def _log_to_stderr() -> None:
    import logging

    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


def _stopped_by_signals(working: Any, stops: bool) -> Any:
    """An event that SIGTERM and Ctrl-C set; a worker of queues takes nothing more from that moment on."""
    import threading
    from collections.abc import Iterator
    from contextlib import contextmanager

    stopped = threading.Event()

    def stop(*_: object) -> None:
        stopped.set()
        if stops:
            working.stop()

    @contextmanager
    def handling() -> Iterator[threading.Event]:
        before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield stopped
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    return handling()

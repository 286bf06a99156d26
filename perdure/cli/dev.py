"""`perdure dev`: store, engine and dashboard for whoever writes workflows; the engine is started anew when code changes.

This process has the dashboard and watches files. It imports none of the user's code: that is in the engine's process,
which may break, hang or die.
"""

import importlib.util
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

import click

from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import ERROR, OK, REFUSED, UNREACHABLE, Problem
from perdure.cli.tokens import token

NEEDED = ("starlette", "uvicorn", "jinja2", "watchfiles")
LOOK_S = 0.3
"""How often the states of runs are looked at."""

STOP = object()
"""In the queue: somebody wants this to end."""


@click.command(cls=Command)
@click.argument("modules", metavar="MODULE...", nargs=-1, required=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=7070, show_default=True, help="0 takes any.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the dashboard listens.")
@click.option("--expose", is_flag=True, help="Let other machines reach the dashboard, which asks for no password.")
@click.option("--no-reload", is_flag=True, help="Leave the engine alone when files change.")
@options(quiet="No line per change of a run.")
@click.pass_obj
def dev(settings: Settings, modules: tuple[str, ...], port: int, host: str, expose: bool, no_reload: bool) -> int:
    """Run an engine with the code in MODULE (a module or a file) and show its runs in a browser.

    When a file changes that the code was imported from, the engine lets what runs finish and is started anew. Needs the
    extra: pip install "perdure[server]".

    Example: perdure dev shop.py
    """
    from perdure.cli import database

    demand_packages("dev", NEEDED)
    where = database.find(settings)
    from perdure.cli.reloading import Reloading
    from perdure.stores.open import open_store
    from perdure.web.app import dashboard
    from perdure.web.server import Served

    exposed = is_exposed(host, expose)
    listening = listening_at(host, port)
    store = open_store(where.address)
    events: SimpleQueue[Any] = SimpleQueue()
    try:
        app = dashboard(store, names=[host], exposed=exposed)
        with stopped_by_signals(events), Served(app, listening) as served:
            banner(settings, where.shown, host, served.port, exposed)
            with Reloading(settings, events, where.address, modules, watches=not no_reload) as engine:
                _serve(settings, events, engine, store)
                settings.narrate(
                    [
                        ("  stopping", "dim"),
                        ("; what runs has a few seconds to finish, Ctrl-C again ends it now", "dim"),
                    ]
                )
                engine.end(hurried=lambda: _asked_to_stop(events))
    finally:
        store.admin.close()
    settings.narrate(
        [("  stopped", "bold"), ("; what is done is kept, the rest goes on when it is started again", "dim")]
    )
    return OK


def demand_packages(command: str, needed: Iterable[str]) -> None:
    """Raises Problem if the extra is not installed."""
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise Problem(
            f"perdure {command} needs packages that are not installed: {', '.join(missing)}", ERROR, [],
            'pip install "perdure[server]"',
        )  # fmt: skip


def is_exposed(host: str, expose: bool) -> bool:
    """Whether other machines can reach what listens there.

    Raises:
        Problem: they can, and nobody has said that they shall.
    """
    from perdure.web.guards import is_loopback

    exposed = not is_loopback(host)
    if exposed and not expose:
        raise Problem(
            f"--host {host} would open the dashboard to other machines", REFUSED,
            ["it asks for no password: whoever reaches it reads all runs, their arguments, results and errors"],
            "leave it out, or add  --expose  if that is meant",
        )  # fmt: skip
    return exposed


def listening_at(host: str, port: int) -> Any:
    """A socket; Problem if there can be none."""
    import errno

    from perdure.web.server import bound

    try:
        return bound(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Problem(
                f"port {port} of {host} is in use", UNREACHABLE, ["perhaps by another  perdure dev"],
                f"take another one:  --port {port + 1 if port < 65_535 else 0},  or any that is free:  --port 0",
            ) from error  # fmt: skip
        raise Problem(
            f"the dashboard cannot listen at {host}:{port}", UNREACHABLE, [error.strerror or str(error)],
            "leave out --host for this machine alone",
        ) from error  # fmt: skip


@contextmanager
def stopped_by_signals(events: "SimpleQueue[Any]") -> Iterator[None]:
    """Ctrl-C and SIGTERM as something that is read, so that they do not land in the middle of anything."""
    before = {number: signal.signal(number, lambda *_: events.put(STOP)) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _asked_to_stop(events: "SimpleQueue[Any]") -> bool:
    """Whether somebody asks once more. Whatever else comes while the engine ends is of no interest."""
    while True:
        try:
            if events.get_nowait() is STOP:
                return True
        except Empty:
            return False


def banner(settings: Settings, address: str, host: str, port: int, exposed: bool) -> None:
    """Where it is, and who can see it."""
    from perdure.cli.version import perdure_version

    shown = f"[{host}]" if ":" in host else host
    settings.narrate([("  Perdure ", "bold"), (f"{perdure_version():<10}", "bold"), (f"store {address}", "dim")])
    settings.narrate([("  dashboard         ", "dim"), (f"http://{shown}:{port}", "hint")])
    if exposed:
        settings.narrate(
            [
                ("  open to everybody who reaches this machine: ", "failed.bold"),
                ("the dashboard asks for no password", "failed"),
            ]
        )


def _serve(settings: Settings, events: "SimpleQueue[Any]", engine: Any, store: Any) -> None:
    """Until it is to end: react to what the engine and its files do, and tell what the runs do."""
    from perdure.cli.telling import Telling

    telling = Telling(store.views, settings)
    if not settings.quiet:
        telling.look()  # what has ended by now is no news; what the engine ends is, however quick it is
    engine.begin()
    look_at = time.monotonic() + LOOK_S
    while True:
        try:
            event = events.get(timeout=max(look_at - time.monotonic(), 0.001))
        except Empty:
            event = None
        if event is STOP:
            return
        if event is not None:
            engine.take(event)
        if time.monotonic() >= look_at:
            look_at = time.monotonic() + LOOK_S
            if not settings.quiet:
                telling.look()


def said(settings: Settings, state: str, *pieces: tuple[str, str]) -> None:
    """A line with the time and the sign of a state before it."""
    icon, style = token(state)
    settings.narrate([(f"  {settings.now().astimezone():%H:%M:%S} ", "dim"), (f"{icon} ", style), *pieces])

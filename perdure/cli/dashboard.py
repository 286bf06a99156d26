"""`perdure dashboard`: the runs of a database in a browser, without an engine and without any of the user's code."""

from queue import SimpleQueue
from typing import Any

import click

from perdure.cli.dev import banner, demand_packages, is_exposed, listening_at, stopped_by_signals
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import OK

NEEDED = ("starlette", "uvicorn", "jinja2")


@click.command(cls=Command)
@click.option("--port", type=click.IntRange(0, 65_535), default=7070, show_default=True, help="0 takes any.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("--expose", is_flag=True, help="Let other machines reach it; it asks for no password.")
@click.option(
    "--name", "names", multiple=True, metavar="HOST", help="By which it is asked for as well, behind a proxy."
)
@options()
@click.pass_obj
def dashboard(settings: Settings, port: int, host: str, expose: bool, names: tuple[str, ...]) -> int:
    """Show the runs of a database in a browser, beside engines that run elsewhere.

    It only reads: a user of the database who may do no more is enough, and so is a standby. The schema is left as it is. Needs
    the extra: pip install "perdure[server]".

    Example: perdure dashboard --db postgresql://reader@host/name
    """
    from perdure.cli import database

    demand_packages("dashboard", NEEDED)
    where = database.find(settings)
    database.demand(where)
    from perdure.stores.open import open_store
    from perdure.web import app
    from perdure.web.server import Served

    exposed = is_exposed(host, expose)
    listening = listening_at(host, port)
    events: SimpleQueue[Any] = SimpleQueue()
    store = open_store(where.address, create=False, migrate=False)
    try:
        pages = app.dashboard(store, names=[host, *names], exposed=exposed)
        with stopped_by_signals(events), Served(pages, listening) as served:
            banner(settings, where.shown, host, served.port, exposed)
            events.get()
    finally:
        store.admin.close()
    return OK

"""`perdure result`: wait for a run, print its result."""

import time
from typing import Any

import click

from perdure.cli.completion import run_ids
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import TIMED_OUT, USAGE, Problem
from perdure.cli.times import seconds, took

POLL_S = 0.05
POLL_MOST_S = 0.5


@click.command(cls=Command)
@click.argument("run", shell_complete=run_ids)
@click.option("--timeout", metavar="DURATION", help="Give up after 30s, 5m, ... with exit code 124; 0 does not wait.")
@options()
@click.pass_obj
def result(settings: Settings, run: str, timeout: str | None) -> int:
    """Wait for a run to end and print its result as JSON.

    Exit code 3 if it failed, was cancelled or terminated, or if a bug blocks or holds it.

    Example: perdure result order-1 --timeout 30s
    """
    from perdure.cli import database, selection

    limit = timeout_seconds(timeout)
    with database.opened(settings) as client:
        return await_result(settings, client, selection.one(client, settings, run), limit)


def timeout_seconds(text: str | None) -> float | None:
    """The limit of `--timeout`.

    Raises:
        Problem: it is no duration.
    """
    if text is None:
        return None
    limit = seconds(text)
    if limit is None:
        raise Problem(f"--timeout {text!r} is no duration", USAGE, [], "write 30s, 5m or 1h30m")
    return limit


def await_result(settings: Settings, client: Any, id: str, limit: float | None) -> int:
    """Look until the run is at rest, then say how it ended. Returns the exit code."""
    from perdure.cli.waiting import finish, left_running

    try:
        _await_rest(settings, client, id, limit)
    except KeyboardInterrupt:
        return left_running(settings, id)
    return finish(settings, client, id)


def _await_rest(settings: Settings, client: Any, id: str, limit: float | None) -> None:
    from perdure.cli.follow import status_of
    from perdure.cli.waiting import again
    from perdure.runtime.waiters import rests

    deadline = None if limit is None else time.monotonic() + limit
    pause = POLL_S
    warned = False
    while True:
        row = client.store.views.row(id)
        if row is None or rests(row):
            return
        if not warned and not client.store.views.owners():  # also to who has no time left when it comes to that
            warned = True
            settings.narrate([(f"no engine holds this database; {id} sleeps until one starts", "held")])
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise Problem(
                f"run {id} is still {status_of(row)} after {took(limit or 0)}", TIMED_OUT, [],
                again(settings, "perdure", "show", id, "--follow"),
            )  # fmt: skip
        time.sleep(pause if left is None else min(pause, left))
        pause = min(pause * 1.5, POLL_MOST_S)

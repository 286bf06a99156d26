"""`perdure result`: wait for a run, print its result."""

import time
from typing import Any

import click

from perdure.cli.completion import run_ids
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import NOT_COMPLETED, OK, TIMED_OUT, USAGE, Problem
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

    Exit code 3 if it failed, was cancelled or terminated, or is blocked.

    Example: perdure result order-1 --timeout 30s
    """
    from perdure.cli import database, selection

    limit = timeout_seconds(timeout)
    with database.opened(settings) as client:
        id = selection.one(client, settings, run)
        try:
            return await_result(settings, client, id, limit)
        except KeyboardInterrupt:
            from perdure.cli.follow import left_running

            return left_running(settings, id)


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
    """Look until the run has ended or is blocked, then say how. Returns the exit code."""
    from perdure.cli.follow import STUCK, status_of
    from perdure.cli.tokens import CLOSED

    deadline = None if limit is None else time.monotonic() + limit
    pause = POLL_S
    warned = False
    while True:
        state = status_of(client.store.views.row(id))
        if state in CLOSED or state in STUCK:
            return _end(settings, client, id)
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise Problem(
                f"run {id} is still {state} after {took(limit or 0)}", TIMED_OUT, [], f"perdure show {id} --follow"
            )
        if not warned and client.store.views.owner() is None:
            warned = True
            settings.narrate([(f"no engine holds this database; {id} sleeps until one starts", "held")])
        time.sleep(pause if left is None else min(pause, left))
        pause = min(pause * 1.5, POLL_MOST_S)


def _end(settings: Settings, client: Any, id: str) -> int:
    from perdure.cli import output
    from perdure.cli.database import description, stored_run

    run = description(client, stored_run(client, id))
    if run.status == "completed":
        output.write_json(run.result)
        return OK
    raise not_completed(run)


def not_completed(run: Any) -> Problem:
    """Why there is no result, with the error and the next step."""
    from perdure.cli.lines import plain
    from perdure.cli.portrait import block_lines, error_lines

    facts: list[str] = []
    hint = f"perdure show {run.id}"
    if run.error is not None:
        facts = [plain(line) for line in error_lines(run.error)]
    elif run.block is not None:
        facts = [plain(line).strip() for line in block_lines(run)]
    elif run.reason:
        facts = [f"reason: {run.reason}"]
    return Problem(f"run {run.id} is {run.status}" if run.block else f"run {run.id} {_ending(run.status)}",
                   NOT_COMPLETED, facts, hint)  # fmt: skip


def _ending(status: str) -> str:
    return "failed" if status == "failed" else f"was {status}"

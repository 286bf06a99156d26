"""How a wait for a run ends: with its result, with why there is none, or because somebody stops waiting."""

import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from perdure.cli.options import Settings
from perdure.cli.problems import INTERRUPTED, NOT_COMPLETED, OK, Problem


def finish(settings: Settings, client: Any, id: str, told: bool = False) -> int:
    """Print the result of a run at rest. `told`: a picture has said already what went wrong, and what to do.

    Raises:
        Problem: there is none.
    """
    from perdure.cli import output
    from perdure.cli.database import description, stored_run

    run = description(settings, client, stored_run(client, id))
    if run.status != "completed":
        raise not_completed(settings, run, told)
    output.write_json(run.result)
    return OK


def not_completed(settings: Settings, run: Any, told: bool = False) -> Problem:
    """Why there is no result, with the error and the next step."""
    from perdure.cli.lines import plain
    from perdure.cli.portrait import block_facts, block_hint, error_lines

    hint = again(settings, "perdure", "show", run.id)
    facts: list[str] = []
    if run.block is not None:
        kind = "" if run.block.kind == run.status else f" ({run.block.kind})"
        reason, *facts = block_facts(run.block)
        ending = f"is {run.status}{kind}" if told else f"is {run.status}{kind}: {reason}"
        facts += [f"at {run.block.source}"] if run.block.source else []
        hint, *further = block_hint(run).splitlines()
        facts += further
    elif run.status == "held":
        steps = [step for step in run.steps if step.state == "held" and step.error is not None]
        ending = f"is held by a bug in activity {steps[-1].name}" if steps else "is held by a bug"
        facts = [plain(line) for line in error_lines(steps[-1].error)] if steps else []
        hint = f"mend it and start it again, or: {again(settings, 'perdure', 'retry', run.id)}"
    elif run.error is not None:
        ending = "failed"
        facts = [plain(line) for line in error_lines(run.error)]
    else:
        ending = run.status if run.status == "timed out" else f"was {run.status}"
        facts = [f"reason: {run.reason}"] if run.reason else []
    return Problem(f"run {run.id} {ending}", NOT_COMPLETED, [] if told else facts, "" if told else hint)


@contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C as something to ask for, so that it does not land in the middle of drawing; the second one does."""
    pressed: list[int] = []

    def press(number: int, frame: Any) -> None:
        pressed.append(number)
        if len(pressed) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


def left_running(settings: Settings, id: str) -> int:
    """What Ctrl-C means to somebody who only watched."""
    settings.narrate(f"{id} goes on; watch it again:  {again(settings, 'perdure', 'show', id, '--follow')}")
    return INTERRUPTED


def again(settings: Settings, *words: str) -> str:
    """A command to copy, on the same database."""
    return shlex.join([*words, *(["--db", settings.db] if settings.db else [])])

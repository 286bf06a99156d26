"""Watching a run until it ends: redrawn on a terminal, line by line into a pipe."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from perdure.cli.options import Settings
from perdure.cli.problems import OK
from perdure.cli.show import POLL_S, ended, picture
from perdure.cli.tokens import CLOSED, Line
from perdure.cli.waiting import again, interruptible, left_running

KEYS = "keys: r retry now · c cancel · t tree · m messages · e events · l logs · q quit"

_EVENT_FIELDS = {"seq", "at", "type", "id", "name", "input", "result", "failure"}


def status_of(row: Any) -> str:
    from perdure.kernel.run import Status

    return Status(row.status).word


def lines(settings: Settings, client: Any, id: str, form: str) -> int:
    """Write each event (or log record) as a line of JSON as soon as it is there, until the run rests. The exit code."""
    from perdure.cli import output
    from perdure.runtime.waiters import rests

    news = _logs(settings, client, id) if form == "logs" else _events(client, id, SAID if form == "messages" else None)
    try:
        while True:
            row = client.store.views.row(id)
            entries = next(news)
            if entries:
                chosen = output.fields(settings.json, sorted({f for entry in entries for f in entry} | _EVENT_FIELDS))
                output.write_ndjson(output.selected(entry, chosen) for entry in entries)
            if row is None or rests(row):
                return _told(settings, id, "gone" if row is None else status_of(row))
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return left_running(settings, id)


SAID = ("SignalReceived", "UpdateAccepted", "UpdateCompleted", "UpdateFailed")
"""Events of messages."""


def _events(client: Any, id: str, types: tuple[str, ...] | None = None) -> Iterator[list[dict[str, Any]]]:
    """Each time, the events that came since the last; those of some types."""
    from perdure.cli.database import stored_run
    from perdure.client.description import history_entries

    told = 0
    while True:
        row = client.store.views.row(id)
        entries: list[dict[str, Any]] = []
        if row is not None and row.seq > told:
            stored = stored_run(client, id)
            entries = history_entries(stored, lambda digest, key=row.key: client.store.views.blob(key, digest))
        fresh = entries[told:]
        told += len(fresh)
        yield [entry for entry in fresh if types is None or entry["type"] in types]


def _logs(settings: Settings, client: Any, id: str) -> Iterator[list[dict[str, Any]]]:
    """Each time, the records that came since the last. They come when their attempt ends, so not in order of time."""
    from perdure.cli.database import description, stored_run
    from perdure.cli.records import log_records

    told: Counter[tuple[str, int]] = Counter()
    while True:
        fresh: list[dict[str, Any]] = []
        met: Counter[tuple[str, int]] = Counter()
        for record in log_records(description(settings, client, stored_run(client, id))):
            attempt = (record["step_id"], record["attempt"])
            met[attempt] += 1
            if met[attempt] > told[attempt]:
                fresh.append(record)
        told |= met
        yield fresh


def _told(settings: Settings, id: str, status: str) -> int:
    if status not in CLOSED:
        settings.narrate(
            [(f"{id} is {status}; it does not go on by itself:  {again(settings, 'perdure', 'show', id)}", "held")]
        )
    return ended(status)


class Watch:
    """A run on the screen: what is shown, and what was last said at the bottom line."""

    def __init__(self, settings: Settings, client: Any, id: str, form: str, details: bool) -> None:
        self.settings = settings
        self.client = client
        self.id = id
        self.form = form
        self.details = details
        self.said = ""
        self.asking = False
        self.status = ""
        self.rests = False

    def lines(self, height: int) -> list[Line]:
        """What fits on the screen, newest at the bottom for events and logs."""
        from perdure.cli.database import stored_run
        from perdure.runtime.waiters import rests

        stored = stored_run(self.client, self.id)
        self.status = status_of(stored.run)
        self.rests = rests(stored.run)
        drawn = picture(self.settings, self.client, stored, self.form, details=self.details, height=height - 2)
        if len(drawn) > height - 2:
            drawn = [drawn[0], *drawn[len(drawn) - (height - 3) :]]
        bottom = "cancel this run? y/n" if self.asking else self.said or KEYS
        return [*drawn, [], [(bottom, "hint" if self.asking or self.said else "dim")]]

    def press(self, key: str) -> bool:
        """React to a key; false to leave."""
        if self.asking:
            self.asking = False
            self.said = self._do("cancel") if key == "y" else ""
        elif key in ("q", "\x04"):
            return False
        elif key == "c":
            self.asking = True
        elif key == "r":
            self.said = self._do("retry")
        elif key in "tmel":
            self.form = {"t": "tree", "m": "messages", "e": "events", "l": "logs"}[key]
            self.said = ""
        return True

    def _do(self, verb: str) -> str:
        from perdure.cli.steer import steer_one

        return steer_one(self.client, self.id, verb, "").text


def live(settings: Settings, client: Any, id: str, form: str, details: bool) -> int:
    """Redraw the run at most four times a second on the alternate screen, and react to keys."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    from perdure.cli.lines import painted

    watch = Watch(settings, client, id, form, details)
    color, ascii = settings.colored(sys.stdout), settings.plain_signs(sys.stdout)
    console = Console(file=sys.stdout, force_terminal=True, no_color=not color, highlight=False)

    def frame() -> Text:
        drawn = watch.lines(console.size.height)
        return Text.from_ansi("\n".join(painted(line, color, ascii) for line in drawn), no_wrap=True, overflow="crop")

    drawing = Live(frame(), console=console, screen=True, auto_refresh=False)
    with interruptible() as interrupted, keyboard() as key, drawing as screen:
        while not (interrupted() or watch.status in CLOSED or (watch.rests and key is _no_key)):
            pressed = key(POLL_S)
            if pressed and not watch.press(pressed):
                break
            screen.update(frame(), refresh=True)
    from perdure.cli.database import stored_run

    for line in picture(settings, client, stored_run(client, id), "tree", details=details):
        settings.write(line)
    if interrupted():
        return left_running(settings, id)
    if not watch.rests:
        settings.narrate([(f"{id} goes on", "dim")])
        return OK
    return ended(watch.status)


@contextmanager
def keyboard() -> Iterator[Any]:
    """A function that waits some seconds for one key; "" if none came, or if there is no keyboard."""
    if not sys.stdin.isatty():
        yield _no_key
        return
    import select
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def key(seconds: float) -> str:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        if not ready:
            return ""
        import os

        return os.read(descriptor, 1).decode("utf-8", "replace")

    try:
        tty.setcbreak(descriptor)
        yield key
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _no_key(seconds: float) -> str:
    time.sleep(seconds)
    return ""

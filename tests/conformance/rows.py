"""Rows to fill stores with."""

from collections.abc import Callable
from typing import Any

import msgspec

from perdure.kernel import events as ev
from perdure.kernel.messages import AttemptEnded, Cancel, Mail, Start
from perdure.kernel.project import RunRow, TaskRow
from perdure.kernel.run import Status
from perdure.stores import base

Opener = Callable[..., base.Store]
"""Opens one store again and again, as several processes would; takes `faults`."""


def run(key: int, id: str = "", status: int = Status.RUNNING, **fields: Any) -> RunRow:
    row = RunRow(key, id or f"run-{key}", b"r" * 16, "order", status, "", "build-1", 100 + key, None, None, 1)
    return msgspec.structs.replace(row, **fields)


def mail(run: int, message: Mail | None = None, reply_to: str = "") -> base.MailRow:
    return base.MailRow(0, run, message or Cancel("enough"), reply_to)


def start() -> Start:
    return Start("order", ev.Payload(b"[1]"), b"r" * 16)


def messages(rows: list[base.MailRow]) -> list[Mail]:
    return [row.message for row in rows]


def follows(old: int, new: RunRow) -> base.Batch:
    """A new run that takes the place of the newest of its id."""
    return base.Batch(followed=[(old, new.key)], created=[new])


def task(run: int, step: str = "0:1", **fields: Any) -> TaskRow:
    row = TaskRow(run, step, 1, "gpu", "render", None, b"body")
    return msgspec.structs.replace(row, **fields)


def ended(step: str = "0:1", attempt: int = 1, member: int = 0, **fields: Any) -> AttemptEnded:
    message = AttemptEnded(step, attempt, member, 5, ev.Payload(b"7"))
    return msgspec.structs.replace(message, **fields)


ANY = base.Want(("render",), 100)
"""What a worker wants that knows one activity."""


class Hand:
    """A worker of the queue "gpu", that is: its number, and what it says to the store."""

    def __init__(self, store: base.Store, queues: tuple[str, ...] = ("gpu",), names: tuple[str, ...] = ("render",)):
        self.store = store
        self.queues = queues
        self.member = store.tasks.join("here", 1, "build-1", 1, queues, names)

    def take(self, want: base.Want = ANY, now: int = 10) -> list[TaskRow]:
        return self.store.tasks.exchange(self.member, [], self.queues, [want], now).tasks

    def beat(self, *details: tuple[int, str, int, bytes]) -> base.Look:
        return self.store.tasks.beat(self.member, self.queues, details)

    def bring(self, run: int, message: AttemptEnded, blobs: list[base.BlobRow] | None = None) -> list[bool]:
        return self.store.tasks.exchange(self.member, [base.Ending(message, run, blobs or [])], (), (), 20).accepted

"""Rows to fill stores with."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.messages import AttemptEnded, Cancel, Mail, Start
from perdure.kernel.overdue import LOST_FAILURE
from perdure.kernel.project import RunRow, TaskRow
from perdure.kernel.run import Status
from perdure.stores import base

ONE_OWNER = ["memory", "sqlite"]
SHARED = ["shared memory", "postgres"]
"""Stores that several owners share. The first of each kind is the oracle."""

of_one_owner = pytest.mark.parametrize("opened", ONE_OWNER, indirect=True)
of_several_owners = pytest.mark.parametrize("opened", SHARED, indirect=True)
"""Tests of what only stores of that kind promise."""

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


def polled(store: base.Store, now: int = 0, limit: int = 100, starts: bool = True) -> base.Poll:
    """What an owner finds: of a store that several share it claims first what nobody has."""
    if store.membership is None:
        return store.work.poll(now, limit, starts)
    poll = store.membership.poll(now, limit, 100, starts)
    return base.Poll(poll.due, poll.mail, poll.beats, leases={id: poll.leases[id] for id in poll.beats})


def hand_over(store: base.Store) -> None:
    """The end of an owner; whoever owns next has its runs."""
    if store.membership is not None:
        store.membership.hand_over()
    store.admin.close()


def lost(store: base.Store) -> list[base.Orphan]:
    """Tasks that their workers cannot bring to an end any more. Where several owners share the store, their runs are told so
    by letters, and that is all there is of them."""
    if store.membership is None:
        return store.tasks.orphans()
    assert store.tasks.orphans() == []
    return [
        base.Orphan(
            letter.run, each.id, each.attempt, each.member, each.started_at, each.details and wire.encode(each.details)
        )
        for letter in store.work.poll(0, 100).mail
        if isinstance(each := letter.message, AttemptEnded) and each.failure == LOST_FAILURE
    ]


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

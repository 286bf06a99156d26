"""Rows to fill stores with."""

from collections.abc import Callable
from typing import Any

import msgspec

from perdure.kernel import events as ev
from perdure.kernel.messages import Cancel, Mail, Start
from perdure.kernel.project import RunRow
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

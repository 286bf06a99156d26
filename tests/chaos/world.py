"""What happens outside of every database: lines appended to one file, by activities in any process.

A line is written by a single call of the system, so lines do not mix. What counts of them is the first of each idempotency
key, as with a service that honours such keys; the others tell how often the deed was tried.
"""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from perdure import activity

BOOKS = "PERDURE_CHAOS_BOOKS"


class Entry(NamedTuple):
    key: str
    what: str
    of: str
    amount: int
    attempt: int
    at: float
    pid: int


def note(what: str, of: str, amount: int = 0, by: int = 0) -> None:
    """Called by an activity that does something to the world. `by`: for which process, if not its own."""
    info = activity.info()
    entry = Entry(info.idempotency_key, what, of, amount, info.attempt, time.time(), by or os.getpid())
    descriptor = os.open(os.environ[BOOKS], os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(descriptor, (json.dumps(entry) + "\n").encode())
    finally:
        os.close(descriptor)


def entries(path: Path) -> Iterator[Entry]:
    """All that was noted, in the order in which it happened."""
    if path.exists():
        for line in path.read_text().splitlines():
            yield Entry(*json.loads(line))

"""A line on a terminal that says how far the simulator has come; nothing anywhere else."""

import sys
import time
from types import TracebackType
from typing import Self

REDRAW_SECONDS = 0.1


class Counter:
    """Counts up to `most`; `said` makes the line."""

    def __init__(self, verb: str, most: int) -> None:
        self._verb = verb
        self._most = most
        self._done = 0
        self._next = 0.0 if sys.stderr.isatty() else float("inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if 0.0 < self._next < float("inf"):
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + REDRAW_SECONDS
        sys.stderr.write(f"\r\x1b[K{self._verb}: {self._done:,} of at most {self._most:,}")
        sys.stderr.flush()

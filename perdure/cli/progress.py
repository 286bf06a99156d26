"""One line at the bottom of a terminal that says how far long work has come; nothing anywhere else."""

import sys
import time
from types import TracebackType
from typing import Self

from perdure.cli.lines import clip_line, painted
from perdure.cli.options import Settings
from perdure.cli.times import took
from perdure.cli.tokens import Line

PATIENCE_S = 0.5
"""Work that takes no longer is not worth a line."""

REDRAW_S = 0.1
CELLS = 24


class Progress:
    """Counts up to `total`, None if that is not known. The line is wiped at the end, and before anything is written.

    `verb` is what is done, such as "exporting".
    """

    def __init__(self, settings: Settings, verb: str, total: int | None) -> None:
        self._settings = settings
        self._verb = verb
        self._total = total
        self._done = 0
        self._began = time.monotonic()
        self._next = self._began + PATIENCE_S if settings.lively(sys.stderr) else float("inf")
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.wipe()

    def step(self) -> None:
        """One more is done."""
        self._done += 1
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + REDRAW_S
        self._drawn = True
        settings = self._settings
        line = clip_line(self.line(now - self._began), settings.width - 1)
        sys.stderr.write(f"\r\x1b[K{painted(line, settings.colored(sys.stderr), settings.plain_signs(sys.stderr))}")
        sys.stderr.flush()

    def line(self, seconds: float) -> Line:
        """What is shown after so many seconds."""
        if not self._total:
            return [(f"{self._verb}  ", "dim"), (f"{self._done:,}", ""), (f"  {took(seconds)}", "dim")]
        done = min(self._done, self._total)
        full = CELLS * done // self._total
        rest = seconds / done * (self._total - done) if done else 0.0
        left = f"  about {took(max(rest, 1))} left" if done < self._total else ""
        return [
            (f"{self._verb}  ", "dim"),
            ("━" * full, "running"),
            ("─" * (CELLS - full), "dim"),
            (f"  {done:,} of {self._total:,}", ""),
            (left, "dim"),
        ]

    def wipe(self) -> None:
        """Make room for a line of somebody else."""
        if self._drawn:
            self._drawn = False
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

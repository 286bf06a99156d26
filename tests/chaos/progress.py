"""What is seen of the storm while it rages: a bar on a terminal, now and then a line elsewhere."""

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

from tests.chaos.plan import Blow

LINE_EVERY_SECONDS = 10.0


class Progress:
    """Seconds of the plan, runs that have ended, blows, processes that were killed."""

    def __init__(self, seconds: float, quiet: bool = False) -> None:
        self._seconds = seconds
        self._quiet = quiet
        self._console = Console(stderr=True, highlight=False)
        self._started = self._last_line = time.monotonic()
        self._live = self._console.is_terminal and not quiet
        columns = (BarColumn(bar_width=32), TextColumn("{task.fields[told]}"), TimeElapsedColumn())
        self._bar = Bar(*columns, console=self._console, auto_refresh=False, disable=not self._live)
        self._task = self._bar.add_task("storm", total=seconds, told="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, ended: int, blows: Mapping[str, int], killed: int) -> None:
        now = time.monotonic()
        told = f"{ended:,}{'+' if ended > 10_000 else ''} runs ended   {sum(blows.values())} blows   {killed} processes killed"
        self._bar.update(self._task, completed=now - self._started, told=told, refresh=self._live)
        if not self._live and now - self._last_line >= LINE_EVERY_SECONDS:
            self._last_line = now
            self.say(told)

    def struck(self, blow: Blow) -> None:
        lasts = f" for {blow.seconds:g} s" if blow.seconds else ""
        if self._live:
            self.say(f"✗ {blow.kind}{lasts}")

    def say(self, text: str) -> None:
        """A line above the bar, with the time since the start."""
        if not self._quiet:
            style = "red" if text.startswith("✗") else ""
            elapsed = time.monotonic() - self._started
            self._console.print(f"{elapsed:6.1f} s  {text}", style=style, markup=False, soft_wrap=True)

"""Progress on stderr: a bar on a terminal, now and then a line elsewhere."""

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

LINE_EVERY_SECONDS = 3.0


class Progress:
    """Orders done, retries at the payment service, kills, time."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._console = Console(stderr=True, highlight=False)
        self._started = self._last_line = time.monotonic()
        columns = (
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("orders   {task.fields[retries]} retries   {task.fields[kills]} kills"),
            TimeElapsedColumn(),
        )
        self._bar = Bar(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self._bar.add_task("orders", total=total, retries=0, kills=0)

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bar.stop()

    def update(self, done: int, retries: int, kills: int) -> None:
        self._bar.update(self._task, completed=done, retries=retries, kills=kills)
        now = time.monotonic()
        if self._console.is_terminal or (now - self._last_line < LINE_EVERY_SECONDS and done < self._total):
            return
        self._last_line = now
        self.say(f"  {done}/{self._total} orders   {retries} retries   {kills} kills")

    def say(self, text: str) -> None:
        """A line above the bar, with the time since the start."""
        style = "red" if text.startswith("✗") else "green" if text.startswith("↻") else ""
        elapsed = time.monotonic() - self._started
        self._console.print(f"{elapsed:6.1f} s  {text}", style=style, markup=False, soft_wrap=True)

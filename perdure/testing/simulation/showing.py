"""A line on a terminal that says how far the simulator has come; nothing anywhere else."""

import sys
from typing import TYPE_CHECKING

from perdure.testing.simulation.batches import Tally

if TYPE_CHECKING:
    from rich.progress import Progress


def progress(*columns: str) -> "Progress":
    """A bar, and beside it what the columns say."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    console = Console(stderr=True)
    texts = [TextColumn(each) for each in columns]
    return Progress(
        texts[0], BarColumn(24), *texts[1:], console=console, transient=True, disable=not sys.stderr.isatty()
    )


def in_words(tally: Tally, seconds: float) -> str:
    """What was lived through in so many seconds."""
    pace = 60 * tally.lives / max(seconds, 0.001)
    elsewhere = f"; {tally.prefixes:,} prefixes replayed in other processes" if tally.prefixes else ""
    return (
        f"{tally.lives:,} lives ({pace:,.0f} a minute), {tally.simulated_seconds / 3600:,.0f} simulated hours, "
        f"{tally.commits:,} commits, {tally.disturbances:,} disturbances, {tally.crashes:,} crashes, "
        f"{len(tally.broken):,} in which a promise was broken{elsewhere}"
    )

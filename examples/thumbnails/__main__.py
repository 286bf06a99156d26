"""Makes the thumbnails, and shows how it gets on. Stopped with Ctrl-C and started again, it goes on where it was."""

import argparse
import asyncio
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from examples.thumbnails import workflows
from examples.thumbnails.workflows import Order, Sheet
from perdure import Engine, Handle

ROOT = Path(__file__).resolve().parents[2]
LOOK_SECONDS = 0.25


class Seen:
    """How far the run is, from what the engine tells of it."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.killed = 0

    async def look(self, handle: "Handle[Sheet]") -> None:
        steps = [step for step in (await handle.describe()).steps if step.name == workflows.thumbnail.name]
        self.done = sum(step.state == "completed" for step in steps)
        self.killed = sum(attempt.error is not None for step in steps for attempt in step.attempts)


async def follow(handle: "Handle[Sheet]", seen: Seen, console: Console) -> Sheet:
    """Until the run has ended, with a bar on a terminal."""
    columns = (
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TextColumn("thumbnails   {task.fields[rate]:.0f}/s   killed: {task.fields[killed]}"),
        TimeElapsedColumn(),
    )
    ended = asyncio.ensure_future(handle.result())
    with cancelling(ended), Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        await seen.look(handle)
        before, began = seen.done, time.monotonic()
        task = bar.add_task("thumbnails", total=seen.total, rate=0.0, killed=0)
        while True:
            over = ended.done()
            await seen.look(handle)
            rate = (seen.done - before) / max(time.monotonic() - began, 1e-9)
            bar.update(task, completed=seen.done, rate=rate, killed=seen.killed)
            if over:
                return ended.result()
            await asyncio.wait([ended], timeout=LOOK_SECONDS)


@contextmanager
def cancelling(future: "asyncio.Future[Sheet]") -> Iterator[None]:
    try:
        yield
    finally:
        future.cancel()  # when somebody has pressed Ctrl-C; else it has ended


async def make(images: int, kills: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    doomed = sorted(Random(images).sample(range(images), min(kills, images)))
    order = Order(images, str(folder), doomed)
    console, seen, began = Console(stderr=True, highlight=False), Seen(images), time.monotonic()
    async with Engine(f"sqlite:///{folder}/runs.db", [workflows]) as engine:
        # One that was interrupted is gone on with; one that has ended is made again.
        handle = await engine.start(workflows.gallery(order), id=f"gallery-{images}", id_reuse="allow_duplicate")
        sheet = await follow(handle, seen, console)
    seconds = time.monotonic() - began
    size = os.path.getsize(sheet.path) / 1e6
    print(f"{images:,} thumbnails in {seconds:.1f} s, {images / seconds:.0f} images/s")
    print(f"processes killed at their work, whose pictures were drawn again: {seen.killed}")
    print(f"contact sheet: {os.path.relpath(sheet.path)} ({sheet.width} × {sheet.height}, {size:.1f} MB)")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.thumbnails", description=__doc__)
    parser.add_argument("--images", type=int, default=1_000, help="how many, by default 1,000")
    parser.add_argument("--kills", type=int, default=3, help="how many processes die at their work, by default 3")
    parser.add_argument("--dir", type=Path, default=ROOT / ".demo" / "thumbnails", help="where to put them")
    options = parser.parse_args()
    if options.images < 1:
        parser.error("there must be at least one image")
    logging.getLogger("perdure").setLevel(logging.ERROR)  # that processes are killed is part of the story here
    try:
        asyncio.run(make(options.images, options.kills, options.dir.resolve()))
    except KeyboardInterrupt:
        print("stopped; the same command goes on where this one was", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

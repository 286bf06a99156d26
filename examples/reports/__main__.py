"""Makes the report, with three worker processes of which one is killed. Stopped with Ctrl-C and started again, it goes on
where it was.
"""

import argparse
import asyncio
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, track

from examples.reports import workflows
from examples.reports.sales import write_sales
from examples.reports.workflows import Order, Report
from perdure import Engine, Handle

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 3
LOOK_SECONDS = 0.1


def prepare(order: Order, lines: int, console: Console) -> None:
    """Write what the shops have sold, where it is not there yet."""
    shops = range(order.shops)
    for shop in track(shops, "sales", console=console, transient=True, disable=not console.is_terminal):
        path = Path(order.folder) / f"shop-{shop:03}.csv"
        if not path.exists():
            write_sales(path, shop, lines)


@contextmanager
def workers(address: str) -> "Iterator[list[subprocess.Popen[bytes]]]":
    """Three processes that serve the queue, as `perdure worker` on three machines' screens would."""
    command = [sys.executable, "-m", "perdure", "worker", "--quiet", "--db", address, "--queue", workflows.QUEUE]
    processes = [subprocess.Popen([*command, "--threads", "1", workflows.__name__], cwd=ROOT) for _ in range(WORKERS)]
    try:
        yield processes
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


async def follow(handle: "Handle[Report]", victim: "subprocess.Popen[bytes]", shops: int, console: Console) -> Report:
    """Until the run has ended, with a bar on a terminal. A worker is killed when a third is done, if it is at work."""
    columns = (
        BarColumn(bar_width=40),
        MofNCompleteColumn(),
        TextColumn("sections   workers: {task.fields[alive]}   lost and made again: {task.fields[lost]}"),
        TimeElapsedColumn(),
    )
    ended = asyncio.ensure_future(handle.result())
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("sections", total=shops, alive=WORKERS, lost=0)
            while not ended.done():
                done, lost = await progress(handle)
                if done >= shops / 3 and victim.poll() is None:
                    victim.kill()
                bar.update(task, completed=done, alive=WORKERS - (victim.poll() is not None), lost=lost)
                await asyncio.wait([ended], timeout=LOOK_SECONDS)
            done, lost = await progress(handle)
            bar.update(task, completed=done, lost=lost)
        return ended.result()
    finally:
        ended.cancel()  # when somebody has pressed Ctrl-C; else it has ended


async def progress(handle: "Handle[Report]") -> tuple[int, int]:
    """How many sections are done, and how many attempts were lost."""
    steps = [step for step in (await handle.describe()).steps if step.name == workflows.section.name]
    lost = sum(attempt.error is not None for step in steps for attempt in step.attempts)
    return sum(step.state == "completed" for step in steps), lost


async def make(shops: int, lines: int, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    console, order = Console(stderr=True, highlight=False), Order(shops, str(folder))
    prepare(order, lines, console)
    address, began = f"sqlite:///{folder}/runs.db", time.monotonic()
    async with Engine(address, [workflows]) as engine:
        # One that was interrupted is gone on with; one that has ended is made again.
        handle = await engine.start(workflows.yearly_report(order), id=f"report-{shops}", id_reuse="allow_duplicate")
        with workers(address) as processes:
            report = await follow(handle, processes[0], shops, console)
        _, lost = await progress(handle)
    by_process = sorted(report.by_process.items(), key=lambda item: item[0] != processes[0].pid)
    print(f"{shops:,} sections in {time.monotonic() - began:.1f} s by {WORKERS} workers")
    for process, count in by_process:
        fate = ", then killed" if process == processes[0].pid else ""
        print(f"  worker {process}: {count:,}{fate}")
    print(f"sections lost with it, and made again by the others: {lost}")
    print(f"report: {os.path.relpath(report.path)} ({report.cents / 100:,.0f} € in all)")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.reports", description=__doc__)
    parser.add_argument("--shops", type=int, default=96, help="how many, by default 96")
    parser.add_argument("--lines", type=int, default=20_000, help="sales of each, by default 20,000")
    parser.add_argument("--dir", type=Path, default=ROOT / ".demo" / "reports", help="where to put it all")
    options = parser.parse_args()
    if options.shops < 1 or options.lines < 1:
        parser.error("there must be at least one shop, and one sale")
    logging.getLogger("perdure").setLevel(logging.ERROR)  # that a worker is killed is the story here
    try:
        asyncio.run(make(options.shops, options.lines, options.dir.resolve()))
    except KeyboardInterrupt:
        print("stopped; the same command goes on where this one was", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())

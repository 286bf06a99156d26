"""What people say to runs: how long a signal, a query and an update take, and whether many signals to one run cost more each."""

import asyncio
import time
from statistics import median

from bench.counted import CountedStore
from bench.figures import LINEAR, Figure, Setting
from bench.floor import BareCommits, written
from perdure import Engine, channel, wait_until, workflow

numbers = channel("numbers", int)


@workflow
async def adds(count: int) -> int:
    return sum([await numbers.receive() for _ in range(count)])


@workflow
class Desk:
    def __init__(self) -> None:
        self.heard = 0
        self.is_over = False

    @workflow.run
    async def run(self) -> int:
        await wait_until(lambda: self.is_over)
        return self.heard

    @workflow.signal
    def note(self, number: int) -> None:
        self.heard += 1

    @workflow.signal
    def end(self) -> None:
        self.is_over = True

    @workflow.query
    def count(self) -> int:
        return self.heard

    @workflow.update
    def add(self, number: int) -> int:
        self.heard += number
        return self.heard


async def run(setting: Setting) -> list[Figure]:
    count, many = setting.pick((500, 10_000), (100, 2_000), (3, 20))
    store = CountedStore(setting.folder / "messages.db")
    commits = _timed_commits(store)
    async with Engine(store, [adds, Desk]) as engine:
        desk = await engine.start(Desk.run(), id="desk")
        await desk.signal(Desk.note, 0)
        before = written(store.database, store.commits)
        await desk.signal(Desk.note, 0)
        wrote = written(store.database, store.commits) - before
        signals: list[float] = []
        floors: list[float] = []
        commits.clear()
        with BareCommits(setting.folder) as bare:
            for n in range(count):
                began = time.perf_counter()
                await desk.signal(Desk.note, n)
                signals.append(time.perf_counter() - began)
                floors.append(bare.commit(wrote))
        commit = median(commits)
        queries = [await _took(desk.query(Desk.count)) for _ in range(count)]
        updates = [await _took(desk.update(Desk.add, 1)) for _ in range(count)]
        await desk.signal(Desk.end)
        costs = {size: await _told(engine, size) for size in (many // 10, many)}

    def each(size: int) -> float:
        return costs[size] / size * 1e6

    return [
        Figure(
            "signal, p50; at most 2 of its commits", median(signals) * 1e3, "ms", median(floors) * 1e3, 2e3 * commit
        ),
        Figure("  the commit of it", commit * 1e3, "ms", median(floors) * 1e3),
        Figure("query, p50", median(queries) * 1e3, "ms"),
        Figure("update with its answer, p50", median(updates) * 1e3, "ms"),
        Figure(
            f"{many:,} signals to one run, each, CPU", each(many), "µs", each(many // 10), LINEAR * each(many // 10)
        ),
    ]


def _timed_commits(store: CountedStore) -> list[float]:
    """What each commit of the engine takes from now on, in seconds."""
    commit, took = store.journal.commit, []

    def timed(batch: object) -> None:
        began = time.perf_counter()
        commit(batch)
        took.append(time.perf_counter() - began)

    store.journal.commit = timed
    return took


async def _told(engine: Engine, many: int) -> float:
    """What a run costs that is told so much, 200 at a time, in seconds of a processor."""
    handle = await engine.start(adds(many), id=f"adds-{many}")
    began = time.process_time()
    for first in range(0, many, 200):
        await asyncio.gather(*(handle.signal(numbers, n) for n in range(first, min(first + 200, many))))
    await handle.result()
    return time.process_time() - began


async def _took(answer: object) -> float:
    began = time.perf_counter()
    await answer  # type: ignore[misc]
    return time.perf_counter() - began


def measure(setting: Setting) -> list[Figure]:
    return asyncio.run(run(setting))

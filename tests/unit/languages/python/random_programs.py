"""Workflows made by chance: a nested list says what to do, and one workflow does it.

Run as a program it replays the histories it is given on standard input, and says which diverge.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[4]))

from hypothesis import strategies as st

from perdure.activities import activity
from perdure.workflows import patched, saga, workflow


@activity
async def step(n: int) -> int:
    return n


@activity
async def boom(n: int) -> int:
    raise ValueError(f"boom {n}")


@workflow
async def perform(spec: list) -> list:
    log: list[Any] = []
    try:
        await do(spec, log, asyncio.Semaphore(2))
    except Exception as error:  # noqa: BLE001
        log.append(type(error).__name__)
        await step(1_000 + len(log))
    return log


async def do(spec: list, log: list, gate: asyncio.Semaphore) -> int:
    kind, *rest = spec
    return await DO[kind](log, gate, *rest)


async def _act(log: list, gate: asyncio.Semaphore, n: int) -> int:
    log.append(await step(n))
    return n


async def _fail(log: list, gate: asyncio.Semaphore, n: int) -> int:
    return await boom(n)


async def _sleep(log: list, gate: asyncio.Semaphore, n: int) -> int:
    await asyncio.sleep(n / 1_000)
    log.append(f"slept {n}")
    return n


async def _sequence(log: list, gate: asyncio.Semaphore, specs: list) -> int:
    return sum([await do(spec, log, gate) for spec in specs])


async def _gather(log: list, gate: asyncio.Semaphore, specs: list, keep: bool) -> int:
    found = await asyncio.gather(*(do(spec, log, gate) for spec in specs), return_exceptions=keep)
    log.append(len(log))
    return sum(value for value in found if isinstance(value, int))


async def _group(log: list, gate: asyncio.Semaphore, specs: list) -> int:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(do(spec, log, gate)) for spec in specs]
    return sum(task.result() for task in tasks)


async def _completed(log: list, gate: asyncio.Semaphore, specs: list, timeout: int) -> int:
    found = 0
    for earliest in asyncio.as_completed([do(spec, log, gate) for spec in specs], timeout=timeout / 1_000 or None):
        found += await earliest
        await _act(log, gate, found)
    return found


async def _timeout(log: list, gate: asyncio.Semaphore, spec: list, n: int) -> int:
    try:
        async with asyncio.timeout(n / 1_000):
            return await do(spec, log, gate)
    except TimeoutError:
        return await _act(log, gate, n)


async def _wait_for(log: list, gate: asyncio.Semaphore, spec: list, n: int) -> int:
    try:
        return await asyncio.wait_for(do(spec, log, gate), n / 1_000)
    except TimeoutError:
        log.append("late")
        return 0


async def _cancel(log: list, gate: asyncio.Semaphore, spec: list, before: list) -> int:
    task = asyncio.create_task(do(spec, log, gate))
    found = await do(before, log, gate)
    task.cancel()
    await asyncio.wait([task])
    log.append("cancelled" if task.cancelled() else "ended")
    return found


async def _finally(log: list, gate: asyncio.Semaphore, spec: list, cleanup: list) -> int:
    try:
        return await do(spec, log, gate)
    finally:
        await do(cleanup, log, gate)


async def _shield(log: list, gate: asyncio.Semaphore, spec: list) -> int:
    return await asyncio.shield(do(spec, log, gate))


async def _first(log: list, gate: asyncio.Semaphore, specs: list) -> int:
    tasks = [asyncio.create_task(do(spec, log, gate)) for spec in specs]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    for task in done:
        log.append("failed" if task.exception() else task.result())
    return len(pending)


async def _gated(log: list, gate: asyncio.Semaphore, spec: list) -> int:
    if gate.locked():
        log.append("full")
        return await _act(log, gate, 0)
    async with gate:
        return await do(spec, log, gate)


async def _ask(log: list, gate: asyncio.Semaphore, n: int) -> int:
    log.append(workflow.side_effect(lambda: n))
    log.append(str(workflow.uuid4()))
    if patched(f"patch-{n}"):
        await _act(log, gate, n)
    return workflow.random().randrange(10)


async def _saga(log: list, gate: asyncio.Semaphore, specs: list, parallel: bool) -> int:
    registered: list[int] = []

    async def undone(n: int) -> None:
        await asyncio.sleep(n / 1_000)
        await step(n)
        registered.remove(n)

    found = 0
    SAGAS.append(registered)
    async with saga(parallel=parallel) as undo:
        for n, spec in enumerate(specs):
            undo(undone, n)
            registered.append(n)
            found += await do(spec, log, gate)
        registered.clear()
    return found


SAGAS: list[list[int]] = []
"""What the sagas of a program have still to undo: nothing, when it has ended."""

DO = {
    "act": _act,
    "fail": _fail,
    "sleep": _sleep,
    "sequence": _sequence,
    "gather": _gather,
    "group": _group,
    "completed": _completed,
    "timeout": _timeout,
    "wait_for": _wait_for,
    "cancel": _cancel,
    "finally": _finally,
    "shield": _shield,
    "first": _first,
    "gated": _gated,
    "ask": _ask,
    "saga": _saga,
}
NUMBERS = st.integers(0, 9)


def _larger(specs: st.SearchStrategy[list]) -> st.SearchStrategy[list]:
    many = st.lists(specs, min_size=1, max_size=4)
    return st.one_of(
        st.tuples(st.just("sequence"), many),
        st.tuples(st.just("gather"), many, st.booleans()),
        st.tuples(st.just("group"), many),
        st.tuples(st.just("completed"), many, NUMBERS),
        st.tuples(st.just("timeout"), specs, NUMBERS),
        st.tuples(st.just("wait_for"), specs, NUMBERS),
        st.tuples(st.just("cancel"), specs, specs),
        st.tuples(st.just("finally"), specs, specs),
        st.tuples(st.just("shield"), specs),
        st.tuples(st.just("first"), many),
        st.tuples(st.just("gated"), specs),
        st.tuples(st.just("saga"), many, st.booleans()),
    ).map(list)


_LEAVES = st.one_of(*(st.tuples(st.just(kind), NUMBERS).map(list) for kind in ("act", "act", "fail", "sleep", "ask")))
PROGRAMS = st.recursive(_LEAVES, _larger, max_leaves=14)


def main() -> None:
    import msgspec

    from perdure.kernel.events import HistoryEvent
    from perdure.kernel.program import replay
    from tests.unit.languages.python.workflow_driver import Driver

    diverging = []
    for spec, history in json.load(sys.stdin):
        driver = Driver(perform, [step, boom], [spec])
        driver.history = msgspec.convert(history, list[HistoryEvent])
        try:
            replay(driver.load(), driver.history)
        except Exception as error:  # noqa: BLE001
            diverging.append(f"{spec}: {error}")
    json.dump(diverging, sys.stdout)


if __name__ == "__main__":
    main()

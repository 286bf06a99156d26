"""Workflows whose recorded histories must replay for ever: each uses one corner of asyncio.

Never change one of them: add another. After adding: `python tests/histories/record.py` on every supported Python.
"""

import asyncio
import collections
from typing import Any

import msgspec

from perdure.activities import activity
from perdure.errors import ChildFailed, RunClosed
from perdure.kernel.events import Payload
from perdure.kernel.messages import ClaimTask, CompleteTask, HumanMail, ReleaseTask, Signal, Update
from perdure.streams import stream
from perdure.tasks import task as ask_people
from perdure.workflows import (
    channel,
    continue_as_new,
    deprecate_patch,
    external,
    patched,
    publish,
    saga,
    sleep,
    start_child,
    wait_until,
    workflow,
)


@activity
async def step(n: int) -> int:
    return n


@activity
async def boom(n: int) -> int:
    raise ValueError(f"boom {n}")


@workflow
async def sequence() -> int:
    return sum([await step(n) for n in range(5)])


@workflow
async def timers() -> str:
    await sleep("3 days")
    await asyncio.sleep(0.25)
    await asyncio.sleep(0)
    await asyncio.sleep(1 / 3)
    return workflow.now().isoformat()


async def pair(n: int) -> list[int]:
    return await asyncio.gather(step(n), step(n + 1))


@workflow
async def nested_gather() -> list[list[int]]:
    return await asyncio.gather(*(pair(10 * n) for n in range(4)))


@workflow
async def gather_first_error() -> int:
    try:
        await asyncio.gather(step(1), boom(2), pair(3))
    except Exception:  # noqa: BLE001
        return await step(9)
    return 0


@workflow
async def gather_exceptions() -> list[str]:
    found = await asyncio.gather(step(1), boom(2), pair(3), return_exceptions=True)
    return [type(value).__name__ for value in found]


@workflow
async def gather_done_futures() -> list[int]:
    first = asyncio.create_task(step(1))
    await first
    log: list[int] = []

    async def follow(n: int) -> None:
        await asyncio.gather(first, first)
        log.append(n)
        await step(100 + len(log))

    async def hop(n: int) -> None:
        await asyncio.sleep(0)
        log.append(n)
        await step(200 + len(log))

    await asyncio.gather(follow(1), hop(2), follow(3))
    return log


@workflow
async def gather_cancelled() -> str:
    gathered = asyncio.gather(step(1), pair(2))
    await step(0)
    gathered.cancel()
    try:
        await gathered
    except asyncio.CancelledError:
        await step(9)
        return "cancelled"
    return "done"


async def cleaning(n: int, log: list[int]) -> None:
    try:
        await step(n)
        await asyncio.sleep(1_000)
    except asyncio.CancelledError:
        log.append(n)
        await step(50 + n)
        raise


@workflow
async def group_abort() -> list[int]:
    log: list[int] = []
    try:
        async with asyncio.TaskGroup() as group:
            for n in range(8):
                group.create_task(cleaning(n, log))
            group.create_task(boom(99))
    except* Exception:  # noqa: BLE001
        log.append(-1)
    await step(len(log))
    return log


@workflow
async def group_nested() -> int:
    async def inner(n: int) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(step(10 * n + i)) for i in range(3)]
        return sum(task.result() for task in tasks)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(inner(n)) for n in range(3)]
    return sum(task.result() for task in tasks)


@workflow
async def group_cancelled_from_outside() -> str:
    log: list[str] = []

    async def child() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            await step(7)
            raise ValueError("while it was cancelled")

    async def grouping() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
        except* ValueError:
            log.append("group failed")
        try:
            await step(8)
            log.append("not cancelled any more")
        except asyncio.CancelledError:
            log.append("still cancelled")
            await step(9)

    task = asyncio.create_task(grouping())
    await step(1)
    task.cancel()
    await asyncio.wait([task])
    return ", ".join(log)


@workflow
async def completed_order() -> list[int]:
    found = []
    for next_one in asyncio.as_completed([step(n) for n in range(6)]):
        found.append(await next_one)
        await step(100 + len(found))
    return found


@workflow
async def completed_timeout() -> list[int]:
    found: list[int] = []
    try:
        for next_one in asyncio.as_completed([step(n) for n in range(6)], timeout=0.002):
            found.append(await next_one)
    except TimeoutError:
        await step(77)
    return found


@workflow
async def wait_for_call() -> list[str]:
    found = []
    for n in range(4):
        try:
            found.append(str(await asyncio.wait_for(step(n), 0.001)))
        except TimeoutError:
            found.append("late")
            await step(10 + n)
    return found


@workflow
async def wait_for_coroutine() -> str:
    try:
        await asyncio.wait_for(pair(1), 0)
    except TimeoutError:
        await step(2)
    try:
        return str(await asyncio.wait_for(pair(3), 1))
    except TimeoutError:
        return str(await asyncio.wait_for(pair(5), None))


@workflow
async def timeouts() -> list[str]:
    log = []
    for n in range(3):
        try:
            async with asyncio.timeout(0.003) as outer:
                async with asyncio.timeout(0.002 + n / 1_000):
                    await pair(n)
                    outer.reschedule(asyncio.get_running_loop().time() + 1)
                    await step(30 + n)
                log.append("in time")
        except TimeoutError:
            log.append("late")
            await step(60 + n)
    return log


@workflow
async def cancelling() -> list[int]:
    log: list[int] = []
    tasks = [asyncio.create_task(cleaning(n, log)) for n in range(5)]
    await step(70)
    for task in {*tasks[1:4]}:
        task.cancel("enough")
    await asyncio.wait(tasks[1:4])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return log


@workflow
async def shielded() -> list[int]:
    log: list[int] = []

    async def precious() -> int:
        log.append(await step(1))
        log.append(await step(2))
        return 3

    task = asyncio.create_task(precious())
    try:
        async with asyncio.timeout(0.0005):
            await asyncio.shield(task)
    except TimeoutError:
        log.append(-1)
    log.append(await task)
    log.append(await asyncio.shield(step(4)))
    return log


@workflow
async def waiting() -> list[int]:
    tasks = [asyncio.create_task(step(n)) for n in range(6)]
    counts = []
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED, timeout=0.001)
        counts.append(len(done))
        for task in done:
            await step(20 + task.result())
    return counts


@workflow
async def queued() -> list[int]:
    queue: asyncio.Queue[int] = asyncio.Queue(2)
    found: list[int] = []

    async def produce(n: int) -> None:
        for i in range(3):
            await queue.put(await step(10 * n + i))

    async def consume() -> None:
        while True:
            found.append(await queue.get())
            await step(100 + len(found))
            queue.task_done()

    consumers = [asyncio.create_task(consume()) for _ in range(2)]
    await asyncio.gather(*(produce(n) for n in range(3)))
    await queue.join()
    for consumer in consumers:
        consumer.cancel()
    return found


@workflow
async def locked() -> list[int]:
    lock = asyncio.Lock()
    log: list[int] = []

    async def worker(n: int) -> None:
        await step(n)
        async with lock:
            log.append(n)
            await step(10 + n)

    await asyncio.gather(*(worker(n) for n in range(4)))
    return log


@workflow
async def semaphore() -> list[int]:
    gate = asyncio.Semaphore(2)
    log: list[int] = []

    async def worker(n: int) -> None:
        async with gate:
            log.append(n)
            await step(n)

    tasks = [asyncio.create_task(worker(n)) for n in range(7)]
    await step(50)
    tasks[3].cancel()
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await worker(9)
    return log


@workflow
async def condition() -> list[int]:
    news = asyncio.Condition()
    items: collections.deque[int] = collections.deque()
    log: list[int] = []

    async def reader(n: int) -> None:
        async with news:
            await news.wait_for(lambda: bool(items))
            log.append(10 * n + items.popleft())
        await step(log[-1])

    readers = [asyncio.create_task(reader(n)) for n in range(4)]
    for n in range(4):
        items.append(await step(n))
        async with news:
            news.notify()
        if n == 1:
            readers[0].cancel()
    items.append(9)
    async with news:
        news.notify_all()
    await asyncio.gather(*readers, return_exceptions=True)
    return log


@workflow
async def events() -> list[int]:
    ready = asyncio.Event()
    log: list[int] = []

    async def waiter(n: int) -> None:
        await ready.wait()
        log.append(await step(n))

    async with asyncio.TaskGroup() as group:
        for n in range(4):
            group.create_task(waiter(n))
        await step(40)
        ready.set()
    return log


@workflow
async def callbacks() -> int:
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    tasks = []

    def later() -> None:
        tasks.append(loop.create_task(step(3)))
        loop.call_later(1, future.set_result, 4)

    loop.call_later(2, later)
    loop.call_soon(later)
    await step(1)
    try:
        await future
    except asyncio.InvalidStateError:
        await step(2)
    return sum(await asyncio.gather(*tasks)) + future.result()


@workflow
async def asking_the_run() -> list[str]:
    found = [str(workflow.uuid4()), str(workflow.random().randrange(1_000))]
    await step(1)
    found.append(str(workflow.side_effect(lambda: 17)))
    if patched("new-way"):
        await step(2)
    async with asyncio.timeout(None):
        await step(workflow.random().choice([5, 6, 7]))
    return found


@workflow
async def changes() -> list[bool]:
    """Changes in loops and in branches at the same time: one answer, one mark, whoever comes to it first."""

    async def branch(n: int) -> bool:
        await step(n)
        answer = patched("in branches")
        if answer:
            await step(10 + n)
        return answer

    deprecate_patch("without an old way")
    for n in range(3):
        await step(n if patched("in a loop") else 9)
    return await asyncio.gather(*(branch(n) for n in range(3)))


@workflow
async def undone_cancellation() -> list[str]:
    log: list[str] = []
    me = asyncio.current_task()
    assert me is not None
    me.cancel()
    me.uncancel()
    log.append(str(await step(1)))
    me.cancel()
    try:
        await step(2)
    except asyncio.CancelledError:
        log.append(f"cancelled {me.cancelling()}")
        me.uncancel()
    log.append(str(await step(3)))
    return log


@workflow
class Account:
    """A workflow that is a class."""

    def __init__(self) -> None:
        self.balance = 0

    async def pay(self, amount: int) -> None:
        self.balance += await step(amount)

    @workflow.run
    async def run(self) -> int:
        await asyncio.gather(*(self.pay(n) for n in range(3)))
        return self.balance


@workflow
async def generators() -> list[int]:
    async def numbers(n: int):
        try:
            for i in range(n):
                yield await step(i)
        finally:
            await step(90)

    found = [n async for n in numbers(2)]
    async for n in numbers(5):
        if n == 1:
            break
    found.append(await step(50))
    return found


async def undo_slowly(n: int) -> None:
    await asyncio.sleep(n / 100)
    await asyncio.gather(step(n), step(n + 1))


@workflow
async def saga_fails() -> list[str]:
    told: list[str] = []
    for parallel in (False, True):
        try:
            async with saga(parallel=parallel) as outer:
                outer(step, 1)
                outer(undo_slowly, 2)
                async with saga() as inner:
                    inner(step, 3)
                    inner(step(4))
                    await boom(5)
        except Exception as error:  # noqa: BLE001
            told.append(type(error).__name__)
            await step(6)
    return told


@workflow
async def saga_interrupted() -> list[str]:
    told: list[str] = []

    async def leg(n: int) -> None:
        async with saga() as undo:
            undo(undo_slowly, n)
            await (boom(n) if n == 2 else asyncio.sleep(n))
            undo(step, n)
            await asyncio.sleep(1_000)

    try:
        async with asyncio.timeout(0.05), saga() as undo:
            undo(undo_slowly, 9)
            async with asyncio.TaskGroup() as group:
                for n in range(4):
                    group.create_task(leg(n))
    except (TimeoutError, ExceptionGroup) as error:
        told.append(type(error).__name__)
        await step(90)
    told.append(str(asyncio.current_task().cancelling()))  # type: ignore[union-attr]
    return told


@workflow
async def saga_of_a_task_left_over() -> int:
    async def leg() -> None:
        async with saga() as undo:
            undo(undo_slowly, 7)
            await asyncio.sleep(1_000)

    asyncio.create_task(leg())  # noqa: RUF006
    return await step(1)


async def told(name: str, n: int) -> int:
    own, both = stream(name), stream("both")
    for _ in range(n):
        own.write({"n": n})
        await both.write(n)
        both.write(-n)
    return await step(n)


@workflow
async def streams() -> int:
    """What is written in one turn by several tasks, to streams of their own and to one that they share."""
    stream("both").write("begins")
    found = await asyncio.gather(told("a", 1), told("b", 2), told("c", 3))
    await sleep(1)
    stream("a").close()
    stream("both").write("ends")
    return sum(found)


@workflow
class Talkative:
    """Handlers of every kind at work beside the main line, one of which raises; conditions wake one after the other."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.turn = 0
        self.is_over = False

    @workflow.run
    async def run(self) -> list[str]:
        publish("heard", 0)
        first = asyncio.create_task(self.take_turn(1))
        second = asyncio.create_task(self.take_turn(2))
        await wait_until(lambda: self.is_over)
        await asyncio.gather(first, second)
        await wait_until(workflow.all_handlers_finished)
        return self.heard

    async def take_turn(self, n: int) -> None:
        await wait_until(lambda: self.turn >= n)
        self.turn = 0
        self.heard.append(f"turn {n} {await step(n)}")

    @workflow.signal
    async def note(self, text: str) -> None:
        for n in range(2):
            self.heard.append(f"{text} {await step(n)}")
        publish("heard", len(self.heard))

    @workflow.signal
    def pass_on(self) -> None:
        self.turn = 2

    @workflow.signal
    def end(self) -> None:
        self.is_over = True

    @workflow.update
    async def ask(self, n: int) -> int:
        await sleep(n)
        if n == 2:
            raise ValueError("not two")
        return await step(n)


letters = channel("letters", str)


@workflow
async def reads_letters() -> list[str]:
    async def read(n: int) -> str:
        text = await letters.receive()
        return f"{n} {text} {await step(n)}"

    found = list(await asyncio.gather(*(read(n) for n in range(3))))
    publish("found", found)
    try:
        await letters.receive(timeout=5)
    except TimeoutError:
        found.append("late")
    return found


@workflow
async def asks_people() -> list[str]:
    """Two tasks beside each other, reminders of which are told by steps of their own; one that expires, one withdrawn."""

    async def ask(n: int) -> str:
        asked = ask_people(f"task {n}", form=str, assignees=["ann"], due=2, remind=1, notify=lambda notice: step(n))
        outcome = await asked.with_actor()
        return f"{outcome.value} by {outcome.by} {await step(n)}"

    found = list(await asyncio.gather(ask(0), ask(1)))
    try:
        await ask_people("nobody does", timeout=3, notify=lambda notice: None)
    except TimeoutError:
        found.append("expired")
    try:
        async with asyncio.timeout(2):
            await ask_people("nobody waits", data=[1])
    except TimeoutError:
        found.append("withdrawn")
    return found


def signal(name: str, *args: Any) -> Signal:
    return Signal(name, Payload(msgspec.json.encode(args)))


def update(id: str, name: str, *args: Any) -> Update:
    return Update(id, name, Payload(msgspec.json.encode(args)))


@workflow
async def leaf(n: int) -> int:
    return n


@workflow
async def fails(n: int) -> int:
    raise ValueError(n)


@workflow
async def children() -> list[int]:
    """At once and one after the other, that fail, and that are cancelled in each way."""
    got = [*await asyncio.gather(leaf(1), step(2), leaf(3))]
    named = await start_child(leaf(4).with_options(id="named", parent_close="cancel", run_timeout="1h"))
    other = await start_child(leaf(5))
    try:
        await fails(6)
    except ChildFailed:
        got.append(await step(6))
    for cancellation in ("wait", "try", "abandon"):
        try:
            async with asyncio.timeout(1e-6):
                got.append(await leaf(7).with_options(cancellation=cancellation))
        except TimeoutError:
            got.append(await step(7))
    other.cancel("not needed")
    try:
        got.append(await other)
    except ChildFailed:
        got.append(await step(8))
    return [*got, await named]


@workflow
async def speaks_to_others() -> str:
    await asyncio.gather(external("one").cancel("enough"), external("two").signal("word", 1), step(1))
    try:
        await external("closed").cancel()
    except RunClosed as closed:
        await step(2)
        return str(closed)
    return ""


@workflow
async def goes_on(n: int = 0) -> int:
    async with saga() as undo:
        undo(step, 1)
        await asyncio.gather(step(n), sleep(1))
        continue_as_new(n + workflow.info().history_length)
    return n


SAID: dict[str, list[Signal | Update | HumanMail]] = {
    "Talkative": [
        signal("note", "a"),
        update("u1", "ask", 1),
        signal("pass_on"),
        update("u2", "ask", 2),
        signal("note", "b"),
        signal("pass_on"),
        signal("end"),
        update("u3", "ask", 3),
    ],
    "reads_letters": [signal("letters", text) for text in "xyz"],
    "asks_people": [
        ClaimTask("0.1:1", "ann"),
        ReleaseTask("0.1:1", "ann"),
        CompleteTask("0.2:1", "ann", Payload(b'"second"')),
        CompleteTask("0.1:1", "ann", Payload(b'"first"')),
    ],
}
"""What the runs of a workflow are told, in this order, at any time."""

ACTIVITIES = [step, boom]
WORKFLOWS = [
    sequence,
    timers,
    nested_gather,
    gather_first_error,
    gather_exceptions,
    gather_done_futures,
    gather_cancelled,
    group_abort,
    group_nested,
    group_cancelled_from_outside,
    completed_order,
    completed_timeout,
    wait_for_call,
    wait_for_coroutine,
    timeouts,
    cancelling,
    shielded,
    waiting,
    queued,
    locked,
    semaphore,
    condition,
    events,
    callbacks,
    asking_the_run,
    changes,
    undone_cancellation,
    Account.run,
    generators,
    saga_fails,
    saga_interrupted,
    saga_of_a_task_left_over,
    streams,
    Talkative.run,
    reads_letters,
    asks_people,
    children,
    speaks_to_others,
    goes_on,
]

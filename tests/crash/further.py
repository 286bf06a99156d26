"""More of what is killed: what `scenarios.py` has no room for, one small program for each thing a run can do."""

import asyncio
import contextlib
from typing import Any

from perdure import (
    ActivityFailed,
    ChildFailed,
    Client,
    Engine,
    RunCancelled,
    RunClosed,
    RunExists,
    RunTerminated,
    activity,
    channel,
    continue_as_new,
    deprecate_patch,
    saga,
    start_child,
    stream,
    task,
    wait_until,
    workflow,
)
from perdure.client.importing import import_runs
from perdure.errors import ChildCancelled, TaskClosed, UpdateRejected
from tests.crash.scenarios import (
    ID,
    LARGE,
    QUICK,
    Backwards,
    Scenario,
    StandsStill,
    act,
    fetch,
    forever,
    refuse,
    run_and_cancel,
    run_it,
    run_with,
    store,
    toss,
    until_ended,
    waits_or_cleans,
)


@workflow
class Cart:
    """Begun by an update, whose handler takes a step."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.paid = False

    @workflow.run
    async def run(self) -> list[str]:
        await wait_until(lambda: self.paid)
        return self.items

    @workflow.update
    async def add(self, item: str) -> int:
        self.items.append(await fetch(item))
        return len(self.items)

    @add.validator
    def check(self, item: str) -> None:
        if not item:
            raise ValueError("nothing")

    @workflow.signal
    def pay(self) -> None:
        self.paid = True


def shop(engine: Engine) -> None:
    """A run that has ended meanwhile (an earlier life had paid) is not begun again."""
    with contextlib.suppress(RunExists):
        for n, item in enumerate(("pen", "x" * LARGE, "ink"), 1):
            adding = engine.update_with_start(
                Cart.run(), Cart.add.message(item), id=ID, update_id=f"u{n}", id_reuse="reject_duplicate"
            )
            assert adding.wait().result().wait() == n
        with contextlib.suppress(UpdateRejected, RunClosed):
            engine.handle(ID).update(Cart.add, "").wait()
        engine.handle(ID).as_request("pay").signal(Cart.pay).wait()
    assert engine.handle(ID).result().wait() == ["<pen>", f"<{'x' * LARGE}>", "<ink>"]


@workflow
class Anything:
    """Hears whatever is said; what it does about it takes steps, time and chance, one message after the other."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.lock = asyncio.Lock()

    @workflow.run
    async def run(self) -> list[str]:
        await wait_until(lambda: "end" in self.heard)
        await wait_until(workflow.all_handlers_finished)
        return self.heard

    @workflow.signal(dynamic=True)
    async def any_signal(self, name: str, *args: Any) -> None:
        async with self.lock:
            await asyncio.sleep(0.005)
            self.heard.append(name if not args else await store(f"{name}{args[0]}"))

    @workflow.update(dynamic=True)
    async def any_update(self, name: str, *args: Any) -> str:
        async with self.lock:
            self.heard.append(name)
            coin = workflow.side_effect(toss, f"{workflow.info().run_id}:{name}")
            return await fetch(f"{name} {len(coin)}")


def say_anything(engine: Engine) -> None:
    handle = engine.start(Anything.run(), id=ID).wait()
    for n in range(2):
        handle.as_request(f"s{n}").signal("note", n).wait()
    assert handle.as_request("u0").update("do").wait() == "<do 35>"
    handle.as_request("end").signal("end").wait()
    assert handle.result().wait() == ["NOTE0", "NOTE1", "do", "end"]


@workflow
async def handed_back() -> list[str]:
    """A task that goes from hand to hand, and one that is withdrawn."""
    answer = await task("first", form=str, remind="1 day").with_actor()
    try:
        async with asyncio.timeout(0.02):
            await task("second", form=str)
    except TimeoutError:
        return [answer.value, answer.by, await fetch("late")]
    return []


def hand_on(engine: Engine) -> None:
    """What has been done with the task so far is in the history: the next thing comes next."""
    handle = engine.start(handed_back(), id=ID).wait()
    first, tasks = f"{ID}/0:1", engine.tasks
    deeds = [
        lambda: tasks.claim(first, by="ann"),
        lambda: tasks.release(first, by="ann"),
        lambda: tasks.claim(first, by="bob"),
        lambda: tasks.complete(first, "x" * LARGE, by="bob", request_id="once"),
    ]
    kinds = {"TaskClaimed", "TaskReleased", "TaskCompleted"}
    done = sum(event["type"] in kinds for event in handle.history().wait())
    for deed in deeds[done:]:
        with contextlib.suppress(TaskClosed, RunClosed):
            deed().wait()
    assert handle.result().wait() == ["x" * LARGE, "bob", "<late>"]


lines = channel("lines", str)


@workflow
async def listens(left: int, got: list[str]) -> list[str]:
    got = [*got, await store(await lines.receive())]
    if left > 1:
        continue_as_new(left - 1, got)
    return got


@workflow
async def dictates() -> list[str]:
    """Speaks to a child that goes on as other runs meanwhile."""
    child = await start_child(listens(3, []).with_options(id="listener"))
    for text in ("a", "x" * LARGE, "c"):
        await child.signal(lines, text)
    return await child


def run_and_dictate(engine: Engine) -> None:
    """Which of the runs hears what is a matter of time; that all is heard once, in order, is not."""
    engine.start(dictates(), id=ID).wait()
    assert until_ended(engine, ID) == ["A", "X" * LARGE, "C"]


@workflow
async def from_elsewhere(what: str) -> str:
    await asyncio.sleep(0.05)
    return await store(await fetch(what))


def import_it(client: Client) -> None:
    """A run that has begun in another database, and sleeps."""
    with Engine("memory://", ALL, world=StandsStill()) as elsewhere:
        handle = elsewhere.start(from_elsewhere("x" * LARGE), id=ID, attributes={"from": "there"}).wait()
        exported = handle.export().wait()
    import_runs(client.store, [("there.json", exported)])


def release_it(engine: Engine) -> None:
    handle = engine.handle(ID)
    with contextlib.suppress(RunClosed):
        handle.retry().wait()
    assert handle.result().wait() == f"<{'X' * LARGE}>"


@workflow
async def tools() -> list[Any]:
    """Of asyncio's: who is first, who is shielded, a queue and a lock."""
    done, pending = await asyncio.wait([asyncio.ensure_future(each) for each in (_fetched("a"), forever())],
                                       return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
    for each in pending:
        each.cancel()
    got: list[Any] = [each.result() for each in done]
    shielded = asyncio.ensure_future(_fetched("b"))
    waits = asyncio.ensure_future(_waits_for(asyncio.shield(shielded)))
    await asyncio.sleep(0)
    waits.cancel()
    got.append(await shielded)
    queue, lock = asyncio.Queue[str](2), asyncio.Lock()
    async with asyncio.TaskGroup() as group:
        group.create_task(_produce(queue))
        for _ in range(2):
            group.create_task(_consume(queue, lock, got))
    return [*got[:2], *sorted(got[2:])]


async def _fetched(what: str) -> str:
    return await fetch(what)


async def _waits_for(future: "asyncio.Future[str]") -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await future


async def _produce(queue: "asyncio.Queue[str]") -> None:
    for what in ("c", "d", "", ""):
        await queue.put(what)


async def _consume(queue: "asyncio.Queue[str]", lock: asyncio.Lock, got: list[Any]) -> None:
    while what := await queue.get():
        async with lock:
            got.append(await store(what))


@activity(timeout=0.05, retry=QUICK)
async def dawdle(what: str) -> str:
    """Takes too long at first, then asks for patience."""
    act()
    if activity.info().attempt == 1:
        await asyncio.sleep(30)
    if activity.info().attempt == 2:
        raise activity.RetryAfter("1ms", "in a moment")
    return what


@workflow
async def slow_attempts() -> str:
    return await store(await dawdle("at last"))


@workflow
async def nested_sagas() -> str:
    """The inner one that fails is undone first; the one that has succeeded is over."""
    try:
        async with saga() as outer:
            outer(store, "outer")
            async with saga() as over:
                over(store, "never undone")
                await fetch("fine")
            async with saga() as inner:
                inner(store, "inner")
                outer(store, "outer, too")
                await refuse("room")
    except ActivityFailed as error:
        return error.message
    return "never"


def run_and_terminate(engine: Engine) -> None:
    engine.start(holds_a_child(), id=ID).wait()
    with contextlib.suppress(RunClosed):
        engine.handle(ID).terminate("enough").wait()
    for id in (ID, "held-child"):
        with contextlib.suppress(RunTerminated):
            until_ended(engine, id)


@workflow
async def holds_a_child() -> None:
    await waits_or_cleans().with_options(id="held-child")


@workflow
async def cancels_down() -> list[str]:
    """Is cancelled, and its children with it; each cleans, and it hears of both."""
    said: list[str] = []

    async def watched(name: str) -> None:
        try:
            await waits_or_cleans().with_options(id=name)
        except (ChildCancelled, asyncio.CancelledError):
            said.append(name)

    async with asyncio.TaskGroup() as group:
        for name in ("one", "two"):
            group.create_task(watched(name))
    return sorted(said)


def cancel_family(engine: Engine) -> None:
    engine.start(cancels_down(), id=ID).wait()
    with contextlib.suppress(RunClosed):
        engine.handle(ID).cancel("enough").wait()
    for id in (ID, "one", "two"):
        with contextlib.suppress(RunCancelled):
            until_ended(engine, id)


@workflow
async def waits_in_vain() -> list[str]:
    got: list[str] = []
    try:
        await wait_until(lambda: False, timeout=0.01)
    except TimeoutError:
        got.append(await store("no condition"))
    try:
        got.append(await lines.receive(timeout=0.01))
    except TimeoutError:
        got.append(await store("no line"))
    return [*got, lines.receive_nowait("nothing")]


@workflow
async def many_timers() -> list[int]:
    """They fire in the order of their times, however long nobody was there."""
    woken: list[int] = []

    async def sleeper(n: int) -> None:
        await asyncio.sleep(0.004 * (n % 4))
        woken.append(n)

    await asyncio.gather(*[sleeper(n) for n in range(8)])
    await fetch(str(woken))
    return woken


@workflow
async def without_the_old_way(what: str) -> str:
    deprecate_patch("old way")
    return await store(await fetch(what))


@activity(retry=QUICK)
async def closes_its_stream() -> str:
    """The stream that a failed attempt has closed is open to the next."""
    act()
    lines_out = stream("lines", str)
    await lines_out.write("first")
    lines_out.close()
    if activity.info().attempt == 1:
        await asyncio.sleep(0.06)  # it is stored by then
        raise ConnectionError("not yet")
    return activity.info().step


@workflow
async def closed_streams() -> str:
    stream("own", str).write("x" * LARGE)
    stream("own").close()
    return await closes_its_stream()


@workflow
async def failing_child(what: str) -> str:
    await fetch(what)
    raise ValueError(f"{what} is not good")


@workflow
async def undone_after_a_child() -> str:
    """A saga around children: that one of them fails undoes what the other has done."""
    try:
        async with saga() as undo:
            undo(store, "young")
            await from_elsewhere("young").with_options(id="good-child")
            await failing_child("this").with_options(id="bad-child")
    except ChildFailed as error:
        return error.message
    return "never"


ALL: list[Any] = [
    *[
        Cart,
        Anything,
        handed_back,
        listens,
        dictates,
        from_elsewhere,
        tools,
        slow_attempts,
        nested_sagas,
        holds_a_child,
    ],
    *[
        cancels_down,
        waits_in_vain,
        many_timers,
        without_the_old_way,
        closed_streams,
        undone_after_a_child,
        failing_child,
    ],
    *[fetch, store, forever, refuse, dawdle, closes_its_stream, waits_or_cleans],
]

SCENARIOS = {
    "begun by an update": Scenario(shop, in_order=False),
    "begun by an update, with a codec": Scenario(shop, in_order=False, codec=Backwards()),
    "hears anything": Scenario(say_anything, in_order=False),
    "from hand to hand": Scenario(hand_on),
    "spoken to down a chain": Scenario(run_and_dictate, ids=[]),
    "imported": Scenario(release_it, prepare=import_it),
    "asyncio": Scenario(run_it(tools), in_order=False),
    "slow attempts": Scenario(run_it(slow_attempts)),
    "nested sagas": Scenario(run_it(nested_sagas)),
    "terminated": Scenario(run_and_terminate, ids=[ID, "held-child"]),
    "cancelled family": Scenario(cancel_family, ids=[ID, "one", "two"], in_order=False),
    "waits in vain": Scenario(run_it(waits_in_vain)),
    "many timers": Scenario(run_it(many_timers)),
    "without the old way": Scenario(run_it(lambda: without_the_old_way("a"))),
    "closed streams": Scenario(run_it(closed_streams)),
    "saga of children": Scenario(run_with(undone_after_a_child, ["good-child"]), ids=[ID, "good-child", "bad-child"]),
    "cancelled at once": Scenario(run_and_cancel(waits_or_cleans)),
}

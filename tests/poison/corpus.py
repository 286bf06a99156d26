"""Workflows that are poison, as data: what is bad about each, and what a reader is told of it."""

import ast
import asyncio
import gc
import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from perdure import RunBlocked, RunFailed, activity, workflow
from tests.poison.beside import add, enter

DEEP = 100_000
INTERRUPTED = "the workflow did not come to an await in time and was interrupted at"


@dataclass
class Poison:
    """What comes of it: `ends` is an error, None if it completes, and "goes on" if it has to be terminated. `patience`: seconds
    that it may take; `enters`: how often its code may begin while the neighbours are under way."""

    call: Callable[[], Any]
    ends: Any = RunBlocked
    words: list[str] = field(default_factory=list)
    patience: float = 20.0
    enters: int = 3


POISONS: dict[str, Poison] = {}
ALL: list[Any] = []


def poison(what: str, *words: str, ends: Any = RunBlocked, patience: float = 20.0) -> Callable[[Any], Any]:
    """An `async def` that is bad in the way `what` says."""

    def take(fn: Any) -> Any:
        definition = workflow(fn)
        ALL.append(definition)
        POISONS[what] = Poison(definition, ends, list(words), patience)
        return definition

    return take


def endless(what: str) -> Callable[[Any], Any]:
    return poison(what, INTERRUPTED, "hint: move long computing into an activity", patience=0.3)


# what does not end, in Python


@endless("a loop over nothing")
async def loops() -> None:
    enter()
    while True:
        pass


@endless("a loop of awaits that wait for nothing")
async def loops_asleep() -> None:
    enter()
    while True:
        await asyncio.sleep(0)


@endless("a loop of side effects")
async def loops_outside() -> None:
    enter()
    while True:
        workflow.side_effect(lambda: 1)


@endless("a callback that calls itself again")
async def calls_again() -> None:
    enter()
    loop = asyncio.get_running_loop()

    def again() -> None:
        loop.call_soon(again)

    again()
    await asyncio.sleep(3600)


@endless("tasks that make two tasks each")
async def multiplies() -> None:
    enter()

    async def two() -> None:
        asyncio.create_task(two())  # noqa: RUF006
        asyncio.create_task(two())  # noqa: RUF006

    await two()
    await asyncio.sleep(3600)


@endless("a sort by a key that is dear")
async def sorts() -> None:
    enter()
    while True:
        sorted(range(100_000), key=lambda each: -each)


@endless("a finalizer that never ends, of what the workflow drops")
async def drops() -> None:
    enter()
    thing = Endless()
    thing.itself = thing
    del thing
    gc.collect()


@endless("a finalizer that never ends, of what the workflow holds")
async def holds() -> int:
    enter()
    thing = Endless()  # noqa: F841
    return await add(1, 1)


class Endless:
    itself: Any = None

    def __del__(self) -> None:
        if threading.current_thread().name == "perdure-engine":
            while True:
                pass


# what is too deep


@poison("recursion in Python", "RecursionError: maximum recursion depth exceeded", "hint: mend the code")
async def recurses() -> None:
    async def deeper() -> None:
        await deeper()

    await deeper()


def nested() -> Any:
    value: Any = []
    for _ in range(DEEP):
        value = [value]
    return value


@poison("recursion in json", "RecursionError")
async def dumps() -> str:
    return json.dumps(nested())


@poison("recursion in repr", "RecursionError")
async def shows() -> str:
    return repr(nested())


@poison("recursion in a parser", "SyntaxError: too many nested parentheses")
async def parses() -> str:
    return ast.dump(ast.parse("(" * DEEP + ")" * DEEP))


# what is no value


@poison("a result that is nested too deeply", "the result: it is nested too deeply, or contains itself")
async def gives_nested() -> Any:
    return nested()


@poison("a result that holds itself", "the result: it is nested too deeply, or contains itself")
async def gives_itself() -> Any:
    value: list[Any] = []
    value.append(value)
    return value


@poison("a result that is no number", "nan (float) has no JSON form; leave it out, or pass None or a text")
async def gives_nan() -> float:
    return float("nan")


@poison("a result with half a character", r"'a\ud800' (str) has half a character in it")
async def gives_half() -> str:
    return "a\ud800"


@poison("an argument with half a character", r"'a\ud800' (str) has half a character in it")
async def passes_half() -> int:
    return await length("a\ud800")


@poison(
    "a result of 100 MB",
    "PayloadTooLarge: the result of workflow gives_much: 100,000,002 bytes are more than the limit",
)
async def gives_much() -> str:
    return "x" * 100_000_000


@poison("a result of a million items", ends=None)
async def gives_many() -> list[int]:
    return list(range(1_000_000))


@activity
async def length(text: str) -> int:
    return len(text)


@activity
def much() -> str:
    return "x" * 100_000_000


@activity
def many() -> list[int]:
    return list(range(1_000_000))


@poison("an activity's result of 100 MB", "is held by a bug in activity much: PayloadTooLarge")
async def hears_much() -> int:
    return len(await much())


@poison("an activity's result of a million items", ends=None)
async def hears_many() -> int:
    return len(await many())


# what is too much


@poison("thousands of steps at once", ends=None)
async def asks_all() -> int:
    return len(await asyncio.gather(*[add(n, 1) for n in range(3_000)]))


dropped: list[int] = []


def left_over() -> bool:
    """Whether calls may be lying about that nobody has come to await."""
    some = bool(dropped)
    dropped.clear()
    return some


@endless("a hundred thousand steps at once")
async def asks_too_many() -> int:
    enter()
    dropped.append(1)
    return len(await asyncio.gather(*[add(n, 1) for n in range(100_000)]))


@poison("more memory than there is", "MemoryError", ends=RunFailed)
async def explodes() -> int:
    return len(bytearray(10**15))


# what never comes, and who does not go


@poison(
    "a wait for what never comes",
    "for something that can never happen: no activity, no timer and no child is under way",
)
async def deadlocks() -> None:
    await asyncio.Event().wait()


@poison("a cancellation that is swallowed", ends="goes on", patience=0.3)
async def swallows() -> None:
    while True:
        with suppress(BaseException):
            await asyncio.sleep(3600)


@poison("cleanup that waits for ever", ends="goes on")
async def cleans_up() -> None:
    try:
        await asyncio.sleep(3600)
    finally:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue


@poison("steps without end", ends="goes on")
async def works_on() -> None:
    while True:
        await add(1, 1)


# what is left behind


@poison("a generator that is abandoned and does not let go", ends=None, patience=0.3)
async def abandons() -> int:
    async def numbers() -> Any:
        try:
            while True:
                yield 1
        finally:
            while True:
                with suppress(BaseException):
                    await asyncio.sleep(3600)

    each = numbers()
    return await each.__anext__()


class Starts:
    itself: Any = None

    def __del__(self) -> None:
        asyncio.ensure_future(add(1, 1))  # noqa: RUF006


@poison("finalizers that start something", ends=None)
async def drops_starters() -> int:
    for _ in range(3):
        thing = Starts()
        thing.itself = thing
        del thing
        gc.collect()
    return await add(1, 1)


# what is not its own


@poison("a thread", "NotDeterministic: starting a thread cannot be called in a workflow")
async def threads() -> None:
    threading.Thread(target=print).start()


@poison("a pool of threads", "NotDeterministic: handing work to a thread cannot be called in a workflow")
async def pools() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(print)


@poison("a queue of threads", "NotDeterministic: waiting for another thread cannot be called in a workflow")
async def waits_for_threads() -> None:
    queue.Queue[int]().get()


@poison("a clock of its own making", ends=None)
async def patches() -> float:
    kept, time.time = time.time, lambda: 5.0
    try:
        return time.time()
    finally:
        time.time = kept


OF_THE_PROCESS = "it would change the process that other runs share"


@poison(
    "a lower limit of recursion",
    f"NotDeterministic: sys.setrecursionlimit() cannot be called in a workflow: {OF_THE_PROCESS}",
)
async def recurses_less() -> int:
    sys.setrecursionlimit(60)
    return await add(1, 1)


@poison(
    "a higher limit of recursion",
    f"NotDeterministic: sys.setrecursionlimit() cannot be called in a workflow: {OF_THE_PROCESS}",
)
async def recurses_more() -> str:
    sys.setrecursionlimit(10**9)
    return repr(nested())


@poison("no collector", f"NotDeterministic: gc.disable() cannot be called in a workflow: {OF_THE_PROCESS}")
async def collects_nothing() -> int:
    gc.disable()
    return await add(1, 1)


@poison(
    "an end of the process at once",
    "NotDeterministic: os._exit() cannot be called in a workflow: it would end the process",
)
async def exits_at_once() -> None:
    os._exit(3)


watched: list[str] = []


def watch(frame: Any, event: str, arg: Any) -> Any:
    watched.append(frame.f_code.co_filename)
    return watch


@poison("a look at each line", ends=None)
async def traces() -> int:
    sys.settrace(watch)
    return await add(1, 1)


@poison("a look at each call", ends=None)
async def profiles() -> int:
    sys.setprofile(watch)
    return await add(1, 1)


@poison("a look at each line that raises", "ValueError: watched", ends=RunFailed)
async def traces_badly() -> int:
    def raises(frame: Any, event: str, arg: Any) -> Any:
        raise ValueError("watched")

    sys.settrace(raises)
    return await add(1, 1)


foreign: list[asyncio.Future[None]] = []


@poison("a future of another loop", "belongs to another event loop", ends=RunFailed)
async def waits_elsewhere() -> None:
    await foreign[0]


@poison("an end of the process", "SystemExit: 3", ends=RunFailed)
async def exits() -> None:
    sys.exit(3)


@poison("an end of the process in a callback", ends=None)
async def exits_beside() -> int:
    asyncio.get_running_loop().call_soon(sys.exit)
    await asyncio.sleep(0)
    return await add(1, 1)


ALL += [length, much, many]

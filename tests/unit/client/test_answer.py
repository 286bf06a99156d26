"""One object for code with a loop and for code without."""

import asyncio
import os
import signal
import threading
import warnings

import pytest

from perdure.client.answer import Asked, Looked
from perdure.errors import RunFailed, WaitedTooLong
from perdure.runtime.outbox import Outbox, Receiver


def soon(value: object, error: BaseException | None = None):
    """Answers from another thread."""

    def ask(receiver: Receiver) -> None:
        def give() -> None:
            outbox = Outbox()
            outbox.answer(receiver, value, error)
            outbox.flush()

        threading.Thread(target=give).start()

    return ask


def test_it_can_be_awaited_and_waited_for() -> None:
    async def awaited() -> int:
        return await Asked("ask()", soon(3), lambda value: value * 2)

    assert asyncio.run(awaited()) == 6
    assert Asked("ask()", soon(3), lambda value: value * 2).wait() == 6
    assert Looked("look()", lambda: 7).wait() == 7


def test_it_is_a_coroutine_to_asyncio() -> None:
    async def together() -> list[int]:
        task = asyncio.create_task(Looked("look()", lambda: 1))
        return [await task, *await asyncio.gather(Asked("ask()", soon(2), int), Looked("look()", lambda: 3))]

    assert asyncio.run(together()) == [1, 2, 3]


@pytest.mark.parametrize("make", [lambda: Asked("ask()", soon(1), int), lambda: Looked("look()", lambda: 1)])
def test_waiting_on_the_thread_of_a_loop_is_refused(make) -> None:
    async def wrong() -> None:
        answer = make()
        try:
            answer.wait()
        finally:
            await answer

    with pytest.raises(RuntimeError, match=r"would stop the event loop of this thread; write: await"):
        asyncio.run(wrong())


def test_an_error_is_raised_without_the_frames_that_found_it() -> None:
    def fail() -> int:
        raise RunFailed("run 'a' failed: ValueError: no", "a") from ValueError("no")

    with pytest.raises(RunFailed) as raised:
        Asked("ask()", soon(1), lambda _: fail()).wait()

    assert isinstance(raised.value.__cause__, ValueError)
    assert "fail" not in [entry.name for entry in raised.traceback]


def test_a_limit_of_the_callers_own_says_what_becomes_of_the_answer() -> None:
    forgotten: list[Receiver] = []

    def never(receiver: Receiver):
        return lambda: forgotten.append(receiver)

    async def awaited() -> None:
        await Asked("handle.result()", never, int, 0.01)

    with pytest.raises(WaitedTooLong, match=r"no answer within 0\.01 s; it is on its way"):
        Asked("handle.result()", never, int, 0.01, lambda: "it is on its way").wait()
    with pytest.raises(TimeoutError):
        asyncio.run(awaited())
    assert len(forgotten) == 2


def test_who_is_cancelled_stops_waiting() -> None:
    forgotten: list[Receiver] = []

    async def impatient() -> None:
        task = asyncio.create_task(Asked("ask()", lambda receiver: lambda: forgotten.append(receiver), int))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(impatient())

    assert len(forgotten) == 1


def test_a_second_await_says_what_to_do() -> None:
    answer = Looked("handle.describe()", lambda: 1)
    answer.wait()

    with pytest.raises(RuntimeError, match="has been used already; call the method again"):
        answer.wait()


def test_one_that_is_never_awaited_warns() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Looked("engine.count()", lambda: 1)

    assert "engine.count() was never awaited, so nothing happened" in str(caught[0].message)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_has_its_answers_from_threads_of_its_own() -> None:
    async def looked() -> int:
        return await Looked("look()", lambda: 7)

    asyncio.run(looked())  # leaves a thread that waits for more
    child = os.fork()
    if not child:
        signal.alarm(300)
        os._exit(asyncio.run(looked()))

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

"""One object for code with a loop and for code without."""

import asyncio
import os
import signal
import threading
import warnings

import pytest

from perdure.client.answer import Answer, Asked, Looked
from perdure.client.door import give
from perdure.client.patience import ENDLESS, Patience
from perdure.errors import EngineNotRunning, RunFailed, StoreUnreachable, WaitedTooLong
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


def away(unsent: bool = False) -> StoreUnreachable:
    error = StoreUnreachable("the server has gone")
    error._away, error._unsent = True, unsent
    return error


def unowned() -> EngineNotRunning:
    error = EngineNotRunning("no engine owns it")
    error._unowned = True
    return error


class Raises:
    """One error after the other, and then the answer."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)

    def look(self) -> int:
        if self.errors:
            raise self.errors.pop(0)
        return 3

    def ask(self, receiver: Receiver) -> None:
        give(receiver, self.look(), None)

    def tell(self, receiver: Receiver) -> None:
        error = self.errors.pop(0) if self.errors else None
        give(receiver, 3, error)


def made(kind: str, patience: Patience, *errors: Exception) -> Answer[int]:
    raises = Raises(*errors)
    match kind:
        case "looked":
            return Looked("look()", raises.look, patience)
        case "raised":
            return Asked("ask()", raises.ask, int, patience=patience)
        case "beside":
            return Asked("ask()", raises.ask, int, patience=patience, blocks=True)
        case _:
            return Asked("ask()", raises.tell, int, patience=patience)


def got(answer: Answer[int], awaited: bool) -> int:
    async def asks() -> int:
        return await answer

    return asyncio.run(asks()) if awaited else answer.wait()


kinds = pytest.mark.parametrize("kind", ["looked", "raised", "beside", "told"])
ways = pytest.mark.parametrize("awaited", [True, False])


@kinds
@ways
def test_a_store_that_is_away_is_asked_again(kind: str, awaited: bool) -> None:
    assert got(made(kind, ENDLESS, away(), away(unsent=True)), awaited) == 3


@kinds
@ways
def test_engines_are_given_a_moment_to_be_back_as_well(kind: str, awaited: bool) -> None:
    assert got(made(kind, ENDLESS, away(), unowned()), awaited) == 3
    with pytest.raises(EngineNotRunning):
        got(made(kind, ENDLESS, unowned()), awaited)
    with pytest.raises(EngineNotRunning):
        got(made(kind, ENDLESS, away(), EngineNotRunning("this client is closed")), awaited)


@kinds
@ways
def test_what_could_be_taken_twice_is_asked_again_only_if_nothing_was_sent(kind: str, awaited: bool) -> None:
    patience = Patience(600.0, repeatable=False)

    assert got(made(kind, patience, away(unsent=True)), awaited) == 3
    with pytest.raises(StoreUnreachable, match="the server has gone; whether it was taken is not known"):
        got(made(kind, patience, away(unsent=True), away()), awaited)


@kinds
@ways
def test_a_store_that_refuses_is_not_asked_again(kind: str, awaited: bool) -> None:
    with pytest.raises(StoreUnreachable, match=r"^refused$"):
        got(made(kind, ENDLESS, StoreUnreachable("refused")), awaited)


@kinds
@ways
@pytest.mark.parametrize(("unsent", "said"), [(True, "nothing was written"), (False, "asked again, it is taken once")])
def test_patience_ends_in_words(kind: str, awaited: bool, unsent: bool, said: str) -> None:
    with pytest.raises(StoreUnreachable, match=rf"the server has gone; .* for 0\.01 s; .*{said}"):
        got(made(kind, Patience(0.01), *(away(unsent) for _ in range(100))), awaited)

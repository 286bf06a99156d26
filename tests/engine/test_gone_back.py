"""Who waits for a run while its database goes back, by a failover say: what is lost may have left its number to another run."""

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from perdure import Client, Engine, Handle, RunNotFound, workflow
from perdure.client.answer import Answer
from perdure.errors import UnknownMessage
from perdure.kernel.project import UpdateRow, UpdateState
from perdure.runtime.outbox import Outbox
from perdure.runtime.waiters import Waiters
from perdure.stores.memory import MemoryStore, Shelf


@workflow
async def once() -> str:
    return "done"


@workflow
class Door:
    def __init__(self) -> None:
        self.open = False

    @workflow.run
    async def run(self) -> None:
        await workflow.wait_until(lambda: self.open)

    @workflow.update
    async def enter(self) -> str:
        await workflow.wait_until(lambda: self.open)
        return "in"


@pytest.fixture
def shelf() -> Shelf:
    return Shelf(shared=True)


def key_of(shelf: Shelf, id: str) -> int:
    return next(row.key for row in shelf.runs.values() if row.id == id)


def give_number_to_another(shelf: Shelf, id: str) -> None:
    with shelf.lock:
        row = shelf.runs[key_of(shelf, id)]
        shelf.put_run(msgspec.structs.replace(row, id="another", run_id=b"another's number"))


class Waiting:
    """Somebody who waits, on a thread of its own."""

    def __init__(self, answer: "Answer[Any]") -> None:
        self._answer = answer
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    def _wait(self) -> None:
        try:
            self._answer.wait()
        except BaseException as error:  # noqa: BLE001  it is what the test is about
            self.error = error

    def until(self, waits: Callable[[], object]) -> None:
        while not waits() and self._thread.is_alive():
            time.sleep(0.005)

    def end(self) -> BaseException | None:
        self._thread.join()
        return self.error


def test_who_waits_for_a_run_waits_for_none_that_gets_its_number(shelf: Shelf) -> None:
    with Client(MemoryStore(shelf=shelf)) as client:
        handle = client.start(once(), id="lost").wait()
        first = Waiting(handle.result())
        first.until(lambda: len(client._door._waiters))

        give_number_to_another(shelf, "lost")

        for waiting in (first, Waiting(handle.result())):
            assert isinstance(waiting.end(), RunNotFound)


def test_a_handle_waits_for_no_run_that_has_its_number_and_goes_on(shelf: Shelf) -> None:
    with Engine(MemoryStore(shelf=shelf), [Door]) as engine:
        engine.start(Door.run(), id="another").wait()
        key = key_of(shelf, "another")
        with Client(MemoryStore(shelf=shelf)) as client:
            for asked in (engine, client):
                handle = Handle(asked.handle("lost")._door, "lost", key=key)
                for waits in (handle.result(), handle.update_handle("u").result()):
                    with pytest.raises(RunNotFound):
                        waits.wait()
        engine.handle("another").terminate().wait()


def test_whoever_moves_a_run_tells_its_end_to_nobody_who_waits_for_another_one() -> None:
    told: list[tuple[str, Any]] = []

    class Waiter:
        loop = None

        def __init__(self, name: str) -> None:
            self.name = name

        def receive(self, value: Any, error: BaseException | None) -> None:
            told.append((self.name, value))

    waiters = Waiters()
    waiters.add(2, "lost", Waiter("of the lost one"))
    waiters.add(2, "another", Waiter("of the other one"))
    waiters.tell(2, "another", "its end", Outbox())

    assert sorted(told) == [("of the lost one", None), ("of the other one", "its end")]
    assert len(waiters) == 0


def test_who_waits_for_an_update_hears_that_its_run_is_lost(shelf: Shelf) -> None:
    with Client(MemoryStore(shelf=shelf)) as client:
        handle = client.start(once(), id="lost").wait()
        key = key_of(shelf, "lost")
        shelf.updates[key, "u"] = UpdateRow(key, "u", "enter", UpdateState.ACCEPTED, 1)
        waiting = Waiting(handle.update_handle("u").result())
        waiting.until(lambda: len(client._door._waiters.answers))

        give_number_to_another(shelf, "lost")

        assert isinstance(waiting.end(), RunNotFound)


@pytest.mark.parametrize("sends", [True, False])
def test_who_waits_for_an_update_hears_that_its_run_does_not_know_it_any_more(shelf: Shelf, sends: bool) -> None:
    with Engine(MemoryStore(shelf=shelf), [Door]) as engine, Client(MemoryStore(shelf=shelf)) as client:
        engine.start(Door.run(), id="door").wait()
        handle = client.handle("door").as_request("u")
        if sends:
            waiting = Waiting(handle.update(Door.enter))
            waiting.until(lambda: shelf.updates)
        else:
            handle.start_update(Door.enter).wait()
            waiting = Waiting(handle.update_handle("u").result())
            waiting.until(lambda: len(client._door._waiters.answers))

        with shelf.lock:
            shelf.updates = {}

        assert isinstance(waiting.end(), UnknownMessage)
        engine.handle("door").terminate().wait()

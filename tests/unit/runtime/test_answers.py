"""What it costs to look for the answers to updates, of which a store tells that others share."""

from collections.abc import Callable
from typing import Any

import pytest

from perdure.kernel.project import UpdateRow, UpdateState
from perdure.kernel.run import Status
from perdure.runtime.answers import Answers, Awaited
from perdure.runtime.outbox import Outbox
from perdure.stores.base import Batch
from perdure.stores.memory import MemoryStore
from perdure.stores.memory_messages import MemoryMessages
from tests.conformance.rows import run

WAITING = 100


class Told:
    """A receiver without a loop."""

    loop = None

    def __init__(self, told: list[str], id: str) -> None:
        self._told = told
        self._id = id

    def receive(self, value: object, error: BaseException | None) -> None:
        self._told.append(self._id)


class Looks:
    """Counts what the store is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = MemoryStore()
        self.store.admin.try_own("here", 1, "b", 0)
        self.store.journal.commit(
            Batch(created=[run(2, status=Status.RUNNING)], updates=[row(n) for n in range(WAITING)])
        )
        self.asked: list[int] = []
        self.told: list[str] = []
        self.outbox = Outbox()
        self.answers = Answers()
        for n in range(WAITING):
            self.answers.add(2, f"u{n}", Told(self.told, f"u{n}"), Awaited("run-2"))  # type: ignore[arg-type]
        real = MemoryMessages.updates_of

        def counted(messages: MemoryMessages, wanted: Any) -> Any:
            self.asked.append(len(wanted))
            return real(messages, wanted)

        monkeypatch.setattr(MemoryMessages, "updates_of", counted)

    def look(self, is_here: Callable[[int], object]) -> None:
        self.answers.look(self.store, self.outbox, lambda row: False, is_here)
        self.outbox.flush()

    def answer(self, n: int) -> None:
        self.store.journal.commit(
            Batch(updated=[run(2, status=Status.RUNNING)], updates=[row(n, UpdateState.COMPLETED)])
        )


def row(n: int, state: UpdateState = UpdateState.ACCEPTED) -> UpdateRow:
    return UpdateRow(2, f"u{n}", "raise", state, 1)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    return Looks(monkeypatch)


def test_one_look_asks_once_however_many_wait(looks: Looks) -> None:
    looks.answer(7)
    looks.look(lambda key: None)

    assert looks.asked == [WAITING]
    assert looks.told == ["u7"]


def test_of_a_run_that_is_moved_here_the_store_is_asked_no_more_than_once(looks: Looks) -> None:
    """Another owner may have answered before it was."""
    here = object()
    looks.answer(7)
    for _ in range(3):
        looks.look(lambda key: here)

    assert looks.asked == [WAITING]
    assert looks.told == ["u7"]


def test_a_run_that_was_elsewhere_meanwhile_is_asked_about_again(looks: Looks) -> None:
    looks.look(lambda key: looks)
    looks.answer(3)
    here = object()
    for _ in range(2):
        looks.look(lambda key: here)

    assert looks.asked == [WAITING, WAITING]
    assert looks.told == ["u3"]


def test_who_begins_to_wait_is_asked_for_alone(looks: Looks) -> None:
    here = object()
    looks.look(lambda key: here)
    looks.answers.add(2, "new", Told(looks.told, "new"), Awaited("run-2"))  # type: ignore[arg-type]
    looks.look(lambda key: here)

    assert looks.asked == [WAITING, 1]

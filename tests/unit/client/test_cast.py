"""Which processes a run tells of."""

from collections.abc import Iterable

from perdure.client.cast import members_of
from perdure.client.description import describe
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.project import TaskRow
from perdure.stores.base import MemberRow
from tests.unit.cli import corpus


def story() -> corpus.Story:
    """Member 7 has done a step, 8 failed, 9 runs what it has taken from a queue."""
    told = corpus.Story(2, "r", "order", 60)
    told.complete(2, told.schedule(1, "charge"), 1)
    step = told.schedule(3, "ship", to=8)
    told.tell(4, ev.AttemptFailed(told.ns(4), step, 1, 8, told.ns(3), corpus.failure("OSError", "no"), ev.Logs(), 9))
    return told


def test_members_are_those_of_events_attempts_and_tasks_and_nobody_is_none() -> None:
    stored = story().stored()
    stored.tasks = [TaskRow(2, "0:3", 1, "gpu", "render", None, b"", 9), TaskRow(2, "0:4", 1, "gpu", "x", None, b"")]

    assert members_of(stored, wire.decode_history(stored.history)) == {7, 8, 9}


def test_a_description_asks_for_those_alone_and_once() -> None:
    asked: list[set[int]] = []

    def members(ids: Iterable[int]) -> dict[int, MemberRow]:
        asked.append(set(ids))
        return {8: MemberRow(8, "shop-8", 4718, "b", 1)}

    run = describe(story().stored(), members, lambda digest: None, corpus.NOW)

    assert asked == [{7, 8}]
    assert [step.attempts[0].worker for step in run.steps] == ["member 7", "shop-8:4718"]

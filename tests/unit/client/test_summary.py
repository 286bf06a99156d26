"""A run in one line, and the words for its state."""

import pytest

from perdure import Engine, errors, workflow
from perdure.client.summary import statuses_of
from perdure.kernel.run import Status


@workflow
async def order(amount: int) -> int:
    return amount


def test_state_is_another_word_for_status() -> None:
    with Engine("memory://", [order]) as engine:
        engine.run(order(3), id="order-1").wait()

        (run,) = engine.list(state="completed").wait()

        assert run.state == run.status == "completed"
        assert engine.handle("order-1").describe().wait().state == "completed"
        assert engine.count(state=["failed", "completed"]).wait() == engine.count(status="completed").wait() == 1


def test_one_word_is_enough() -> None:
    with pytest.raises(errors.DefinitionError, match="status and state are two words for the same"):
        statuses_of("failed", "completed")


def test_a_state_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(errors.DefinitionError, match="there is no state 'done'; states are: queued, running"):
        statuses_of(None, "done")

    assert statuses_of(("failed", "held")) == (Status.FAILED, Status.HELD)

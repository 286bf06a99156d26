"""A database that does not answer is asked again: by whoever has it alone a number of times, by others for ever."""

import logging

import pytest

from perdure.runtime.outage import CLOSING_TRIES, Outage
from perdure.runtime.world import World

ERROR = RuntimeError("gone")
log = logging.getLogger("perdure")


class Clock(World):
    def __init__(self) -> None:
        self.time = 0.0

    def monotonic(self) -> float:
        return self.time

    def pause(self, seconds: float) -> None:
        self.time += seconds


def test_whoever_has_the_database_alone_gives_up_after_so_many_tries_in_a_row() -> None:
    outage = Outage(Clock(), log, endless=False)

    assert [outage.failed(ERROR, 3) for _ in range(4)] == [True, True, True, False]
    outage.over()
    assert outage.failed(ERROR, 3)


def test_what_several_share_is_asked_for_as_long_as_it_takes_and_that_is_said_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    outage = Outage(clock, log, endless=True)
    while clock.time < 150:
        assert outage.failed(ERROR, 3)
    outage.over()

    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(" now")[0] for text in told[:3]] == ["the database does not answer"] * 3
    assert told[0].endswith("asked again: gone")
    assert "for 60 s by now" in told[1]
    assert told[3:] == ["the database answers again, after 150 s"]


def test_whoever_is_being_closed_does_not_wait_for_it() -> None:
    closing = False
    outage = Outage(Clock(), log, endless=True, closing=lambda: closing)
    assert all(outage.failed(ERROR, 0) for _ in range(CLOSING_TRIES))
    closing = True

    assert not outage.failed(ERROR, 0)

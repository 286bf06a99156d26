"""In which order the runs of a batch hear what there is for them."""

import logging
from typing import Any

import pytest

from perdure.kernel import messages as msg
from perdure.kernel.events import Payload
from perdure.kernel.project import RunRow
from perdure.kernel.run import Run, Status
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.letters import Letter
from perdure.runtime.people import People
from perdure.stores.base import Batch, MailRow
from perdure.stores.memory import MemoryStore

KEY = 2
NOTHING = Payload(b"[]")
ENDED = msg.AttemptEnded("0:1", 1, 1, 0, NOTHING)


class AllListen:
    """In the place of programs."""

    def listens(self, workflow: str) -> bool:
        return True


@pytest.fixture
def store() -> MemoryStore:
    made = MemoryStore()
    made.admin.try_own("here", 1, "b", 0)
    row = RunRow(KEY, "r", b"r" * 16, "w", Status.BLOCKED, "", "", 0, None, None, 0)
    made.journal.commit(Batch(created=[row]))
    return made


def heard(store: MemoryStore, *letters: msg.Message) -> list[type]:
    """The kinds of the letters as they are delivered, with what lies in the mailbox."""
    roster = Roster(store, 10)
    roster.add(Actor(Run(KEY, "r"), store))
    nobody: Any = None
    programs: Any = AllListen()
    items = People(store, roster, programs, nobody, logging.getLogger()).first(
        [Letter(KEY, letter) for letter in letters]
    )
    return [type(item.message) for item in items if isinstance(item, Letter)]


@pytest.mark.parametrize("releases", [msg.Retry(), msg.NewBuild("new"), msg.Move("new")])
def test_a_blocked_run_is_released_before_it_hears_its_mail_and_ends_after_that(
    store: MemoryStore, releases: msg.Message
) -> None:
    for message in (msg.Signal("s", NOTHING), msg.Update("u", "n", NOTHING)):
        store.post.send(MailRow(0, KEY, message))

    assert heard(store, ENDED, releases) == [type(releases), msg.Signal, msg.Update, msg.AttemptEnded]


def test_a_cancellation_in_the_mail_is_not_taken_before_its_turn(store: MemoryStore) -> None:
    store.post.send(MailRow(0, KEY, msg.Cancel("enough")))

    assert heard(store, ENDED) == [msg.AttemptEnded]

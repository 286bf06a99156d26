"""What a world learns of an owner that has nothing to do."""

from perdure.kernel import messages as msg
from perdure.kernel.events import Payload
from perdure.kernel.limits import END_OF_TIME
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.runtime.actors import Roster
from perdure.runtime.inbox import Inbox
from perdure.runtime.slots import Flight, Slots
from perdure.runtime.stillness import Stillness
from perdure.runtime.waiters import Waiters
from perdure.stores.base import Batch, MailRow
from perdure.stores.memory import MemoryStore


class Table:
    """An owner's parts, without the owner."""

    def __init__(self, room: int = 1) -> None:
        self.store = MemoryStore()
        self.member = self.store.admin.try_own("here", 1, "b", 1) or 0
        self.inbox = Inbox()
        self.slots = Slots(self.member, {}, 9, 9, 9)
        self.waiters = Waiters()
        self.outside: list[int] = []
        roster = Roster(self.store, 9)
        self.stillness = Stillness(self.store, self.inbox, self.slots, self.waiters, roster, self.outside, lambda: room)

    def run(self, id: str, wake_at: int | None, status: Status = Status.WAITING) -> None:
        row = RunRow(self.store.work.last_key() + 2, id, b"r", "w", status, "", "b", 1, None, wake_at, 1)
        self.store.journal.commit(Batch(created=[row]))

    def submit(self, id: str) -> None:
        row = RunRow(0, id, b"r", "w", Status.QUEUED, "", "", 1, None, None, 0)
        self.store.post.submit(row, MailRow(0, 0, msg.Start("w", Payload(b"[]"), b"r")))

    def fly(self, given_up: bool = False, deadline: float = 0.0) -> None:
        self.slots.claimed.append(Flight(2, f"0:{self.slots.in_air()}", 1, 0, given_up, deadline=deadline))
        self.slots.take_off()


def test_the_next_thing_due_is_the_earliest_of_all_runs() -> None:
    table = Table()
    for id, wake_at in (("late", 9_000), ("early", 5_000), ("never", None)):
        table.run(id, wake_at)

    assert table.stillness.next_due(0, 0.0) == 5_000


def test_a_run_that_begins_later_is_due_only_if_there_is_room_for_it() -> None:
    with_room, without = Table(room=1), Table(room=0)
    for table in (with_room, without):
        table.run("begins", 5_000, Status.QUEUED)
        table.run("goes on", 9_000)

    assert with_room.stillness.next_due(0, 0.0) == 5_000
    assert without.stillness.next_due(0, 0.0) == 9_000


def test_nothing_is_due_at_the_end_of_time() -> None:
    table = Table()
    table.run("for ever", END_OF_TIME)

    assert table.stillness.next_due(0, 0.0) is None


def test_the_time_limit_of_an_attempt_is_due_as_well_unless_nobody_wants_it() -> None:
    table = Table()
    table.fly(given_up=True, deadline=101.0)
    table.fly(deadline=103.0)

    due = table.stillness.next_due(7_000_000_000, 100.0)

    assert due is not None
    assert 10_000_000_000 <= due < 10_000_100_000
    assert table.stillness.at_work() == [(2, "0:1", 1)]


def test_a_start_is_a_letter_only_if_there_is_room_for_a_run() -> None:
    with_room, without = Table(room=1), Table(room=0)
    for table in (with_room, without):
        assert not table.stillness.has_letters()
        table.submit("r")

    assert with_room.stillness.has_letters()
    assert not without.stillness.has_letters()


def test_what_lies_in_the_inbox_is_a_letter() -> None:
    table = Table()

    table.inbox.nudge()

    assert table.stillness.has_letters()


def test_a_run_is_looked_after_in_memory_or_while_it_waits_outside() -> None:
    table = Table()
    assert not table.stillness.is_looked_after(2)

    table.outside.append(2)

    assert table.stillness.is_looked_after(2)

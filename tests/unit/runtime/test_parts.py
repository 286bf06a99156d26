"""The small parts of the runtime, each by itself."""

import asyncio
import logging
import threading
from collections.abc import Iterator

import pytest

from perdure.activities import activity, attempt_context
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.limits import ATTEMPT_LOG_BYTES, ATTEMPT_LOG_RECORDS
from perdure.kernel.project import HistoryRow, RunRow
from perdure.kernel.run import Run, Status
from perdure.runtime import attempt_logs
from perdure.runtime.actors import Actor, actor_of
from perdure.runtime.alarms import HORIZON_NS, Alarms
from perdure.runtime.attempt_logs import AttemptLog
from perdure.runtime.deadlines import Deadlines, timed_out
from perdure.runtime.inbox import Inbox
from perdure.runtime.letters import Letter, StartRequest
from perdure.runtime.liveness import Liveness
from perdure.runtime.slots import ON_LOOP, Flight, Slots
from perdure.runtime.threads import Threads
from perdure.runtime.waiters import Waiters, is_at_rest
from perdure.stores.base import Batch, OwnershipLost
from perdure.stores.memory import MemoryStore, Shelf


@activity
async def on_loop() -> None: ...


@activity
def in_thread() -> None: ...


ACTIVITIES = {"on_loop": on_loop, "in_thread": in_thread}
NOTHING = ev.Payload(b"[]")


def actor(key: int = 2, timers: dict[str, int] | None = None) -> Actor:
    run = Run(key, f"run-{key}")
    made = Actor(run, MemoryStore())
    made.fold(ev.RunStarted(0, "w", NOTHING, b"r" * 16, "b"))
    for id, due in (timers or {}).items():
        made.fold(ev.TimerStarted(0, id, due))
    return made


# actors


def test_an_owner_that_finds_more_in_a_history_than_it_has_written_is_none_any_more() -> None:
    shelf = Shelf(shared=True)
    ours, theirs = MemoryStore(shelf=shelf), MemoryStore(shelf=shelf)
    for pid, store in enumerate((ours, theirs)):
        store.admin.try_own("here", pid, "b", 1)
    begun = wire.encode([ev.RunStarted(0, "w", NOTHING, b"r" * 16, "b")])
    row = RunRow(2, "r", b"r" * 16, "w", Status.RUNNING, "", "b", 0, None, None, 1)
    ours.journal.commit(Batch(created=[row], history=[HistoryRow(2, 1, begun)]))
    (stored,) = ours.work.load([2]).values()
    known = actor_of(stored, ours)
    known.stored = None
    assert len(known.history()) == 1

    assert ours.membership is not None and theirs.membership is not None
    ours.membership.hand_over()
    theirs.membership.own([2])
    theirs.journal.commit(Batch(history=[HistoryRow(2, 2, wire.encode([ev.CancelRequested(1, "enough")]))]))

    with pytest.raises(OwnershipLost, match="has 2 events, and 1 as this owner knows it"):
        known.history()


# alarms


def test_an_alarm_rings_once_when_its_time_has_come() -> None:
    alarms = Alarms()
    alarms.set(actor(2, {"0:1": 1_000}), now=0)

    assert alarms.due(999) == []
    assert alarms.seconds(0) == pytest.approx(1e-6)
    assert alarms.due(1_000) == [2]
    assert alarms.due(1_000) == []


def test_far_alarms_are_left_to_the_store_until_they_are_near() -> None:
    alarms = Alarms()
    sleeper = actor(2, {"0:1": HORIZON_NS + 5})

    alarms.set(sleeper, now=0)
    assert alarms.seconds(0) is None

    alarms.set(sleeper, now=10)
    assert alarms.due(HORIZON_NS + 5) == [2]


def test_deadlines_of_attempts_that_landed_do_not_pile_up() -> None:
    deadlines, slots = Deadlines(), Slots(7, ACTIVITIES, 10_000, 1, 1)
    for number in range(1_000):
        slots.claim(actor(2), "on_loop", f"0:{number}")
        (flight,) = slots.take_off()
        deadlines.watch(flight, 0.0, 10**9, None)
        slots.land(2, f"0:{number}", 1)
        deadlines.forget_landed(slots)

    assert len(deadlines._heap) <= 257


def test_a_deadline_that_was_set_anew_does_not_ring_at_its_old_time() -> None:
    deadlines, slots = Deadlines(), Slots(7, ACTIVITIES, 1, 1, 1)
    slots.claim(actor(2), "on_loop", "0:1")
    (flight,) = slots.take_off()
    deadlines.watch(flight, 0.0, 1 * 10**9, None)
    deadlines.watch(flight, 0.5, 10 * 10**9, None)

    assert deadlines.overdue(2.0) == []
    assert deadlines.overdue(10.5) == [flight]


def test_an_attempt_that_was_given_up_keeps_its_deadline_until_it_lands() -> None:
    deadlines, slots = Deadlines(), Slots(7, ACTIVITIES, 10_000, 1, 1)
    slots.claim(actor(2), "on_loop", "0:hangs")
    (hangs,) = slots.take_off()
    hangs.given_up = True
    deadlines.watch(hangs, 0.0, 10 * 10**9, None)
    for number in range(1_000):
        slots.claim(actor(2), "on_loop", f"0:{number}")
        (flight,) = slots.take_off()
        deadlines.watch(flight, 0.0, 20 * 10**9, None)
        slots.land(2, f"0:{number}", 1)
        deadlines.forget_landed(slots)

    assert deadlines.overdue(10.0) == [hangs]


# slots


def test_a_slot_is_granted_while_there_is_one() -> None:
    slots = Slots(7, ACTIVITIES, 2, 1, 1)

    granted = [slots.claim(actor(), "on_loop", f"0:{n}") for n in range(3)]

    assert granted == [7, 7, 0]
    assert slots.claim(actor(), "in_thread", "0:9") == 7


def test_a_heartbeat_moves_the_deadline_of_silence_but_not_that_of_the_attempt() -> None:
    deadlines, flight = Deadlines(), Flight(2, "0:1", 1, ON_LOOP)
    deadlines.watch(flight, 0.0, 10 * 10**9, 3 * 10**9)
    for heard in (2.0, 4.0, 6.0, 8.0):
        flight.heard = heard
        assert deadlines.overdue(heard + 1) == []

    assert deadlines.overdue(10.0) == [flight]
    assert not timed_out(flight, 7, 0, 10.0).silent


def test_an_attempt_that_falls_silent_is_told_from_one_that_takes_too_long() -> None:
    deadlines, flight = Deadlines(), Flight(2, "0:1", 1, ON_LOOP)
    deadlines.watch(flight, 0.0, 10 * 10**9, 3 * 10**9)

    assert deadlines.overdue(2.9) == []
    assert deadlines.overdue(3.0) == [flight]
    assert timed_out(flight, 7, 0, 3.0).silent


def test_a_worker_whose_beat_stands_still_for_too_long_is_dead() -> None:
    liveness = Liveness()
    liveness.look({7: 1, 8: 1}, {}, 0.0)

    assert liveness.look({7: 1, 8: 2}, {}, 9.9) == ([], False)
    assert liveness.look({7: 1, 8: 3}, {}, 10.0) == ([7], False)


def test_each_may_be_silent_for_as_long_as_its_own_last_beat_has_said() -> None:
    liveness = Liveness()
    leases = {7: 30 * 10**9, 8: 3 * 10**9}
    liveness.look({7: 1, 8: 1}, leases, 0.0)

    assert liveness.next_look(0.0) == 3.0
    assert liveness.look({7: 1, 8: 1}, leases, 3.0) == ([8], False)
    assert liveness.look({7: 1, 8: 2}, {**leases, 8: 60 * 10**9}, 29.9) == ([], False)
    assert liveness.look({7: 1, 8: 2}, {**leases, 8: 60 * 10**9}, 30.0) == ([7], False)


def test_one_that_beats_lives_whatever_the_time_between_two_looks() -> None:
    liveness = Liveness()
    liveness.look({7: 1}, {}, 0.0)

    assert liveness.look({7: 2}, {}, 3_600.0) == ([], False)


def test_tasks_are_looked_after_at_first_and_when_a_worker_has_gone() -> None:
    liveness = Liveness()

    assert liveness.look({7: 1}, {}, 0.0) == ([], True)
    assert liveness.look({7: 2, 8: 1}, {}, 1.0) == ([], False)
    assert liveness.look({8: 2}, {}, 2.0) == ([], True)


def test_who_waits_longer_is_served_first() -> None:
    slots = Slots(7, ACTIVITIES, 1, 1, 1)
    slots.claim(actor(2), "on_loop", "0:1")
    slots.take_off()
    slots.want(actor(4), "on_loop", "0:1")
    slots.land(2, "0:1", 1)

    assert slots.claim(actor(6), "on_loop", "0:1") == 0, "one waits already"
    assert [grant[:2] for grant in slots.grants()] == [(4, "0:1")]


def test_who_is_passed_over_keeps_its_place() -> None:
    slots = Slots(7, ACTIVITIES, 2, 1, 1)
    for key in (2, 4, 6):
        slots.want(actor(key), "on_loop", "0:1")

    assert [key for key, _, _ in slots.grants(only={6})] == [6]
    assert [key for key, _, _ in slots.grants()] == [2]


def test_slots_claimed_in_a_void_batch_come_back() -> None:
    slots = Slots(7, ACTIVITIES, 1, 1, 1)
    slots.claim(actor(), "on_loop", "0:1")
    slots.void()

    assert slots.claim(actor(), "on_loop", "0:2") == 7


def test_a_slot_is_given_back_once_however_often_its_attempt_lands() -> None:
    slots = Slots(7, ACTIVITIES, 1, 1, 1)
    slots.claim(actor(), "on_loop", "0:1")
    slots.take_off()
    slots.land(2, "0:1", 1)
    slots.land(2, "0:1", 1)

    assert [slots.claim(actor(), "on_loop", f"0:{n}") for n in (2, 3)] == [7, 0]


# waiting


@pytest.mark.parametrize(
    ("status", "wake_at", "expires_at", "rests"),
    [
        (Status.RUNNING, None, None, False),
        (Status.WAITING, 5, None, False),
        (Status.WAITING, 5, 5, False),
        (Status.HELD, None, None, True),
        (Status.HELD, 5, None, False),
        (Status.HELD, 5, 9, False),
        (Status.HELD, 9, 9, True),
        (Status.BLOCKED, None, None, True),
        (Status.BLOCKED, 9, 9, True),
        (Status.QUARANTINED, None, None, True),
        (Status.COMPLETED, None, None, True),
        (Status.TIMED_OUT, None, 9, True),
    ],
)
def test_waiting_is_of_no_use_once_only_a_person_can_move_the_run(
    status: Status, wake_at: int | None, expires_at: int | None, rests: bool
):
    assert is_at_rest(status, wake_at, expires_at) is rests


def test_the_inbox_keeps_order_and_a_nudge_only_wakes() -> None:
    inbox = Inbox()
    letters = [Letter(n, None) for n in range(5)]  # type: ignore[arg-type]
    for letter in letters[:3]:
        inbox.put(letter)
    inbox.nudge()
    for letter in letters[3:]:
        inbox.put(letter)

    assert inbox.take(0, 2) == letters[:2]
    assert inbox.take(60, 10) == letters[2:]
    assert inbox.nudged
    assert inbox.take(0, 10) == []


# threads


def test_as_many_calls_run_at_the_same_time_as_are_asked_for() -> None:
    threads, barrier = Threads("test"), threading.Barrier(9)
    for _ in range(8):
        threads.run(barrier.wait)

    assert barrier.wait(300) in range(9)
    threads.close()


def test_threads_are_used_again() -> None:
    threads, names, done = Threads("test"), set(), threading.Semaphore(0)

    def call() -> None:
        names.add(threading.current_thread().name)
        done.release()

    for _ in range(50):
        threads.run(call)
        assert done.acquire(timeout=300)

    assert len(names) < 10
    threads.close()


def test_calls_beyond_the_most_wait_their_turn_and_are_made() -> None:
    threads, names, done, gate = Threads("test", 2), set(), threading.Semaphore(0), threading.Event()

    def call() -> None:
        names.add(threading.current_thread().name)
        gate.wait(300)
        done.release()

    for _ in range(50):
        threads.run(call)
    threads.close()
    gate.set()

    assert all(done.acquire(timeout=300) for _ in range(50))
    assert len(names) == 2


# logs of attempts


@pytest.fixture
def kept() -> Iterator[AttemptLog]:
    log = AttemptLog()
    token = attempt_context.set(log)  # type: ignore[arg-type]  all that is asked of it is to keep records
    attempt_logs.install()
    yield log
    attempt_logs.remove()
    attempt_context.reset(token)


def texts(log: AttemptLog) -> list[str]:
    taken = log.taken()
    return [] if taken is None else [record.text for record in taken.records]


def test_what_any_logger_says_is_kept_with_the_attempt(kept: AttemptLog) -> None:
    logging.getLogger("app.payments").warning("slow: %s", 3)

    (record,) = kept.taken().records
    assert (record.level, record.logger, record.text) == (logging.WARNING, "app.payments", "slow: 3")


def test_the_activity_logger_keeps_info_whatever_the_application_has_set_up(kept: AttemptLog) -> None:
    activity.logger.info("charged %s", "acct")
    activity.logger.debug("details")

    assert texts(kept) == ["charged acct"]


def test_a_traceback_is_part_of_the_record(kept: AttemptLog) -> None:
    try:
        raise ValueError("no")
    except ValueError:
        logging.getLogger("app").exception("failed")

    assert "ValueError: no" in texts(kept)[0]


def test_records_beyond_the_bound_are_counted(kept: AttemptLog) -> None:
    for number in range(ATTEMPT_LOG_RECORDS + 5):
        logging.getLogger("app").error("%d", number)

    logs = kept.taken()
    assert (len(logs.records), logs.dropped) == (ATTEMPT_LOG_RECORDS, 5)


def test_one_huge_record_is_cut(kept: AttemptLog) -> None:
    logging.getLogger("app").error("x" * 1_000_000)
    logging.getLogger("app").error("more")

    logs = kept.taken()
    assert (len(logs.records[0].text), logs.dropped) == (ATTEMPT_LOG_BYTES, 1)


def test_the_bound_is_one_of_bytes_and_cuts_no_character_in_two(kept: AttemptLog) -> None:
    logging.getLogger("app").error("x" + "\N{SNOWMAN}" * ATTEMPT_LOG_BYTES)

    (record,) = kept.taken().records
    assert ATTEMPT_LOG_BYTES - 3 < len(record.text.encode()) <= ATTEMPT_LOG_BYTES
    assert record.text.endswith("\N{SNOWMAN}")


def test_arguments_that_do_not_fit_their_message_lose_nothing_else() -> None:
    log = AttemptLog()
    log.keep(logging.LogRecord("app", logging.ERROR, "shop.py", 1, "%d apples", ("many",), None))

    assert texts(log) == ["'%d apples' (TypeError while formatting it)"]


def test_outside_of_attempts_nothing_is_kept_and_nothing_stays_installed() -> None:
    factory, handlers = logging.getLogRecordFactory(), list(logging.getLogger().handlers)
    attempt_logs.install()
    attempt_logs.install()
    logging.getLogger("app").error("to nobody")
    assert logging.getLogger().handlers == handlers, "basicConfig and Python's last resort look for handlers there"
    attempt_logs.remove()
    attempt_logs.remove()

    assert logging.getLogRecordFactory() is factory


def test_a_factory_put_before_ours_stays_and_ours_is_idle_behind_it(kept: AttemptLog) -> None:
    before = logging.getLogRecordFactory()
    theirs = lambda *args, **kwargs: before(*args, **kwargs)  # noqa: E731
    logging.setLogRecordFactory(theirs)
    attempt_logs.remove()
    logging.getLogger("app").error("not kept")
    attempt_logs.install()
    logging.getLogger("app").error("kept once")

    assert texts(kept) == ["kept once"]
    logging.setLogRecordFactory(before)


@pytest.mark.parametrize("before", [True, False])
def test_who_gives_up_waiting_is_not_kept(before: bool) -> None:
    waiters = Waiters()
    request = StartRequest("a", "w", NOTHING, None, _Nobody(), until_end=True)

    if before:
        request.give_up()
    waiters.add(2, "a", request.receiver)
    request.watched(waiters, 2)
    if not before:
        request.give_up()

    assert len(waiters) == 0


class _Nobody:
    loop: asyncio.AbstractEventLoop | None = None

    def receive(self, value: object, error: BaseException | None) -> None: ...

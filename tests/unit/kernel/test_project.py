"""The rows of a run: what is kept, what is bounded, and that a run stands again from them."""

import msgspec
import pytest

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.limits import ATTEMPTS_FIRST, ATTEMPTS_LAST, NOTE_CHARS
from perdure.kernel.notes import failure_line, note
from perdure.kernel.policy import RetryPolicy
from perdure.kernel.project import AttemptState, restore
from perdure.kernel.run import Run, Status
from tests.unit.kernel.actor import (
    BOOM,
    BUG,
    INPUT,
    ME,
    OTHER,
    SECOND,
    T0,
    Actor,
    attempt_again,
    completed,
    facts,
    failed,
    scheduled,
    started,
)


def test_a_step_that_succeeds_at_once_leaves_no_attempt_row():
    actor = scheduled()
    actor.tell(completed())
    actor.commit()

    assert actor.attempts("0:1") == []


def test_a_history_does_not_grow_with_retries():
    actor = scheduled()
    actor.commit()
    before = len(actor.history)
    for attempt in range(1, 50):
        actor.tell(failed(attempt))
        attempt_again(actor)
        actor.commit()

    assert len(actor.history) == before


def test_of_many_attempts_the_first_3_and_the_last_20_are_kept_and_the_count_is_exact():
    actor = scheduled()
    for attempt in range(1, 100):
        actor.tell(failed(attempt))
        attempt_again(actor)
        actor.commit()

    numbers = [row.attempt for row in actor.attempts("0:1")]
    assert numbers == [1, 2, 3, *range(81, 101)]
    assert len(numbers) == ATTEMPTS_FIRST + ATTEMPTS_LAST
    assert actor.run.pending["0:1"].attempt == 100
    assert actor.stored().pending["0:1"].counted == 99


def test_attempts_are_bounded_also_when_many_end_in_one_commit():
    actor = scheduled()
    for attempt in range(1, 100):
        actor.tell(failed(attempt))
        attempt_again(actor)
    actor.commit()

    assert [row.attempt for row in actor.attempts("0:1")] == [1, 2, 3, *range(81, 101)]


def test_an_attempt_row_tells_error_start_end_member_and_logs():
    logs = ev.Logs((ev.LogRecord(T0, 30, "shop", "no answer"),), dropped=2)
    actor = scheduled()
    actor.now += SECOND
    actor.tell(failed(logs=logs, build="build-1"))
    actor.commit()

    (row,) = actor.attempts("0:1")
    assert (row.attempt, row.state, row.member) == (1, AttemptState.WAITING, ME)
    assert (row.started_at, row.ended_at, row.retry_at) == (T0, actor.now, actor.now + SECOND)
    assert wire.decode_detail(row.detail) == wire.AttemptDetail(BOOM, logs, "build-1")


def test_releasing_an_attempt_keeps_its_error():
    actor = scheduled()
    actor.tell(failed(failure=BUG))
    actor.commit()
    actor.tell(msg.Retry())
    actor.commit()

    (row,) = actor.attempts("0:1")
    assert (row.state, row.retry_at, row.member) == (AttemptState.RELEASED, actor.now, ME)
    assert wire.decode_detail(row.detail).failure == BUG


def test_the_attempts_of_a_step_tell_its_whole_story():
    actor = scheduled(RetryPolicy(max_attempts=3))
    actor.tell(failed(1))
    attempt_again(actor)
    actor.tell(failed(2, BUG))
    actor.tell(msg.Retry())
    actor.tell(msg.GrantSlot("0:1", OTHER))
    actor.tell(msg.Takeover())
    actor.commit()

    states = [AttemptState(row.state).name for row in actor.attempts("0:1")]
    assert states == ["RELEASED", "RELEASED", "WAITING"]


def test_one_commit_is_one_row_of_history_numbered_from_its_first_event():
    actor = started()
    actor.do(cmd.StartTimer("0:1", 5))
    actor.commit()
    actor.now += 5
    actor.tell(msg.Wake())
    actor.commit()  # asserts that the number continues

    assert actor.row.seq == 3


def test_a_run_without_history_events_in_a_commit_writes_none():
    actor = scheduled()
    actor.commit()
    actor.tell(failed())
    actor.commit()

    assert actor.row.seq == 2
    assert actor.row.status == Status.RETRYING


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda a: None, "waits for a message"),
        (lambda a: a.do(cmd.ScheduleActivity("0:1", "charge", INPUT), ME), "charge"),
        (lambda a: [a.do(cmd.ScheduleActivity(f"0:{n}", "charge", INPUT), ME) for n in range(1_201)], "charge +1,200"),
        (lambda a: a.do(cmd.StartTimer("0:1", 5)), "timer"),
        (lambda a: [a.do(cmd.StartTimer(f"0:{n}", 5)) for n in range(1_000)], "1,000 timers"),
        (lambda a: a.tell(msg.BlockRun(ev.Block("bug", "b", "NameError: x\nsecond line"))), "NameError: x"),
        (lambda a: a.do(cmd.CompleteRun(ev.Payload(b'"shipped"'))), '"shipped"'),
        (lambda a: a.do(cmd.CompleteRun(ev.Payload(b"\x00", encoding="zip"))), ""),
        (lambda a: a.do(cmd.CompleteRun(ev.Payload(b"\x00" * 32, ref=True))), ""),
        (lambda a: a.do(cmd.FailRun(ev.Failure("shop.Declined", "no money"))), "Declined: no money"),
        (lambda a: a.do(cmd.FailRun(ev.Failure("shop.Declined", ""))), "Declined"),
        (lambda a: a.do(cmd.EndCancelled("customer asked")), "customer asked"),
        (lambda a: a.tell(msg.Terminate("wrong order")), "wrong order"),
    ],
)
def test_the_note_is_the_one_line_a_list_shows(prepare, expected):
    actor = started()
    prepare(actor)

    assert note(actor.run) == expected


def test_the_note_of_a_retried_step_counts_its_attempts():
    unlimited, limited, held = scheduled(), scheduled(RetryPolicy(max_attempts=5)), scheduled()
    for actor in (unlimited, limited):
        actor.tell(failed())
        attempt_again(actor)
    held.tell(failed(failure=BUG))

    assert note(unlimited.run) == "charge ×2"
    assert note(limited.run) == "charge 2/5"
    assert note(held.run) == "charge held by a bug"


def test_beyond_its_policy_a_step_just_counts():
    actor = scheduled(RetryPolicy(max_attempts=1, exhausted="hold"))
    actor.tell(failed())
    actor.tell(msg.Retry())
    actor.tell(msg.GrantSlot("0:1", ME))

    assert note(actor.run) == "charge ×2"


def compensating(failure: ev.Failure) -> Actor:
    """A run within a time limit, whose compensation is held."""
    actor = started()
    actor.do(cmd.StartTimer("0:0", SECOND))
    policy, terms = RetryPolicy(max_attempts=1, exhausted="hold"), ev.Terms(compensates=True)
    actor.do(cmd.ScheduleActivity("0:1", "refund", INPUT, None, policy, terms), ME)
    actor.tell(failed(failure=failure))
    actor.commit()
    return actor


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (BOOM, f"compensation refund failed after 1 attempt: {failure_line(BOOM)}"),
        (BUG, f"compensation refund is held by a bug: {failure_line(BUG)}"),
    ],
)
def test_the_row_of_a_run_says_that_its_compensation_is_held_and_the_run_stands_again_without_a_block(failure, message):
    actor = compensating(failure)

    assert (actor.row.status, actor.row.wake_at) == (Status.HELD, T0 + SECOND)
    assert actor.row.block is not None
    assert wire.decode_block(actor.row.block).message == message
    assert facts(actor.stored()) == facts(actor.run)
    assert actor.stored().block is None


def test_the_row_says_so_no_longer_when_the_compensation_is_tried_again():
    actor = compensating(BOOM)
    actor.tell(msg.Retry())
    actor.commit()

    assert actor.row.block is None


@pytest.mark.parametrize("text", ["x" * 500, "ä" * 500, "語" * 500, "🐢" * 500])
def test_a_long_result_is_cut_with_an_ellipsis_whatever_its_characters(text):
    actor = started()
    actor.do(cmd.CompleteRun(ev.Payload(text.encode())))

    assert note(actor.run) == text[: NOTE_CHARS - 1] + "…"


def test_a_short_result_is_shown_whole_whatever_its_characters():
    actor = started()
    actor.do(cmd.CompleteRun(ev.Payload(("語" * NOTE_CHARS).encode())))

    assert note(actor.run) == "語" * NOTE_CHARS


def test_a_queued_run_stands_again_with_what_its_row_says():
    actor = Actor()
    row = msgspec.structs.replace(
        actor.row, workflow="process_order", run_id=b"id", build="build-1", started_at=T0, strikes=1
    )

    run = restore(row, [], [])

    assert (run.workflow, run.run_id, run.build, run.started_at) == ("process_order", b"id", "build-1", T0)
    assert (run.status, run.strikes) == (Status.QUEUED, 1)


def test_a_blocked_run_stands_again_blocked():
    actor = started()
    actor.tell(msg.BlockRun(ev.Block("divergence", "b", "m", recorded="timer", produced="nothing", open_tail=True)))
    actor.commit()

    assert facts(actor.stored()) == facts(actor.run)


def test_rows_may_come_back_in_any_order():
    actor = scheduled()
    for attempt in range(1, 6):
        actor.tell(failed(attempt))
        attempt_again(actor)
    actor.commit()
    row, history, attempts = actor.row, actor.history, actor.attempts("0:1")

    forwards, backwards = restore(row, history, attempts), restore(row, history, attempts[::-1])

    assert facts(forwards) == facts(backwards) == facts(actor.run)


def test_timeouts_that_never_fire_do_not_pile_up():
    run = started().run
    actor = Actor()
    actor.run = run
    actor.do(cmd.StartTimer("0:0", 10**6 * SECOND))
    for n in range(1, 10_000):
        actor.do(cmd.StartTimer(f"0:{n}", 2 * 10**6 * SECOND))
        actor.do(cmd.CancelTimer(f"0:{n}"))

    assert len(run.deadlines) < 100
    assert run.wake_at() == T0 + 10**6 * SECOND


def test_a_run_takes_little_memory_of_its_own():
    assert not hasattr(Run(1, "x"), "__dict__")
    assert not hasattr(scheduled().run.pending["0:1"], "__dict__")

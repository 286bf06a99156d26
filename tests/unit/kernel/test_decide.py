"""What a message may do to a run, and when it is refused."""

import pytest

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.decide import Refused, decide, must_wait
from perdure.kernel.limits import END_OF_TIME, PENDING_COMMANDS, STRIKES
from perdure.kernel.policy import RetryPolicy
from perdure.kernel.project import queue
from perdure.kernel.run import LOST, Run, Status, evolve
from tests.unit.kernel.actor import (
    BOOM,
    BUG,
    INPUT,
    ME,
    OTHER,
    RESULT,
    SECOND,
    T0,
    Actor,
    attempt_again,
    completed,
    failed,
    scheduled,
    started,
)


def kinds(events) -> list[str]:
    return [type(event).__name__ for event in events]


def block(kind: str = "bug", open_tail: bool = False, build: str = "build-1") -> msg.BlockRun:
    return msg.BlockRun(ev.Block(kind=kind, build=build, message="stuck", open_tail=open_tail))


def test_a_start_begins_the_run_once():
    actor = Actor()

    first = actor.tell(msg.Start("process_order", RESULT, b"id"))
    second = actor.tell(msg.Start("process_order", RESULT, b"id"))

    assert kinds(first) == ["RunStarted"]
    assert second == []
    assert actor.run.seq == 1


def test_a_start_is_followed_by_what_was_said_before_the_run_began():
    actor = Actor()
    signals = (msg.Signal("s", INPUT, "r-1"), msg.Signal("t", INPUT))

    actor.tell(msg.Start("process_order", INPUT, b"r", first=msg.Update("u", "n", INPUT), further=signals))

    begun, *heard = actor.history
    assert begun.spoken == 3
    assert [type(event) for event in heard] == [ev.UpdateAccepted, ev.SignalReceived, ev.SignalReceived]
    assert actor.run.has_received("r-1")
    assert not actor.run.has_received("")
    assert actor.run.updates == {"u": ("n", actor.now)}


def test_a_result_completes_the_step_without_a_row_of_its_own():
    actor = scheduled()

    events = actor.tell(completed())

    assert kinds(events) == ["ActivityCompleted"]
    assert not actor.run.pending


def test_a_result_with_logs_or_after_a_retry_also_records_its_attempt():
    logs = ev.Logs((ev.LogRecord(T0, 20, "shop", "charging"),))
    with_logs = scheduled().tell(msg.AttemptEnded("0:1", 1, ME, T0, result=RESULT, logs=logs))
    retried = scheduled()
    retried.tell(failed())
    attempt_again(retried)

    assert kinds(with_logs) == ["AttemptSucceeded", "ActivityCompleted"]
    assert kinds(retried.tell(completed(attempt=2))) == ["AttemptSucceeded", "ActivityCompleted"]


@pytest.mark.parametrize(
    "late",
    [completed(attempt=2), completed(member=OTHER), completed(member=0), completed(step="0:9"), completed(attempt=0)],
    ids=["another attempt", "another member", "nobody", "another step", "no attempt"],
)
def test_a_result_that_is_not_of_the_attempt_in_flight_is_dropped(late):
    actor = scheduled()

    assert actor.tell(late) == []


def test_a_result_that_comes_after_its_attempt_was_given_up_is_dropped():
    actor = scheduled()
    actor.tell(msg.Takeover())

    assert actor.tell(completed()) == []
    assert actor.tell(failed()) == []
    assert actor.tell(msg.AttemptEnded("0:1", 1, 0, T0, failure=BOOM)) == []
    assert actor.run.retrying == 1


def test_a_second_result_of_the_same_attempt_is_dropped():
    actor = scheduled()
    actor.tell(completed())

    assert actor.tell(completed()) == []


def test_a_failure_waits_for_its_next_attempt_by_the_policy():
    actor = scheduled(RetryPolicy(initial_ns=3 * SECOND))

    (event,) = actor.tell(failed())

    assert event.retry_at == actor.now + 3 * SECOND
    assert actor.run.status is Status.RETRYING
    assert actor.run.wake_at() == event.retry_at


def test_retry_after_overrules_the_policy():
    actor = scheduled()

    (event,) = actor.tell(failed(failure=ev.Failure("Busy", "", retry_after_ns=77)))

    assert event.retry_at == actor.now + 77


@pytest.mark.parametrize(
    ("retry", "failure", "timed_out", "reason"),
    [
        (RetryPolicy(max_attempts=1), BOOM, False, "exhausted"),
        (RetryPolicy(max_attempts=1), BOOM, True, "timeout"),
        (RetryPolicy(), ev.Failure("ValueError", "", non_retryable=True), False, "failed"),
        (RetryPolicy(non_retryable=("ValueError",)), BOOM, False, "failed"),
        (RetryPolicy(non_retryable=("Declined",)), ev.Failure("shop.payments.Declined", ""), False, "failed"),
        (RetryPolicy(non_retryable=("__main__.Declined",)), ev.Failure("shop.Declined", ""), False, "failed"),
        (RetryPolicy(non_retryable=("shop.Declined",)), ev.Failure("__main__.Declined", ""), False, "failed"),
        (
            RetryPolicy(non_retryable=("shop.payments.Declined",)),
            ev.Failure("shop.payments.Declined", ""),
            False,
            "failed",
        ),
        (RetryPolicy(bugs="fail"), BUG, False, "failed"),
        (RetryPolicy(bugs="retry", max_attempts=1), BUG, False, "exhausted"),
    ],
)
def test_a_final_failure_says_why_it_is_final(retry, failure, timed_out, reason):
    events = scheduled(retry).tell(failed(failure=failure, timed_out=timed_out))

    assert kinds(events) == ["AttemptFailed", "ActivityFailed"]
    assert events[1].reason == reason
    assert events[0].retry_at is None


def test_a_class_is_not_listed_because_its_name_ends_alike():
    (event,) = scheduled(RetryPolicy(non_retryable=("Declined",))).tell(
        failed(failure=ev.Failure("shop.NotDeclined", ""))
    )

    assert event.retry_at is not None


def test_a_bug_holds_its_attempt_even_where_the_policy_is_used_up():
    actor = scheduled(RetryPolicy(max_attempts=1))

    (event,) = actor.tell(failed(failure=BUG, build="build-1"))

    assert event.held
    assert event.retry_at is None
    assert actor.run.status is Status.HELD
    assert actor.run.wake_at() is None


def test_held_attempts_do_not_count_against_the_policy():
    actor = scheduled(RetryPolicy(max_attempts=2))
    for attempt in range(1, 6):
        actor.tell(failed(attempt, BUG, build="build-1"))
        actor.tell(msg.Retry())
        actor.tell(msg.GrantSlot("0:1", ME))

    first = actor.tell(failed(6))
    attempt_again(actor)
    second = actor.tell(failed(7))

    assert kinds(first) == ["AttemptFailed"]
    assert kinds(second) == ["AttemptFailed", "ActivityFailed"]


def test_other_code_releases_a_held_attempt_and_the_same_code_does_not():
    actor = scheduled()
    actor.tell(failed(failure=BUG, build="build-1"))

    assert actor.tell(msg.NewBuild("build-1")) == []
    assert kinds(actor.tell(msg.NewBuild("build-2"))) == ["AttemptReleased"]
    assert [step.id for step in actor.run.slot_wanted()] == ["0:1"]


def test_an_operator_releases_held_and_waiting_attempts():
    held, waiting = scheduled(), scheduled()
    held.tell(failed(failure=BUG))
    waiting.tell(failed())

    assert kinds(held.tell(msg.Retry())) == ["AttemptReleased"]
    assert kinds(waiting.tell(msg.Retry())) == ["AttemptReleased"]
    assert held.run.status is waiting.run.status is Status.RUNNING


def test_a_slot_goes_only_to_a_step_that_wants_one():
    flying, waiting, unclaimed = scheduled(), scheduled(), scheduled(claimed_by=0)
    waiting.tell(failed())

    assert flying.tell(msg.GrantSlot("0:1", ME)) == []
    assert waiting.tell(msg.GrantSlot("0:1", ME)) == []
    assert flying.tell(msg.GrantSlot("0:9", ME)) == []
    (event,) = unclaimed.tell(msg.GrantSlot("0:1", ME))
    assert (event.attempt, event.member) == (1, ME)


def test_a_takeover_loses_the_attempts_that_nobody_is_known_to_run():
    actor = scheduled()
    actor.do(cmd.ScheduleActivity("0:2", "ship", RESULT), claimed_by=OTHER)
    actor.do(cmd.ScheduleActivity("0:3", "notify", RESULT), claimed_by=0)

    (event,) = actor.tell(msg.Takeover(frozenset({"0:2"})))

    assert event.id == "0:1"
    assert event.failure.code == LOST
    assert actor.tell(msg.Takeover(frozenset({"0:2"}))) == []


def test_lost_attempts_count_so_that_a_deadly_activity_cannot_try_for_ever():
    actor = scheduled(RetryPolicy(max_attempts=3))
    events = []
    for member in (11, 12, 13):
        events = actor.tell(msg.Takeover())
        attempt_again(actor, member)

    assert kinds(events) == ["AttemptFailed", "ActivityFailed"]
    assert events[1].reason == "exhausted"
    assert events[1].failure.code == LOST


def test_the_first_loss_is_tried_again_at_once_and_the_next_ones_by_the_policy_also_after_restarts():
    actor = scheduled(RetryPolicy(initial_ns=SECOND))
    delays = []
    for member in (11, 12, 13):
        (event,) = actor.tell(msg.Takeover())
        delays.append(event.retry_at - actor.now)
        attempt_again(actor, member)
        actor.commit()
        actor.run = actor.stored()

    assert delays == [0, 2 * SECOND, 4 * SECOND]


def test_a_lost_attempt_is_shown_with_the_time_it_began():
    actor = scheduled()
    actor.tell(failed())
    attempt_again(actor)
    began = actor.now
    actor.commit()
    actor.run = actor.stored()
    actor.now += 10 * SECOND

    (event,) = actor.tell(msg.Takeover())

    assert began > T0
    assert event.started_at == began


def test_a_takeover_stops_at_each_final_failure_so_that_the_program_sees_one_event_at_a_time():
    actor = started()
    for n in (1, 2, 3):
        actor.do(cmd.ScheduleActivity(f"0:{n}", "charge", RESULT, None, RetryPolicy(max_attempts=1)), claimed_by=ME)

    turns = [kinds(actor.tell_once(msg.Takeover())) for _ in range(4)]

    assert turns == [["AttemptFailed", "ActivityFailed"]] * 3 + [[]]


def test_wake_fires_due_timers_one_at_a_time_in_the_order_of_their_time():
    actor = started()
    for n, seconds in enumerate((3, 1, 2, 99), 1):
        actor.do(cmd.StartTimer(f"0:{n}", seconds * SECOND))
    actor.now += 5 * SECOND

    turns = [actor.tell_once(msg.Wake()) for _ in range(4)]

    assert [[event.id for event in turn] for turn in turns] == [["0:2"], ["0:3"], ["0:1"], []]


def test_wake_releases_the_retries_that_are_due_before_the_next_timer():
    actor = scheduled(RetryPolicy(initial_ns=SECOND))
    actor.tell(failed())
    actor.do(cmd.StartTimer("0:2", 2 * SECOND))
    actor.do(cmd.StartTimer("0:3", 3 * SECOND))
    actor.now += 5 * SECOND

    assert kinds(actor.tell_once(msg.Wake())) == ["AttemptReleased", "TimerFired"]
    assert kinds(actor.tell_once(msg.Wake())) == ["TimerFired"]
    assert actor.tell_once(msg.Wake()) == []


def test_a_timer_that_was_cancelled_or_is_not_due_does_not_fire():
    actor = started()
    actor.do(cmd.StartTimer("0:1", SECOND))
    actor.do(cmd.StartTimer("0:2", 10 * SECOND))
    actor.do(cmd.CancelTimer("0:1"))
    actor.now += 5 * SECOND

    assert actor.tell(msg.Wake()) == []
    assert actor.run.wake_at() == T0 + 10 * SECOND


def test_a_timer_beyond_64_bits_is_due_at_the_end_of_time():
    actor = started()

    event = actor.do(cmd.StartTimer("0:1", 10**30))

    assert event.due_at == END_OF_TIME


def test_a_negative_timer_is_due_at_once():
    actor = started()

    assert actor.do(cmd.StartTimer("0:1", -5)).due_at == actor.now


def test_cancel_is_asked_once_and_refused_by_a_closed_run():
    actor = started()

    assert kinds(actor.tell(msg.Cancel("enough"))) == ["CancelRequested"]
    assert actor.tell(msg.Cancel("really")) == []
    actor.do(cmd.CompleteRun(RESULT))
    with pytest.raises(Refused, match="'order-1' is completed already") as refused:
        actor.tell(msg.Cancel())
    assert refused.value.code == "run-closed"


@pytest.mark.parametrize("message", [msg.Cancel(), msg.Terminate(), msg.Retry()])
def test_a_closed_run_refuses_to_be_steered(message):
    actor = started()
    actor.tell(msg.Terminate("wrong order"))

    with pytest.raises(Refused, match="terminated already"):
        actor.tell(message)


@pytest.mark.parametrize(
    "message",
    [
        completed(),
        msg.Wake(),
        msg.GrantSlot("0:1", ME),
        msg.Takeover(),
        block(),
        msg.Strike(""),
        msg.NewBuild("b"),
        msg.NewCode((msg.Code("b", ("gpu",), ("charge",)),)),
    ],
)
def test_whatever_else_comes_to_a_closed_run_does_nothing(message):
    actor = scheduled()
    actor.tell(msg.Terminate())

    assert actor.tell(message) == []


def test_terminating_ends_the_run_with_everything_pending():
    actor = scheduled()
    actor.do(cmd.StartTimer("0:2", SECOND))

    actor.tell(msg.Terminate("wrong order"))

    assert actor.run.status is Status.TERMINATED
    assert not actor.run.pending
    assert not actor.run.timers
    assert actor.run.wake_at() is None


def test_what_the_program_would_have_to_see_waits_while_the_run_is_blocked():
    actor = scheduled()
    actor.tell(block())

    waiting = [completed(), msg.Cancel(), msg.Takeover(), msg.GrantSlot("0:1", ME)]
    passing = [msg.Terminate(), msg.Retry(), msg.NewBuild("build-2"), msg.NewCode(()), msg.Strike("")]
    assert all(must_wait(actor.run, message) for message in waiting)
    assert not any(must_wait(actor.run, message) for message in passing)


@pytest.mark.parametrize("strikes", [0, STRIKES])
def test_a_run_that_is_blocked_before_it_begins_sleeps_and_knows_when_it_was_to_begin(strikes: int):
    actor, begin_at = Actor(), T0 + 60 * SECOND
    queue(actor.run, msg.Start("process_order", INPUT, b"id"), T0, begin_at)
    for message in [msg.Strike("")] * strikes or [block()]:
        actor.tell(message)
    actor.commit()

    again = actor.stored()
    assert (again.block is not None, again.wake_at(), again.begin_at) == (True, None, begin_at)
    evolve(again, ev.RunReleased(T0))
    assert (again.status, again.wake_at()) == (Status.QUEUED, begin_at)


def test_a_run_that_has_begun_is_blocked_without_a_time_to_begin():
    actor = scheduled()
    actor.run.begin_at = T0

    actor.tell(block())

    assert actor.run.block is not None
    assert actor.run.block.begin_at is None


def test_nothing_waits_while_the_run_is_not_blocked():
    assert not must_wait(scheduled().run, completed())


def test_a_run_quarantined_before_its_first_turn_does_not_start():
    actor = Actor()
    for _ in range(STRIKES):
        actor.tell(msg.Strike("build-1"))

    assert actor.run.status is Status.QUARANTINED
    assert must_wait(actor.run, msg.Start("process_order", RESULT, b"id"))


def test_a_blocked_run_has_no_deadline_until_it_is_released():
    actor = started()
    actor.do(cmd.StartTimer("0:1", SECOND))
    actor.tell(block())

    assert actor.run.wake_at() is None
    actor.tell(msg.Retry())
    assert actor.run.wake_at() == T0 + SECOND


def test_other_code_releases_a_block_and_the_same_code_does_not():
    actor = started()
    actor.tell(block(build="build-1"))

    assert actor.tell(msg.NewBuild("build-1")) == []
    assert kinds(actor.tell(msg.NewBuild("build-2"))) == ["RunReleased"]
    assert actor.run.status is Status.WAITING


def test_the_third_death_in_a_turn_quarantines_the_run_and_only_an_operator_releases_it():
    actor = started()

    deaths = [kinds(actor.tell(msg.Strike("build-1"))) for _ in range(3)]

    assert deaths == [["RunStruck"], ["RunStruck"], ["RunStruck", "RunBlocked"]]
    assert actor.run.status is Status.QUARANTINED
    assert "died 3 times" in actor.run.block.message
    assert "perdure retry order-1" in actor.run.block.hint
    assert actor.tell(msg.NewBuild("build-2")) == []
    assert kinds(actor.tell(msg.Retry())) == ["RunReleased"]
    assert actor.run.strikes == 0


def test_an_open_tail_outlives_another_block_and_ends_with_the_reaction():
    actor = started()
    actor.tell(block(open_tail=True))
    actor.tell(msg.Retry())
    actor.tell(block("quarantined"))
    assert actor.run.open_tail
    actor.tell(msg.Retry())
    assert actor.run.open_tail

    actor.fold(ev.RunReacted(actor.now))

    assert not actor.run.open_tail


def test_a_released_run_that_owes_an_answer_is_running_so_that_a_new_owner_picks_it_up():
    actor = started()
    actor.tell(block(open_tail=True))

    actor.tell(msg.NewBuild("build-2"))

    assert actor.run.status is Status.RUNNING


def test_a_quarantine_keeps_the_open_tail():
    actor = started()
    actor.tell(block(open_tail=True))
    actor.tell(msg.Retry())
    for _ in range(3):
        actor.tell(msg.Strike("build-1"))

    assert actor.run.block.open_tail


def test_a_program_that_floods_is_refused_by_name_and_number():
    actor = started()
    actor.run.timers.update({f"0:{n}": T0 for n in range(PENDING_COMMANDS)})

    with pytest.raises(Refused, match="200,000 unresolved steps, timers and children") as refused:
        actor.do(cmd.ScheduleActivity("0:x", "charge", RESULT))
    assert refused.value.code == "too-many-commands"


def test_cancelled_activities_ignore_their_late_result():
    actor = scheduled()
    actor.do(cmd.CancelActivity("0:1"))

    assert actor.tell(completed()) == []


def test_decide_changes_nothing():
    actor = scheduled()
    before = (actor.run.seq, dict(actor.run.pending), actor.run.flying)

    decide(actor.run, failed(), T0)
    decide(actor.run, completed(), T0)
    decide(actor.run, msg.Terminate(), T0)

    assert (actor.run.seq, dict(actor.run.pending), actor.run.flying) == before


def test_runs_that_failed_together_do_not_come_back_together():
    policy = RetryPolicy(jitter=0.5)

    due = {scheduled(policy, id=f"order-{n}").tell(failed())[0].retry_at for n in range(20)}

    assert len(due) == 20


def test_every_message_and_command_is_decided():
    from typing import get_args

    from perdure.kernel import decide as module

    assert set(get_args(msg.Message)) == set(module._MESSAGES)
    assert set(get_args(cmd.Command)) == set(module._COMMANDS)


def test_a_new_run_is_queued():
    assert Run(1, "x").status is Status.QUEUED

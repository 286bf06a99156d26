"""The time limits of steps: what the clock does to them, and what the workflow is told."""

import pytest

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.limits import END_OF_TIME
from perdure.kernel.overdue import TIMED_OUT
from perdure.kernel.policy import RetryPolicy
from perdure.kernel.run import Status
from tests.unit.kernel.actor import BOOM, INPUT, ME, RESULT, SECOND, Actor, completed, failed, started

GPU = "gpu"


def scheduled(retry: RetryPolicy | None = None, claimed_by: int = ME, timeout_ns: int | None = None, **terms) -> Actor:
    """A started run with step "0:1" under these terms, in flight at ME unless `claimed_by` says otherwise."""
    actor = started()
    actor.do(cmd.ScheduleActivity("0:1", "charge", INPUT, timeout_ns, retry, ev.Terms(**terms)), claimed_by)
    return actor


def later(actor: Actor, ns: int) -> list[ev.Event]:
    actor.now += ns
    return actor.tell(msg.Wake())


def deferred(**terms) -> Actor:
    """The function of step "0:1" has returned, and somebody outside has its token."""
    actor = scheduled(**terms)
    actor.tell(msg.AttemptEnded("0:1", 1, ME, actor.now, deferred=True))
    return actor


# schedule to close


def test_schedule_to_close_ends_the_step_whatever_its_attempt_does():
    actor = scheduled(schedule_to_close_ns=5 * SECOND)

    assert later(actor, 5 * SECOND - 1) == []
    attempt, step = later(actor, 1)

    assert isinstance(attempt, ev.AttemptFailed)
    assert isinstance(step, ev.ActivityFailed)
    assert step.reason == "schedule-to-close"
    assert step.failure.code == TIMED_OUT
    assert step.failure.message == "no result within 5 s, retries included"
    assert actor.tell(completed()) == []


def test_schedule_to_close_names_the_failure_before_it_as_its_cause():
    actor = scheduled(RetryPolicy(initial_ns=SECOND), schedule_to_close_ns=5 * SECOND)
    actor.tell(failed())
    later(actor, SECOND)
    actor.tell(msg.GrantSlot("0:1", ME))

    *_, step = later(actor, 4 * SECOND)

    assert isinstance(step, ev.ActivityFailed)
    assert step.failure.cause == BOOM


def test_no_attempt_is_made_that_could_not_begin_before_schedule_to_close():
    actor = scheduled(RetryPolicy(initial_ns=5 * SECOND, jitter=0.0), schedule_to_close_ns=5 * SECOND)

    attempt, step = actor.tell(failed())

    assert isinstance(attempt, ev.AttemptFailed)
    assert attempt.retry_at is None
    assert isinstance(step, ev.ActivityFailed)
    assert (step.reason, step.failure) == ("no-time", BOOM)


@pytest.mark.parametrize("way", ["failed", "lost"])
def test_an_attempt_whose_failure_is_heard_of_after_schedule_to_close_has_run_into_it(way: str):
    """Which of the two an owner hears of first, after a restart, must not matter."""
    actor = scheduled(schedule_to_close_ns=5 * SECOND)
    actor.now += 5 * SECOND

    attempt, step = actor.tell(failed() if way == "failed" else msg.Takeover())

    assert isinstance(attempt, ev.AttemptFailed)
    assert isinstance(step, ev.ActivityFailed)
    assert step.reason == "schedule-to-close"
    assert step.failure.cause == attempt.failure
    assert step.failure.code == TIMED_OUT


def test_an_attempt_that_would_begin_just_in_time_is_made():
    actor = scheduled(RetryPolicy(initial_ns=5 * SECOND - 1, jitter=0.0), schedule_to_close_ns=5 * SECOND)

    (attempt,) = actor.tell(failed())

    assert isinstance(attempt, ev.AttemptFailed)
    assert attempt.retry_at == actor.now + 5 * SECOND - 1
    assert actor.run.status is Status.RETRYING


def test_schedule_to_close_also_ends_a_step_that_waits_that_is_held_or_that_nobody_took():
    waiting = scheduled(RetryPolicy(initial_ns=SECOND), schedule_to_close_ns=5 * SECOND)
    waiting.tell(failed())
    held = scheduled(schedule_to_close_ns=5 * SECOND)
    held.tell(failed(failure=ev.Failure("NameError", "x", is_bug=True)))
    queued = scheduled(claimed_by=0, queue=GPU, schedule_to_close_ns=5 * SECOND)

    for actor in (waiting, held, queued):
        actor.now += 5 * SECOND
        (*_, step) = actor.tell_once(msg.Wake())
        step = step if isinstance(step, ev.ActivityFailed) else actor.tell(msg.Wake())[-1]
        assert isinstance(step, ev.ActivityFailed)
        assert step.reason == "schedule-to-close"
        assert actor.run.wake_at() is None


def test_of_an_attempt_tried_at_most_once_that_runs_into_schedule_to_close_the_outcome_is_unknown():
    once = RetryPolicy(max_attempts=1, at_most_once=True)
    running = scheduled(once, schedule_to_close_ns=SECOND)
    never = scheduled(once, claimed_by=0, schedule_to_close_ns=SECOND)

    assert later(running, SECOND)[-1].reason == "unknown"  # type: ignore[union-attr]
    assert later(never, SECOND)[-1].reason == "schedule-to-close"  # type: ignore[union-attr]


# schedule to start


def test_schedule_to_start_fails_a_step_that_nobody_began_and_is_not_retried():
    actor = scheduled(RetryPolicy(max_attempts=9), claimed_by=0, queue=GPU, schedule_to_start_ns=3 * SECOND)

    (step,) = later(actor, 3 * SECOND)

    assert isinstance(step, ev.ActivityFailed)
    assert step.reason == "schedule-to-start"
    assert step.failure.message == "no attempt begun within 3 s, in queue 'gpu'"
    assert step.member == 0


def test_schedule_to_start_counts_while_a_step_waits_for_a_slot():
    actor = scheduled(claimed_by=0, schedule_to_start_ns=3 * SECOND)
    granted = scheduled(claimed_by=0, schedule_to_start_ns=3 * SECOND)
    granted.tell(msg.GrantSlot("0:1", ME))

    (step,) = later(actor, 3 * SECOND)

    assert isinstance(step, ev.ActivityFailed)
    assert step.failure.message == "no attempt begun within 3 s, waiting for a slot"
    assert later(granted, 30 * SECOND) == []


def test_schedule_to_start_is_over_when_a_worker_has_taken_the_task():
    actor = scheduled(claimed_by=0, queue=GPU, schedule_to_start_ns=3 * SECOND)

    (begun,) = actor.tell(msg.TaskTaken("0:1", 1, 9))

    assert begun == ev.AttemptStarted(actor.now, "0:1", 1, 9)
    assert actor.run.wake_at() is None
    assert later(actor, 30 * SECOND) == []


def test_schedule_to_start_begins_anew_for_each_attempt():
    actor = scheduled(
        RetryPolicy(initial_ns=SECOND, jitter=0.0), claimed_by=0, queue=GPU, schedule_to_start_ns=3 * SECOND
    )
    actor.tell(msg.TaskTaken("0:1", 1, 9))
    actor.tell(failed(member=9))

    later(actor, SECOND)

    assert actor.run.wake_at() == actor.now + 3 * SECOND
    (step,) = later(actor, 3 * SECOND)
    assert isinstance(step, ev.ActivityFailed)
    assert (step.reason, step.failure.cause) == ("schedule-to-start", BOOM)


# start to close, and heartbeats


@pytest.mark.parametrize(("silent", "reason"), [(False, "timeout"), (True, "heartbeat")])
def test_the_last_attempt_that_runs_out_of_time_says_which_limit_it_was(silent: bool, reason: str):
    actor = scheduled(RetryPolicy(max_attempts=1))

    _, step = actor.tell(failed(timed_out=True, silent=silent))

    assert isinstance(step, ev.ActivityFailed)
    assert step.reason == reason


def test_an_attempt_that_runs_out_of_time_is_tried_again_as_any_other():
    actor = scheduled(RetryPolicy(max_attempts=2))

    (attempt,) = actor.tell(failed(timed_out=True))

    assert isinstance(attempt, ev.AttemptFailed)
    assert attempt.retry_at is not None


@pytest.mark.parametrize("ran_out", [{"timed_out": True}, {"timed_out": True, "silent": True}])
def test_of_an_attempt_tried_at_most_once_that_ran_out_of_time_the_outcome_is_unknown(ran_out: dict[str, bool]):
    actor = scheduled(RetryPolicy(max_attempts=1, at_most_once=True))

    assert actor.tell(failed(**ran_out))[-1].reason == "unknown"  # type: ignore[union-attr]


def test_an_attempt_tried_at_most_once_fails_for_good_by_whatever_it_raises():
    once = RetryPolicy(max_attempts=1, at_most_once=True)
    for failure in (BOOM, ev.Failure("NameError", "x", is_bug=True), ev.Failure("Later", "", retry_after_ns=5)):
        (*_, step) = scheduled(once).tell(failed(failure=failure))
        assert isinstance(step, ev.ActivityFailed)
        assert step.reason == "failed"


def test_of_an_attempt_tried_at_most_once_that_was_lost_the_outcome_is_unknown():
    actor = scheduled(RetryPolicy(max_attempts=1, at_most_once=True))

    assert actor.tell(msg.Takeover())[-1].reason == "unknown"  # type: ignore[union-attr]
    assert actor.tell(completed()) == []


def test_heartbeat_details_of_a_failed_attempt_are_the_steps_until_others_come():
    actor = scheduled(RetryPolicy(initial_ns=1))
    actor.tell(failed(details=ev.Payload(b"7")))
    later(actor, 1)
    actor.tell(msg.GrantSlot("0:1", ME))

    assert actor.run.pending["0:1"].details == ev.Payload(b"7")
    actor.tell(msg.Heartbeat("0:1", 2, ME, ev.Payload(b"8")))
    assert actor.run.pending["0:1"].details == ev.Payload(b"8")
    actor.tell(failed(2))
    assert actor.run.pending["0:1"].details == ev.Payload(b"8")


@pytest.mark.parametrize(
    "beat", [msg.Heartbeat("0:1", 2, ME), msg.Heartbeat("0:1", 1, 99), msg.Heartbeat("0:9", 1, ME)]
)
def test_a_heartbeat_that_is_not_of_the_attempt_in_flight_is_dropped(beat: msg.Heartbeat):
    assert scheduled().tell(beat) == []


# of an attempt that somebody outside completes


def test_a_deferred_attempt_runs_out_of_time_by_the_clock_of_the_run():
    actor = deferred(timeout_ns=4 * SECOND, retry=RetryPolicy(max_attempts=1))

    assert actor.run.wake_at() == actor.now + 4 * SECOND
    attempt, step = later(actor, 4 * SECOND)

    assert isinstance(attempt, ev.AttemptFailed)
    assert isinstance(step, ev.ActivityFailed)
    assert (step.reason, step.failure.message) == ("timeout", "no end after 4 s")


def test_a_deferred_attempt_that_is_not_heard_of_is_silent():
    actor = deferred(timeout_ns=9 * SECOND, heartbeat_ns=4 * SECOND, retry=RetryPolicy(max_attempts=1))
    actor.now += 3 * SECOND
    actor.tell(msg.Heartbeat("0:1", 1, 0, ev.Payload(b"1")))

    assert later(actor, 4 * SECOND - 1) == []
    _, step = later(actor, 1)

    assert isinstance(step, ev.ActivityFailed)
    assert (step.reason, step.failure.message) == ("heartbeat", "no heartbeat for 4 s")
    assert step.details == ev.Payload(b"1")


def test_heartbeats_do_not_lengthen_the_time_of_a_deferred_attempt():
    actor = deferred(timeout_ns=5 * SECOND, heartbeat_ns=4 * SECOND, retry=RetryPolicy(max_attempts=1))
    actor.now += 3 * SECOND
    actor.tell(msg.Heartbeat("0:1", 1))

    assert later(actor, 2 * SECOND)[-1].reason == "timeout"  # type: ignore[union-attr]


def test_a_deferred_attempt_that_was_tried_again_waits_for_a_slot_like_any_other():
    actor = deferred(timeout_ns=4 * SECOND, retry=RetryPolicy(initial_ns=SECOND, jitter=0.0))
    later(actor, 4 * SECOND)

    later(actor, SECOND)

    assert [step.id for step in actor.run.slot_wanted()] == ["0:1"]
    assert actor.run.wake_at() is None


# all of them


def test_limits_beyond_64_bits_end_with_time_itself():
    actor = deferred(timeout_ns=END_OF_TIME, heartbeat_ns=END_OF_TIME, schedule_to_close_ns=END_OF_TIME)

    assert actor.run.wake_at() == END_OF_TIME


def test_of_limits_that_are_due_together_the_first_to_end_the_step_counts():
    actor = scheduled(claimed_by=0, queue=GPU, schedule_to_start_ns=3 * SECOND, schedule_to_close_ns=3 * SECOND)

    (step,) = later(actor, 3 * SECOND)

    assert isinstance(step, ev.ActivityFailed)
    assert step.reason == "schedule-to-close"


def test_a_step_that_has_its_result_has_no_limits_any_more():
    actor = scheduled(timeout_ns=SECOND, schedule_to_close_ns=SECOND, schedule_to_start_ns=SECOND, heartbeat_ns=SECOND)
    actor.tell(msg.AttemptEnded("0:1", 1, ME, actor.now, result=RESULT))

    assert actor.run.wake_at() is None
    assert later(actor, 9 * SECOND) == []


def test_limits_of_many_steps_fire_one_at_a_time_so_that_the_program_sees_each():
    actor = started()
    for n in range(3):
        terms = ev.Terms(schedule_to_close_ns=(3 - n) * SECOND)
        actor.do(cmd.ScheduleActivity(f"0:{n}", "charge", INPUT, None, None, terms), 0)
    actor.now += 9 * SECOND

    seen = [[event.id for event in actor.tell_once(msg.Wake())] for _ in range(4)]  # type: ignore[union-attr]

    assert seen == [["0:2"], ["0:1"], ["0:0"], []]

"""Attempts that are somebody else's affair: a worker's, by way of a queue, or that of whoever has the token."""

import pytest

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.decide import Refused, must_wait
from perdure.kernel.notes import note
from perdure.kernel.policy import RetryPolicy
from perdure.kernel.project import AttemptState
from perdure.kernel.run import LOST, Status
from perdure.kernel.step import OUT
from tests.unit.kernel.actor import (
    BOOM,
    BUG,
    INPUT,
    ME,
    OTHER,
    RESULT,
    SECOND,
    Actor,
    completed,
    facts,
    failed,
    started,
)

QUICK = RetryPolicy(initial_ns=SECOND, jitter=0.0)
DETAILS = ev.Payload(b"7")
GONE = ev.Failure("AttemptLost", "gone", code=LOST)


def queued(retry: RetryPolicy | None = QUICK, **terms) -> Actor:
    """A committed run whose step "0:1" is a task of queue "gpu"."""
    actor = started()
    actor.do(cmd.ScheduleActivity("0:1", "charge", INPUT, None, retry, ev.Terms(queue="gpu", **terms)))
    actor.commit()
    return actor


def deferred(retry: RetryPolicy | None = QUICK, **terms) -> Actor:
    """The same, after the function has returned in worker OTHER, and somebody outside has the token."""
    actor = queued(retry, **terms)
    actor.tell(msg.AttemptEnded("0:1", 1, OTHER, actor.now, deferred=True, details=DETAILS))
    actor.commit()
    return actor


def stands_again(actor: Actor) -> bool:
    """Whether another process would find the run as it is, and as many tasks as it should have."""
    actor.commit()
    out = {step.id for step in actor.run.pending.values() if step.member == OUT}
    return facts(actor.stored()) == facts(actor.run) and {step for _, step in actor.tasks} == out


# tasks


def test_a_step_of_a_queue_is_a_task_with_all_that_its_worker_has_to_know():
    actor = started()
    terms = ev.Terms("gpu", 60 * SECOND, 5 * SECOND, 2 * SECOND)
    actor.do(cmd.ScheduleActivity("0:1", "charge", INPUT, 9 * SECOND, None, terms))
    actor.commit()

    (row,) = actor.tasks.values()

    assert (row.run, row.step, row.attempt, row.queue, row.name) == (actor.run.key, "0:1", 1, "gpu", "charge")
    assert row.start_by == actor.now + 5 * SECOND
    assert (row.member, row.claimed_at, row.details) == (0, None, None)
    task = wire.decode_task(row.body)
    assert (task.id, task.run_id, task.workflow, task.input) == (actor.run.id, b"r" * 16, "process_order", INPUT)
    assert (task.timeout_ns, task.heartbeat_ns, task.expires_at) == (9 * SECOND, 2 * SECOND, actor.now + 60 * SECOND)
    assert task.queue == "gpu"


def test_a_run_that_waits_for_workers_is_parked_and_takes_no_slot():
    actor = queued()

    assert actor.run.status is Status.WAITING
    assert actor.run.slot_wanted() == []
    assert actor.tell(msg.GrantSlot("0:1", ME)) == []
    assert actor.tell(msg.Takeover()) == []


def test_whichever_worker_brings_the_result_is_recorded():
    actor = queued()

    (event,) = actor.tell(completed(member=OTHER))

    assert isinstance(event, ev.ActivityCompleted)
    assert event.member == OTHER
    actor.commit()
    assert actor.tasks == {}


def test_the_task_of_the_next_attempt_comes_when_its_time_has_come():
    actor = queued()
    actor.tell(failed(member=OTHER, details=DETAILS))
    actor.commit()
    assert actor.tasks == {}

    actor.now += SECOND
    actor.tell(msg.Wake())
    actor.commit()

    (row,) = actor.tasks.values()
    assert row.attempt == 2
    assert wire.decode_task(row.body).details == DETAILS
    assert stands_again(actor)


def test_a_bug_in_a_worker_holds_the_step_until_other_code_or_an_operator_releases_it():
    for release in (new_code("build-9"), msg.Retry()):
        actor = queued()
        actor.tell(failed(failure=BUG, member=OTHER))
        assert actor.run.status is Status.HELD
        assert stands_again(actor)

        actor.tell(release)

        assert actor.run.status is Status.WAITING
        assert stands_again(actor)
        assert [row.attempt for row in actor.tasks.values()] == [2]


def new_code(build: str, queue: str = "gpu", name: str = "charge", held_by: str | None = None) -> msg.NewCode:
    """One worker that serves nothing of interest, and one with this code."""
    return msg.NewCode((msg.Code("build-9", ("other",), ("charge",)), msg.Code(build, (queue,), (name,))), held_by)


@pytest.mark.parametrize(
    "message",
    [
        new_code("build-1"),
        new_code("build-9", queue="cpu"),
        new_code("build-9", name="refund"),
        new_code("build-9", held_by="build-2"),
        msg.NewCode(()),
        msg.NewBuild("build-9"),
    ],
)
def test_what_a_worker_holds_is_not_released_by_code_that_could_not_or_should_not_have_it(message: msg.Message):
    actor = queued()
    actor.tell(failed(failure=BUG, member=OTHER, build="build-1"))

    assert actor.tell(message) == []


def test_what_the_last_worker_of_a_build_held_is_released_and_what_another_build_holds_is_not():
    actor = queued()
    actor.do(cmd.ScheduleActivity("0:2", "charge", INPUT, None, QUICK, ev.Terms(queue="gpu")))
    actor.tell(failed(failure=BUG, member=OTHER, build="build-1"))
    actor.tell(msg.AttemptEnded("0:2", 1, OTHER, actor.now, failure=BUG, build="build-2"))

    events = actor.tell(new_code("build-3", held_by="build-2"))

    assert [event.id for event in events] == ["0:2"]  # type: ignore[union-attr]
    assert stands_again(actor)


def test_new_code_of_workers_releases_no_attempt_of_the_owner_and_no_block():
    actor = started()
    actor.do(cmd.ScheduleActivity("0:1", "charge", INPUT), claimed_by=ME)
    actor.tell(failed(failure=BUG, build="build-1"))
    actor.tell(msg.BlockRun(ev.Block("bug", "build-1", "stuck")))

    assert actor.tell(new_code("build-9", queue="")) == []


def test_of_a_blocked_run_the_attempt_goes_to_its_queue_and_the_block_stays():
    actor = queued()
    actor.tell(failed(failure=BUG, member=OTHER, build="build-1"))
    actor.tell(msg.BlockRun(ev.Block("bug", "build-1", "stuck")))

    actor.tell(new_code("build-9"))

    assert actor.run.status is Status.BLOCKED
    assert stands_again(actor)
    assert [row.attempt for row in actor.tasks.values()] == [2]


def test_an_attempt_that_lost_its_worker_is_tried_again_at_once_with_its_details():
    actor = queued()

    actor.tell(msg.AttemptEnded("0:1", 1, OTHER, actor.now, failure=GONE, details=DETAILS))
    actor.tell(msg.Wake())
    actor.commit()

    (row,) = actor.tasks.values()
    assert (row.attempt, wire.decode_task(row.body).details) == (2, DETAILS)


@pytest.mark.parametrize("late", [completed(2, OTHER), failed(0, member=OTHER), completed(step="0:9")])
def test_an_end_that_is_not_of_the_task_that_is_out_is_dropped(late: msg.AttemptEnded):
    assert queued().tell(late) == []


def test_that_a_task_was_taken_is_told_once_and_changes_nothing_else():
    actor = queued(schedule_to_start_ns=SECOND)

    begun = actor.tell(msg.TaskTaken("0:1", 1, OTHER))

    assert [type(event) for event in begun] == [ev.AttemptStarted]
    assert stands_again(actor)
    assert [row.state for row in actor.attempts("0:1")] == [AttemptState.STARTED]
    assert actor.tell(msg.TaskTaken("0:1", 2, OTHER)) == []


@pytest.mark.parametrize(
    "end", [cmd.CompleteRun(RESULT), cmd.FailRun(BOOM), cmd.EndCancelled("enough"), msg.Terminate("enough")]
)
def test_a_run_that_ends_leaves_no_task(end):
    actor = queued()

    actor.tell(end) if isinstance(end, msg.Terminate) else actor.do(end)
    actor.commit()

    assert actor.tasks == {}


def test_a_step_that_is_cancelled_leaves_no_task():
    actor = queued()

    actor.do(cmd.CancelActivity("0:1"))
    actor.commit()

    assert actor.tasks == {}
    assert actor.tell(completed(member=OTHER)) == []


def test_a_blocked_run_keeps_its_tasks_and_what_comes_for_them_waits():
    actor = queued()
    actor.tell(msg.BlockRun(ev.Block("bug", "build-1", "stuck")))

    assert must_wait(actor.run, completed(member=OTHER))
    assert must_wait(actor.run, msg.Complete("0:1", 1, RESULT))
    assert not must_wait(actor.run, msg.Heartbeat("0:1", 1))
    assert not must_wait(actor.run, msg.TaskTaken("0:1", 1, OTHER))
    assert stands_again(actor)
    assert len(actor.tasks) == 1


# tokens


def test_whoever_has_the_token_brings_the_result_once():
    actor = deferred()

    kept, event = actor.tell(msg.Complete("0:1", 1, RESULT))

    assert isinstance(kept, ev.AttemptSucceeded)
    assert isinstance(event, ev.ActivityCompleted)
    assert (event.result, event.member) == (RESULT, OTHER)
    with pytest.raises(Refused, match="attempt 1 of it has ended; a token can be used once") as refused:
        actor.tell(msg.Complete("0:1", 1, RESULT))
    assert refused.value.code == "token-refused"


@pytest.mark.parametrize(
    ("prepare", "told"),
    [
        (
            lambda a: a.tell(msg.Complete("0:1", 1, failure=BOOM)),
            "in a failure, and the next one has a token of its own",
        ),
        (lambda a: a.do(cmd.CancelActivity("0:1")), "attempt 1 of it has ended"),
        (lambda a: a.tell(msg.Terminate()), "the run has ended"),
    ],
)
def test_a_token_whose_attempt_has_ended_is_refused_with_the_reason(prepare, told: str):
    actor = deferred()
    prepare(actor)

    for message in (msg.Complete("0:1", 1, RESULT), msg.Complete("0:1", 1, failure=BOOM), msg.Heartbeat("0:1", 1)):
        with pytest.raises(Refused, match=told):
            actor.tell(message)


def test_a_failure_brought_from_outside_is_tried_again_by_the_policy():
    actor = deferred()

    (event,) = actor.tell(msg.Complete("0:1", 1, failure=BOOM))

    assert isinstance(event, ev.AttemptFailed)
    assert event.retry_at == actor.now + SECOND
    assert stands_again(actor)


def test_the_end_of_the_function_that_comes_after_the_token_was_used_is_dropped():
    actor = queued()
    actor.tell(msg.Complete("0:1", 1, RESULT))

    assert actor.tell(msg.AttemptEnded("0:1", 1, OTHER, actor.now, deferred=True)) == []


@pytest.mark.parametrize("again", [False, True])
def test_a_token_that_is_used_while_the_task_is_still_with_its_worker_leaves_a_run_that_stands_again(again: bool):
    """The worker is known to the store alone: as far as the run is concerned, nobody made this attempt."""
    actor = queued()
    if again:
        actor.tell(failed(member=OTHER))
        actor.now += SECOND
        actor.tell(msg.Wake())
    number = 2 if again else 1

    events = actor.tell(msg.Complete("0:1", number, failure=BOOM))

    assert isinstance(events[0], ev.AttemptFailed)
    assert events[0].member == 0
    assert stands_again(actor)
    assert [row.state for row in actor.attempts("0:1")][-1] == AttemptState.WAITING


def test_a_result_brought_while_the_task_is_still_with_its_worker_is_nobodys():
    actor = queued()
    actor.tell(failed(member=OTHER))
    actor.now += SECOND
    actor.tell(msg.Wake())

    kept, event = actor.tell(msg.Complete("0:1", 2, RESULT))
    actor.commit()

    assert isinstance(kept, ev.AttemptSucceeded)
    assert isinstance(event, ev.ActivityCompleted)
    assert kept.member == event.member == 0
    assert [row.state for row in actor.attempts("0:1")] == [AttemptState.RELEASED, AttemptState.SUCCEEDED]


def test_a_heartbeat_from_outside_while_the_task_is_still_with_its_worker_is_kept():
    actor = queued()

    (event,) = actor.tell(msg.Heartbeat("0:1", 1, 0, DETAILS))

    assert isinstance(event, ev.AttemptBeat)
    assert event.member == 0
    assert stands_again(actor)
    assert actor.run.pending["0:1"].details == DETAILS
    assert len(actor.tasks) == 1


def test_an_attempt_that_is_heard_of_has_begun_in_time():
    actor = queued(schedule_to_start_ns=SECOND)

    actor.tell(msg.Heartbeat("0:1", 1, 0, DETAILS))

    assert actor.run.wake_at() is None
    assert stands_again(actor)


def test_a_deferred_attempt_is_not_lost_when_its_owner_changes():
    actor = deferred()

    assert actor.tell(msg.Takeover()) == []
    assert stands_again(actor)


def test_a_list_says_where_a_step_waits():
    retried = queued()
    retried.tell(failed(member=OTHER))

    assert note(queued().run) == "charge on queue gpu"
    assert note(deferred().run) == "charge ×1, to be completed from outside"
    assert note(retried.run) == "charge ×1 on queue gpu"

"""What people and the clock make of a human task."""

import pytest

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.decide import Refused, must_wait
from perdure.kernel.limits import TASK_REMINDERS
from perdure.kernel.run import Status
from tests.unit.kernel.actor import RESULT, SECOND, T0, Actor, facts, started

ID = "0:1"


def asked(assignees: tuple[str, ...] = (), **fields: object) -> Actor:
    actor = started()
    actor.do(cmd.OpenTask(ID, "Approve loan", {"type": "boolean"}, None, assignees, **fields))  # type: ignore[arg-type]
    return actor


def kinds(events) -> list[str]:
    return [getattr(event, "kind", type(event).__name__) for event in events]


def complete(by: str = "ann", **fields: object) -> msg.CompleteTask:
    return msg.CompleteTask(ID, by, RESULT, **fields)  # type: ignore[arg-type]


def refusal(actor: Actor, message: msg.Message) -> Refused:
    with pytest.raises(Refused) as refused:
        actor.tell(message)
    return refused.value


def test_a_run_that_asks_people_waits_and_says_for_whom():
    actor = asked(("ann", "group:credit"))
    actor.commit()

    assert actor.run.status is Status.WAITING
    assert actor.row.note == 'task "Approve loan" (ann, group:credit)'


def test_whoever_has_claimed_it_completes_it():
    actor = asked()

    assert kinds(actor.tell(msg.ClaimTask(ID, "ann"))) == ["TaskClaimed"]
    assert actor.tell(msg.ClaimTask(ID, "ann")) == []
    (done,) = actor.tell(complete())
    assert (done.by, done.result) == ("ann", RESULT)
    assert not actor.run.people.open


@pytest.mark.parametrize("message", [msg.ClaimTask(ID, "bob"), complete("bob"), msg.ReleaseTask(ID, "bob")])
def test_what_somebody_has_claimed_is_refused_to_others_by_name_unless_by_force(message):
    actor = asked()
    actor.tell(msg.ClaimTask(ID, "ann"))

    refused = refusal(actor, message)

    assert refused.code == "task-claimed"
    assert str(refused).startswith("task 'Approve loan' is claimed by ann, so that bob cannot")
    forced = {"force": True}
    (event,) = actor.tell(
        type(message)(**{name: getattr(message, name) for name in message.__struct_fields__} | forced)
    )
    assert event.forced


def test_a_released_task_is_free_again():
    actor = asked()
    actor.tell(msg.ClaimTask(ID, "ann"))

    assert kinds(actor.tell(msg.ReleaseTask(ID, "ann"))) == ["TaskReleased"]
    assert actor.tell(msg.ReleaseTask(ID, "ann")) == []
    assert kinds(actor.tell(complete("bob"))) == ["TaskCompleted"]


@pytest.mark.parametrize(
    ("message", "allowed"),
    [
        (complete("ann"), True),
        (complete("bob"), False),
        (complete("bob", groups=("credit",)), True),
        (complete("bob", groups=("risk",)), False),
        (complete("credit"), False),
        (msg.ClaimTask(ID, "bob"), False),
        (msg.ClaimTask(ID, "bob", ("credit",)), True),
        (complete("bob", force=True), True),
    ],
)
def test_assignees_and_members_of_their_groups_may_do_it(message, allowed):
    actor = asked(("ann", "group:credit"))

    if allowed:
        assert actor.tell(message)
    else:
        assert refusal(actor, message).code == "task-not-assigned"


def test_the_same_request_may_be_made_again_and_another_one_is_told_who_was_first():
    actor = asked()
    actor.tell(complete(request_id="r1"))

    assert actor.tell(complete(request_id="r1")) == []
    assert str(refusal(actor, complete("bob", request_id="r2"))) == (
        "task 'Approve loan' is closed: ann has completed it"
    )
    assert refusal(actor, complete()).code == "task-closed"


def test_a_task_that_was_never_there_is_told_from_one_that_is_closed():
    actor = asked()

    assert refusal(actor, msg.ClaimTask("0:7", "ann")).code == "task-not-found"


def test_no_task_is_open_of_a_run_that_has_ended():
    actor = asked()
    actor.commit()
    assert actor.human
    actor.tell(msg.Terminate())
    actor.commit()

    assert not actor.human
    assert refusal(actor, complete()).code == "task-closed"


def test_an_answer_waits_while_the_run_is_blocked():
    actor = asked()
    actor.tell(msg.BlockRun(ev.Block("bug", "b", "stuck")))

    assert must_wait(actor.run, complete())


def test_people_are_reminded_at_whole_intervals_and_told_once_that_it_is_overdue():
    actor = asked(due_ns=25 * SECOND, remind_ns=10 * SECOND)
    seen = []
    while actor.now < T0 + 50 * SECOND:
        actor.now = actor.run.wake_at()
        seen += [((actor.now - T0) // SECOND, kind) for kind in kinds(actor.tell(msg.Wake()))]

    assert seen == [
        (10, "reminder"),
        (20, "reminder"),
        (25, "overdue"),
        (30, "reminder"),
        (40, "reminder"),
        (50, "reminder"),
    ]


def test_being_overdue_stands_for_the_reminder_of_that_moment():
    actor = asked(due_ns=20 * SECOND, remind_ns=10 * SECOND)
    actor.now += 20 * SECOND - 1
    actor.tell(msg.Wake())
    actor.now += 1

    assert kinds(actor.tell(msg.Wake())) == ["overdue"]
    assert actor.run.wake_at() == T0 + 30 * SECOND


def test_reminders_that_were_missed_come_to_one():
    actor = asked(remind_ns=SECOND)
    actor.now += 100 * SECOND + 5

    assert kinds(actor.tell(msg.Wake())) == ["reminder"]
    assert actor.run.wake_at() == T0 + 101 * SECOND


def test_reminders_have_an_end():
    actor = asked(remind_ns=SECOND)
    for _ in range(TASK_REMINDERS):
        actor.now = actor.run.wake_at()
        actor.tell(msg.Wake())

    assert actor.run.wake_at() is None
    assert actor.run.people.open[ID].reminders == TASK_REMINDERS


def test_a_task_expires_and_takes_no_answer_then():
    actor = asked(remind_ns=10 * SECOND, timeout_ns=5 * SECOND)
    actor.now += 5 * SECOND

    assert kinds(actor.tell(msg.Wake())) == ["TaskExpired"]
    assert actor.run.wake_at() is None
    assert str(refusal(actor, complete())) == "task 'Approve loan' is closed: its time ran out"


def test_a_withdrawn_task_is_closed():
    actor = asked()
    actor.do(cmd.WithdrawTask(ID))

    assert str(refusal(actor, complete())) == "task 'Approve loan' is closed: nobody waits for it any more"


def test_timers_and_tasks_are_due_in_the_order_of_their_times():
    actor = asked(due_ns=2 * SECOND, timeout_ns=4 * SECOND)
    actor.do(cmd.StartTimer("0:2", SECOND))
    actor.do(cmd.StartTimer("0:3", 3 * SECOND))
    actor.now += 10 * SECOND

    assert kinds(actor.tell(msg.Wake())) == ["TimerFired", "overdue", "TimerFired", "TaskExpired"]


def test_a_task_is_read_back_as_it_stood():
    actor = asked(("ann",), due_ns=SECOND, remind_ns=SECOND)
    actor.tell(msg.ClaimTask(ID, "ann"))
    actor.now += 3 * SECOND
    actor.tell(msg.Wake())
    actor.commit()

    assert facts(actor.stored()) == facts(actor.run)

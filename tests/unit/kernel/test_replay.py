"""Showing a history to a fresh program: identity, divergence, and the tail that has no answer yet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel.attributes import Attribute, Kind
from perdure.kernel.program import Divergence, Lookup, ProgramBlocked, replay
from tests.unit.kernel.actor import BOOM, BUG, INPUT, RESULT, T0

START = ev.RunStarted(T0, "process_order", INPUT, b"id", "build-1")
PAY = ev.ActivityScheduled(T0, "0:1", "pay", INPUT)
PAID = ev.ActivityCompleted(T0, "0:1", RESULT, T0)
SLEEP = ev.TimerStarted(T0, "0:2", T0 + 9)
RANG = ev.TimerFired(T0, "0:2")
END = ev.RunCompleted(T0, RESULT)

do_pay = cmd.ScheduleActivity("0:1", "pay", INPUT)
do_sleep = cmd.StartTimer("0:2", 9)
finish = cmd.CompleteRun(RESULT)


class Script:
    """A program that answers each event from a list; an exception in it is raised."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)
        self.shown: list[tuple[str, bool]] = []

    def advance(self, event, replaying):
        self.shown.append((type(event).__name__, replaying))
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def name_of(self, activity):
        return {"pay by cheque": "pay"}.get(activity, activity)

    def close(self) -> None: ...


def test_a_program_that_answers_as_recorded_is_shown_every_delivered_event_once():
    program = Script([do_pay], [do_sleep], [finish])

    left = replay(program, [START, PAY, PAID, SLEEP, RANG, END])

    assert left == ()
    assert program.shown == [("RunStarted", True), ("ActivityCompleted", True), ("TimerFired", True)]


def test_the_order_of_commands_within_one_answer_does_not_matter():
    assert replay(Script([do_sleep, do_pay]), [START, PAY, SLEEP]) == ()


@pytest.mark.parametrize(
    ("answer", "recorded", "produced", "message"),
    [
        ([], [PAY], None, "after event 1: recorded activity pay [0:1], produced nothing"),
        ([do_pay], [], "0:1", "after event 1: recorded nothing, produced activity pay [0:1]"),
        (
            [cmd.ScheduleActivity("0:1", "refund", INPUT)],
            [PAY],
            "0:1",
            "after event 1: recorded activity pay [0:1], produced activity refund [0:1]",
        ),
        ([do_sleep], [PAY], "0:2", "after event 1: recorded activity pay [0:1], produced timer [0:2]"),
        ([finish], [PAY], "", "after event 1: recorded activity pay [0:1], produced completion"),
        ([cmd.FailRun(BOOM)], [END], "", "after event 1: recorded completion, produced failure"),
        ([cmd.EndCancelled()], [], "", "after event 1: recorded nothing, produced cancellation"),
        (
            [cmd.MarkPatch("0:1", "v2")],
            [ev.PatchMarked(T0, "0:1", "v1")],
            "0:1",
            "after event 1: recorded patch v1 [0:1], produced patch v2 [0:1]",
        ),
        (
            [cmd.RecordSideEffect("0:1", RESULT)],
            [ev.TimerCancelled(T0, "0:1")],
            "0:1",
            "after event 1: recorded cancel timer [0:1], produced side effect [0:1]",
        ),
        (
            [cmd.SetAttributes("0:1", (Attribute("b", Kind.WHOLE, (1,)), Attribute("a", Kind.GONE)))],
            [ev.AttributesSet(T0, "0:1", (Attribute("a", Kind.WHOLE, (1,)),))],
            "0:1",
            "after event 1: recorded attributes a [0:1], produced attributes a, b [0:1]",
        ),
        (
            [cmd.SetMemo("0:1", RESULT)],
            [],
            "0:1",
            "after event 1: recorded nothing, produced memo [0:1]",
        ),
        (
            [cmd.WriteStream("0:1", "log", [RESULT], closes=True)],
            [ev.StreamWritten(T0, "0:1", "log", 2, 20)],
            "0:1",
            "after event 1: recorded stream log, 2 chunks [0:1], produced stream log, 1 chunk, closed [0:1]",
        ),
        ([do_pay, do_pay], [PAY], "0:1", "after event 1: recorded nothing, produced activity pay [0:1]"),
    ],
)
def test_a_divergence_names_the_first_difference(answer, recorded, produced, message):
    with pytest.raises(Divergence) as diverged:
        replay(Script(answer), [START, *recorded])

    assert str(diverged.value) == message
    assert diverged.value.command_id == produced
    assert diverged.value.seq == 1


def test_a_divergence_counts_events_from_one():
    with pytest.raises(Divergence, match="after event 3"):
        replay(Script([do_pay], []), [START, PAY, PAID, SLEEP])


def test_other_values_and_durations_are_no_divergence():
    program = Script([cmd.ScheduleActivity("0:1", "pay", RESULT, 5), cmd.StartTimer("0:2", 1)])
    notes = Script([cmd.SetAttributes("0:1", (Attribute("a", Kind.WHOLE, (2,)),)), cmd.SetMemo("0:2", RESULT)])

    assert replay(program, [START, PAY, SLEEP]) == ()
    noted = [ev.AttributesSet(T0, "0:1", (Attribute("a", Kind.TEXT, ("b",)),)), ev.MemoSet(T0, "0:2", INPUT)]
    assert replay(notes, [START, *noted]) == ()


def test_the_answer_to_an_open_tail_is_returned_to_be_decided_and_is_not_replaying():
    program = Script([do_pay], [do_sleep])

    left = replay(program, [START, PAY, PAID], open_tail=True)

    assert left == [do_sleep]
    assert program.shown[-1] == ("ActivityCompleted", False)


def test_the_first_event_of_all_may_be_the_open_tail():
    assert replay(Script([do_pay]), [START], open_tail=True) == [do_pay]


def test_an_open_tail_may_have_no_answer():
    assert replay(Script([do_pay], []), [START, PAY, PAID], open_tail=True) == []


def test_only_the_last_delivered_event_is_the_open_tail():
    with pytest.raises(Divergence, match="after event 1"):
        replay(Script([], []), [START, PAY, PAID], open_tail=True)


def test_without_an_open_tail_a_missing_answer_is_a_divergence():
    with pytest.raises(Divergence, match=r"recorded nothing, produced timer \[0:2\]"):
        replay(Script([do_pay], [do_sleep]), [START, PAY, PAID])


def test_a_bug_at_the_open_tail_is_passed_on():
    with pytest.raises(ProgramBlocked):
        replay(Script([do_pay], ProgramBlocked("bug", "NameError")), [START, PAY, PAID], open_tail=True)


def test_a_bug_that_failed_the_run_after_cleanup_replays_as_that_failure():
    blocked = ProgramBlocked("bug", "NameError", failure=BUG, commands=[do_sleep])

    assert replay(Script([do_pay], blocked), [START, PAY, PAID, SLEEP, ev.RunFailed(T0, BUG)]) == ()


def test_a_bug_where_the_history_goes_on_blocks_the_replay():
    with pytest.raises(ProgramBlocked):
        replay(Script([do_pay], ProgramBlocked("bug", "NameError", failure=BUG)), [START, PAY, PAID, SLEEP, RANG])


def test_a_run_terminated_while_its_tail_was_open_replays_up_to_there():
    program = Script([do_pay])

    assert replay(program, [START, PAY, PAID, ev.RunTerminated(T0)]) == ()
    assert program.shown == [("RunStarted", True)]


def test_a_run_terminated_after_an_answer_replays_whole():
    with pytest.raises(Divergence):
        replay(Script([do_pay], []), [START, PAY, PAID, SLEEP, ev.RunTerminated(T0)])


def test_an_empty_history_shows_nothing():
    assert replay(Script(), []) == ()


def test_a_lookup_holds_side_effects_by_step_and_patches_by_name():
    lookup = Lookup([START, ev.SideEffectRecorded(T0, "0:1", RESULT), ev.PatchMarked(T0, "0:2", "v2"), END])

    assert lookup.side_effects == {"0:1": RESULT}
    assert lookup.patches == {"v2"}


def test_a_lookup_knows_which_tasks_have_issued_something():
    timer = ev.TimerStarted(T0, "0.1.2:1", T0)
    lookup = Lookup([START, PAY, ev.SideEffectRecorded(T0, "0.3:1", RESULT), timer, END])

    assert [path for path in ("0", "0.1", "0.1.2", "0.2", "0.3", "0.1.2.1", "0.1.20") if lookup.has_issued(path)] == [
        "0", "0.1", "0.1.2", "0.3"
    ]  # fmt: skip


answers = st.lists(st.sampled_from(["activity", "timer", "effect", "patch"]), max_size=4)


@given(st.lists(answers, min_size=1, max_size=6), st.randoms(use_true_random=False), st.booleans())
def test_replay_is_identity_and_one_missing_command_is_found(script, random, open_tail):
    history: list[ev.HistoryEvent] = []
    replies: list[list[cmd.Command]] = []
    n = 0
    for number, kinds in enumerate(script):
        history.append(START if number == 0 else ev.TimerFired(T0, f"9:{number}"))
        reply: list[cmd.Command] = []
        for kind in kinds:
            n += 1
            event, command = _PAIRS[kind](f"0:{n}")
            history.append(event)
            reply.append(command)
        random.shuffle(reply)
        replies.append(reply)
    without_tail = history[: len(history) - len(replies[-1])]

    assert replay(Script(*replies), history) == ()
    if open_tail:
        assert replay(Script(*replies), without_tail, open_tail=True) == replies[-1]
    if n:
        index = random.choice([i for i, reply in enumerate(replies) if reply])
        replies[index] = replies[index][1:]
        with pytest.raises(Divergence, match="produced nothing"):
            replay(Script(*replies), history)


_PAIRS = {
    "activity": lambda id: (ev.ActivityScheduled(T0, id, "pay", INPUT), cmd.ScheduleActivity(id, "pay", INPUT)),
    "timer": lambda id: (ev.TimerStarted(T0, id, T0), cmd.StartTimer(id, 0)),
    "effect": lambda id: (ev.SideEffectRecorded(T0, id, RESULT), cmd.RecordSideEffect(id, RESULT)),
    "patch": lambda id: (ev.PatchMarked(T0, id, id), cmd.MarkPatch(id, id)),
}


def test_an_activity_that_has_another_name_now_is_the_same():
    renamed = ev.ActivityScheduled(T0, "0:1", "pay by cheque", INPUT)

    assert replay(Script([do_pay], [finish]), [START, renamed, PAID, END]) == ()


def test_a_change_that_had_no_old_way_need_not_be_spoken_of():
    mark = ev.PatchMarked(T0, "patch:v2", "v2", deprecated=True)

    assert replay(Script([do_pay], [finish]), [START, mark, PAY, PAID, END]) == ()
    assert replay(Script([cmd.MarkPatch("patch:v2", "v2"), do_pay], [finish]), [START, mark, PAY, PAID, END]) == ()
    with pytest.raises(Divergence, match="recorded patch v2"):
        replay(Script([do_pay]), [START, ev.PatchMarked(T0, "patch:v2", "v2"), PAY])


def test_a_mark_that_was_not_made_is_a_difference():
    with pytest.raises(Divergence, match="recorded nothing, produced patch v2"):
        replay(Script([cmd.MarkPatch("patch:v2", "v2", deprecated=True), do_pay]), [START, PAY])


def test_what_is_noted_of_a_run_is_passed_over_wherever_it_stands():
    moved = ev.RunMoved(T0, "build-2")

    assert replay(Script([do_pay], [finish]), [START, moved, PAY, moved, PAID, END, moved]) == ()
    assert replay(Script([do_pay], [do_sleep]), [START, PAY, PAID, moved], open_tail=True) == [do_sleep]
    assert replay(Script([do_pay]), [START, PAY, PAID, moved, ev.RunTerminated(T0)]) == ()
    with pytest.raises(Divergence, match="after event 3: recorded nothing, produced completion"):
        replay(Script([do_pay], [finish]), [START, PAY, PAID, moved])

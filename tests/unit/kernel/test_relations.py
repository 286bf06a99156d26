"""Children and words to other runs, decided and folded."""

import pytest

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.continuing import renewal
from perdure.kernel.decide import decide, decide_command, must_wait
from perdure.kernel.family import ChildTerms, Left, child_id, child_run_id
from perdure.kernel.limits import ID_CHARS
from perdure.kernel.project import note
from perdure.kernel.run import Run, Status, evolve
from perdure.kernel.terms import RunTerms

NOW = 1_700_000_000_000_000_000
NOTHING = ev.Payload(b"null")


def begun(*commands: cmd.Command) -> Run:
    run = Run(2, "parent")
    evolve(run, ev.RunStarted(NOW, "w", NOTHING, b"r" * 16, "b"))
    for command in commands:
        evolve(run, decide_command(run, command, NOW))
    return run


def start_of(id: str, **terms: object) -> cmd.StartChild:
    return cmd.StartChild(id, "c", NOTHING, f"child-{id}", b"k" * 16, ChildTerms(**terms) if terms else None)


def heard(run: Run, message: msg.Message) -> list[str]:
    events = decide(run, message, NOW)
    for event in events:
        evolve(run, event)
    return [type(event).__name__ for event in events]


def test_a_run_that_waits_for_children_waits_and_says_for_which() -> None:
    run = begun(start_of("0:1"), start_of("0:2"))

    assert (run.status, note(run), run.unresolved) == (Status.WAITING, "child c +1", 2)


def test_an_end_is_heard_once_and_only_by_a_run_that_is_open() -> None:
    run = begun(start_of("0:1"))

    assert heard(run, msg.ChildEnded("0:1", NOTHING)) == ["ChildCompleted"]
    assert heard(run, msg.ChildEnded("0:1", NOTHING)) == []
    over = begun(start_of("0:1"), cmd.CompleteRun(NOTHING))
    assert heard(over, msg.ChildEnded("0:1", NOTHING)) == []
    assert over.links  # whoever ends it looks there for what becomes of them


@pytest.mark.parametrize("how", ["failed", "cancelled", "terminated", "timed out"])
def test_an_end_without_a_result_says_how_it_was(how: str) -> None:
    run = begun(start_of("0:1"))

    (event,) = decide(run, msg.ChildEnded("0:1", None, how, "why"), NOW)

    assert event == ev.ChildFailed(NOW, "0:1", how, "why")


def test_that_a_child_was_started_is_told_only_to_who_waits_for_it() -> None:
    run = begun(start_of("0:1"), start_of("0:2", awaits_start=True))

    assert heard(run, msg.ChildAnswered("0:1")) == []
    assert heard(run, msg.ChildAnswered("0:2")) == ["ChildStarted"]
    assert heard(run, msg.ChildAnswered("0:2")) == []
    assert heard(run, msg.ChildAnswered("0:1", "run-exists", "taken")) == ["ChildStartFailed"]
    assert list(run.links or ()) == ["0:2"]


def test_an_answer_of_another_run_is_heard_once() -> None:
    run = begun(cmd.CancelExternal("0:1", "other"), cmd.SignalExternal("0:2", "other", "word", NOTHING))

    assert note(run) == "answer of run other +1"
    assert heard(run, msg.ExternalReplied("0:2")) == ["ExternalAnswered"]
    assert heard(run, msg.ExternalReplied("0:2", "run-closed", "it has ended")) == []
    assert list(run.links or ()) == ["0:1"]


@pytest.mark.parametrize("message", [msg.ChildAnswered("x"), msg.ChildEnded("x"), msg.ExternalReplied("x")])
def test_what_others_tell_waits_while_the_run_is_blocked(message: msg.Message) -> None:
    run = begun(start_of("x"))
    evolve(run, ev.RunBlocked(NOW, ev.Block("bug", "b", "m")))

    assert must_wait(run, message)


def test_ids_and_numbers_of_children_are_derived_and_no_two_are_the_same() -> None:
    ids = {child_id(id, run_id, step) for id in "ab" for run_id in (b"x" * 16, b"y" * 16) for step in ("0:1", "0:2")}
    numbers = {child_run_id(run_id, step) for run_id in (b"x" * 16, b"y" * 16) for step in ("0:1", "0:2")}
    long = child_id("i" * ID_CHARS, b"x" * 16, "0.1.2:3")

    assert (len(ids), len(numbers)) == (8, 4)
    assert len(long) <= ID_CHARS and long == child_id("i" * ID_CHARS, b"x" * 16, "0.1.2:3")


def test_what_a_run_goes_on_as_has_what_it_had_and_what_was_chosen() -> None:
    run = Run(2, "r")
    terms = RunTerms(request_id="q", run_timeout_ns=5, execution_timeout_ns=100)
    evolve(run, ev.RunStarted(NOW, "w", NOTHING, b"r" * 16, "b", terms))
    chosen = RunTerms(run_timeout_ns=7)
    command = cmd.ContinueAsNew("v", ev.Payload(b"[1]"), chosen, ("run_timeout_ns",), None, (Left("word", 2),))
    evolve(run, decide_command(run, command, NOW + 3))

    further = renewal(run, (), ev.Payload(b"{}"))

    start = further.start
    assert run.status is Status.CONTINUED_AS_NEW and further.begin_at == NOW + 3
    assert (start.workflow, start.input.data, start.memo) == ("v", b"[1]", ev.Payload(b"{}"))
    assert start.terms is not None and start.terms.chain is not None
    assert (start.terms.run_timeout_ns, start.terms.request_id, start.terms.attempt) == (7, "q", 1)
    assert start.terms.chain.execution_ends_at == NOW + 100
    assert start.run_id != run.run_id and start.terms.chain.previous_run_id == run.run_id

"""A run that goes on as another one."""

from dataclasses import dataclass

import msgspec
import pytest

from perdure.kernel import commands as cmd
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.continuing import RUN_TIMED_OUT, continuation, left_of, renewal
from perdure.kernel.family import Left
from perdure.kernel.limits import END_OF_TIME, REQUESTS_CARRIED
from perdure.kernel.policy import RetryPolicy
from perdure.kernel.run import Status
from perdure.kernel.terms import Chain, RunTerms, digest_of, digests_in, with_own
from tests.unit.kernel.actor import BOOM, BUG, INPUT, SECOND, T0, Actor

TWICE = RetryPolicy(initial_ns=SECOND, max_attempts=2)


def begun(terms: RunTerms | None, run_id: bytes = b"r" * 16) -> Actor:
    actor = Actor()
    actor.tell(msg.Start("process_order", INPUT, run_id, "build-1", terms=terms))
    return actor


def failed(terms: RunTerms | None, failure: ev.Failure = BOOM, after_ns: int = 0) -> Actor:
    actor = begun(terms)
    actor.now += after_ns
    actor.do(cmd.FailRun(failure))
    return actor


def test_a_run_that_fails_names_the_one_that_continues_it():
    actor = failed(RunTerms(retry=TWICE, request_id="r"))
    further = continuation(actor.run)

    assert further is not None
    assert further.begin_at == T0 + SECOND
    assert further.start.run_id == actor.run.outcome.continued_as  # type: ignore[union-attr]
    assert further.start.run_id != actor.run.run_id
    assert (further.start.workflow, further.start.input) == ("process_order", INPUT)
    assert further.start.terms == RunTerms("r", retry=TWICE, chain=Chain(2, b"r" * 16, b"r" * 16))


def test_the_number_of_the_next_run_is_the_same_each_time_it_is_asked_for():
    first, again = (failed(RunTerms(retry=TWICE)) for _ in range(2))

    assert first.run.outcome == again.run.outcome


def test_the_chain_remembers_its_first_run_and_the_end_of_its_time():
    terms = RunTerms(execution_timeout_ns=60 * SECOND, retry=RetryPolicy())
    first = failed(terms, after_ns=SECOND)
    second = Actor()
    start = continuation(first.run).start  # type: ignore[union-attr]
    second.now = T0 + 5 * SECOND
    second.tell(start)
    second.do(cmd.FailRun(BOOM))

    chain = continuation(second.run).start.terms.chain  # type: ignore[union-attr]
    assert chain == Chain(3, first.run.run_id, second.run.run_id, T0 + 60 * SECOND)
    assert second.run.expires_at == T0 + 60 * SECOND


@dataclass
class Case:
    terms: RunTerms | None
    failure: ev.Failure = BOOM
    after_ns: int = 0


LAST = {
    "no terms": Case(None),
    "no policy": Case(RunTerms(run_timeout_ns=SECOND)),
    "one attempt": Case(RunTerms(retry=RetryPolicy(max_attempts=1))),
    "the last attempt": Case(RunTerms(retry=TWICE, chain=Chain(2, b"f", b"p"))),
    "a final failure": Case(RunTerms(retry=TWICE), msgspec.structs.replace(BOOM, non_retryable=True)),
    "a listed class": Case(RunTerms(retry=RetryPolicy(non_retryable=("ValueError",)))),
    "a bug": Case(RunTerms(retry=TWICE), BUG),
    "no time left": Case(RunTerms(execution_timeout_ns=5 * SECOND, retry=TWICE), after_ns=4 * SECOND),
    "no time left in the chain": Case(RunTerms(retry=RetryPolicy(), chain=Chain(2, b"f", b"p", T0 + SECOND))),
}


@pytest.mark.parametrize("why", LAST)
def test_the_last_run_of_a_chain_is_one_with(why: str):
    case = LAST[why]

    actor = failed(case.terms, case.failure, case.after_ns)

    assert actor.run.outcome == ev.RunFailed(actor.now, case.failure)
    assert continuation(actor.run) is None


def test_a_bug_is_tried_again_only_if_the_policy_says_so():
    assert continuation(failed(RunTerms(retry=RetryPolicy(bugs="retry")), BUG).run) is not None


def test_a_failure_may_say_when_the_next_attempt_begins():
    further = continuation(failed(RunTerms(retry=TWICE), msgspec.structs.replace(BOOM, retry_after_ns=77)).run)

    assert further is not None
    assert further.begin_at == T0 + 77


@pytest.mark.parametrize("end", [cmd.CompleteRun(INPUT), cmd.EndCancelled("enough")])
def test_other_ends_are_not_followed_by_another_attempt(end: cmd.Command):
    actor = begun(RunTerms(retry=TWICE))
    actor.do(end)

    assert continuation(actor.run) is None


def test_a_run_that_takes_longer_than_it_may_is_ended_by_the_clock_and_tried_again():
    actor = begun(RunTerms(run_timeout_ns=SECOND, retry=TWICE))
    actor.do(cmd.StartTimer("0:1", 5 * SECOND))
    assert actor.run.wake_at() == T0 + SECOND

    actor.now += SECOND - 1
    assert actor.tell(msg.Wake()) == []
    actor.now += 1
    (end,) = actor.tell(msg.Wake())

    assert isinstance(end, ev.RunTimedOut)
    assert (end.limit, end.limit_ns, actor.run.status) == ("run", SECOND, Status.TIMED_OUT)
    assert continuation(actor.run) is not None
    assert actor.run.wake_at() is None


def test_a_timeout_can_be_listed_as_final():
    actor = begun(RunTerms(run_timeout_ns=SECOND, retry=RetryPolicy(non_retryable=(RUN_TIMED_OUT,))))
    actor.now += SECOND
    actor.tell(msg.Wake())

    assert continuation(actor.run) is None


def test_the_end_of_the_chains_time_is_not_followed_by_another_attempt():
    actor = begun(RunTerms(run_timeout_ns=9 * SECOND, execution_timeout_ns=SECOND, retry=TWICE))
    actor.now += SECOND
    (end,) = actor.tell(msg.Wake())

    assert end == ev.RunTimedOut(actor.now, "execution", SECOND)


def test_timers_that_were_due_before_the_timeout_fire_first_and_later_ones_never():
    actor = begun(RunTerms(run_timeout_ns=3 * SECOND))
    for n, seconds in enumerate((2, 3, 4), 1):
        actor.do(cmd.StartTimer(f"0:{n}", seconds * SECOND))
    actor.now += 60 * SECOND

    told = [(type(event).__name__, getattr(event, "id", "")) for event in actor.tell(msg.Wake())]

    assert told == [("TimerFired", "0:1"), ("TimerFired", "0:2"), ("RunTimedOut", "")]


def test_a_blocked_run_wakes_for_its_timeout_alone():
    actor = begun(RunTerms(run_timeout_ns=3 * SECOND))
    actor.do(cmd.StartTimer("0:1", SECOND))
    actor.tell(msg.BlockRun(ev.Block("bug", "build-1", "stuck")))
    assert actor.run.wake_at() == T0 + 3 * SECOND

    actor.now += 2 * SECOND
    assert actor.tell(msg.Wake()) == []
    actor.now += SECOND
    (end,) = actor.tell(msg.Wake())

    assert isinstance(end, ev.RunTimedOut)
    assert actor.run.block is None


def test_times_beyond_the_end_of_time_are_the_end_of_time():
    assert RunTerms(run_timeout_ns=END_OF_TIME).expires_at(T0) == END_OF_TIME


@pytest.mark.parametrize(
    ("own", "asked", "chosen", "holds"),
    [
        (None, None, (), None),
        (None, RunTerms("r"), (), RunTerms("r")),
        (RunTerms(run_timeout_ns=5), None, (), RunTerms(run_timeout_ns=5)),
        (RunTerms(run_timeout_ns=5), RunTerms("r"), (), RunTerms("r", 5)),
        (RunTerms(run_timeout_ns=5), RunTerms("r", 7), ("run_timeout_ns",), RunTerms("r", 7)),
        (RunTerms(run_timeout_ns=5), None, ("run_timeout_ns",), None),
        (RunTerms(run_timeout_ns=5), RunTerms(chain=Chain(2, b"", b"")), (), RunTerms(chain=Chain(2, b"", b""))),
    ],
)
def test_a_start_has_the_terms_it_has_chosen_and_else_those_of_its_workflow(own, asked, chosen, holds):
    assert with_own(own, asked, chosen) == holds


def signalled(actor: Actor, *requests: str) -> None:
    for request in requests:
        actor.tell(msg.Signal("s", INPUT, request))


def test_the_next_run_takes_no_signal_again_that_an_earlier_one_has_received():
    first = begun(RunTerms(retry=RetryPolicy()))
    signalled(first, "a", "", "b")
    first.do(cmd.FailRun(BOOM))
    second = Actor()
    second.tell(continuation(first.run).start)  # type: ignore[union-attr]
    signalled(second, "b", "c", "a")
    second.do(cmd.FailRun(BOOM))
    third = Actor()
    third.tell(continuation(second.run).start)  # type: ignore[union-attr]
    signalled(third, "a", "b", "c", "d")

    assert [event.request_id for event in second.history if isinstance(event, ev.SignalReceived)] == ["c"]
    assert [event.request_id for event in third.history if isinstance(event, ev.SignalReceived)] == ["d"]


def test_signals_that_are_handed_on_are_taken_by_the_next_run():
    first = begun(None)
    signalled(first, "a", "b", "c")
    first.do(cmd.ContinueAsNew("process_order", INPUT, left=(Left("s", 2),)))
    left = left_of(first.run.outcome, first.history)  # type: ignore[arg-type]
    start = renewal(first.run, (), None, left).start

    assert [signal.request_id for signal in left] == ["b", "c"]
    assert start.terms is not None and start.terms.chain is not None
    assert start.terms.chain.requests == digest_of("a")


def test_of_the_requests_the_latest_are_carried_on():
    first = begun(RunTerms(retry=RetryPolicy()))
    signalled(first, *(f"r{n}" for n in range(REQUESTS_CARRIED + 5)))
    first.do(cmd.FailRun(BOOM))
    chain = continuation(first.run).start.terms.chain  # type: ignore[union-attr]

    assert chain is not None
    assert list(digests_in(chain.requests)) == [digest_of(f"r{n}") for n in range(5, REQUESTS_CARRIED + 5)]

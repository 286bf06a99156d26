"""A run that goes on as another one: the event that ends it names the run that continues it, which is queued in the same
commit. What that run is follows from the one that has ended, so nothing else about it is recorded there.
"""

import hashlib
from collections.abc import Sequence

import msgspec

from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.attributes import Attribute
from perdure.kernel.limits import END_OF_TIME, REQUESTS_CARRIED
from perdure.kernel.policy import RetryPolicy, delay_ns, exhausted, is_listed
from perdure.kernel.run import Run
from perdure.kernel.terms import Chain, RunTerms, digest_of, joined

RUN_TIMED_OUT = "perdure.errors.RunTimedOut"
"""What a policy calls the failure of a run that took too long."""


class Continuation(msgspec.Struct, frozen=True):
    """The run that continues another one: its start, and when it begins."""

    start: msg.Start
    begin_at: int


def retried_as(run: Run, failure: ev.Failure, now: int) -> bytes | None:
    """The number of the run that makes the next attempt, if this one fails now; None if there is none."""
    terms = run.terms
    if terms is None or terms.retry is None:
        return None
    policy = terms.retry
    final = failure.non_retryable or (failure.is_bug and policy.bugs != "retry")
    if final or is_listed(failure.type, policy.non_retryable) or exhausted(policy, terms.attempt):
        return None
    ends_at = terms.execution_ends_at(run.started_at)
    if ends_at is not None and _begin_at(run, terms, policy, failure, now) >= ends_at:
        return None
    return next_run_id(run.run_id)


def continuation(run: Run) -> Continuation | None:
    """What the run goes on as, if it has ended in that way."""
    end = run.outcome
    terms = run.terms
    if (
        terms is None
        or terms.retry is None
        or run.beginning is None
        or not isinstance(end, ev.RunFailed | ev.RunTimedOut)
        or not end.continued_as
    ):
        return None
    first = run.run_id if terms.chain is None else terms.chain.first_run_id
    ends_at = terms.execution_ends_at(run.started_at)
    chain = Chain(terms.attempt + 1, first, run.run_id, ends_at, _carried(run, ()))
    input, memo = run.beginning.input, run.beginning.memo
    start = msg.Start(
        run.workflow, input, end.continued_as, terms=msgspec.structs.replace(terms, chain=chain), memo=memo
    )
    return Continuation(start, _begin_at(run, terms, terms.retry, failure_of_end(end), end.at))


def renewal(
    run: Run, attributes: tuple[Attribute, ...], memo: ev.Payload | None, left: Sequence[ev.SignalReceived] = ()
) -> Continuation:
    """What a run goes on as that continues as new, with these attributes and this memo: those of the one that has ended. The
    signals that are `left` are sent to it again."""
    end = run.outcome
    assert isinstance(end, ev.RunContinuedAsNew)
    before, anew = run.terms or RunTerms(), end.terms or RunTerms()
    chosen = {name: getattr(anew, name) for name in end.chosen}
    first = run.run_id if before.chain is None else before.chain.first_run_id
    chain = Chain(1, first, run.run_id, before.execution_ends_at(run.started_at), _carried(run, left))
    terms = msgspec.structs.replace(before, chain=chain, attributes=anew.attributes or attributes, **chosen)
    start = msg.Start(end.workflow, end.input, end.continued_as, terms=terms, memo=end.memo or memo)
    return Continuation(start, end.at)


def left_of(end: ev.RunContinuedAsNew, history: Sequence[ev.HistoryEvent]) -> list[ev.SignalReceived]:
    """The signals that have come and were not received, in their order."""
    counts = {each.name: each.count for each in end.left}
    left: list[ev.SignalReceived] = []
    for event in reversed(history) if counts else ():
        if isinstance(event, ev.SignalReceived) and counts.get(event.name):
            counts[event.name] -= 1
            left.append(event)
    return left[::-1]


def _carried(run: Run, left: Sequence[ev.SignalReceived]) -> bytes:
    """Requests that are not to be taken again."""
    again = {digest_of(signal.request_id) for signal in left}
    return joined((digest for digest in run.requests or () if digest not in again), REQUESTS_CARRIED)


def failure_of_end(end: ev.RunFailed | ev.RunTimedOut) -> ev.Failure:
    """What a retry policy decides on."""
    return end.failure if isinstance(end, ev.RunFailed) else ev.Failure(RUN_TIMED_OUT, "")


def _begin_at(run: Run, terms: RunTerms, policy: RetryPolicy, failure: ev.Failure, now: int) -> int:
    delay = failure.retry_after_ns
    if delay is None:
        delay = delay_ns(policy, terms.attempt, f"{run.id}:{run.run_id.hex()}")
    return min(now + delay, END_OF_TIME)


def next_run_id(run_id: bytes) -> bytes:
    """Derived, so that a commit that is made again gives the same."""
    return hashlib.blake2b(run_id, digest_size=16, person=b"continued").digest()

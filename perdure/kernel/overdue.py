"""The failures of what takes too long, in words that name the limit, and of what is never heard of again."""

from perdure.kernel.events import Failure
from perdure.kernel.run import LOST
from perdure.kernel.step import Step

TIMED_OUT = "activity-timed-out"
"""The code of all of them."""

_TYPE = "perdure.errors.ActivityTimedOut"


LOST_FAILURE = Failure(
    type="perdure.errors.AttemptLost",
    message="the process that ran this attempt is gone; whether the step took effect is unknown",
    code=LOST,
)


def too_long(ns: int) -> Failure:
    """An attempt has not ended in time (start to close)."""
    return Failure(_TYPE, f"no end after {ns / 1e9:g} s", code=TIMED_OUT)


def silent(ns: int) -> Failure:
    """An attempt was not heard of in time (heartbeat)."""
    return Failure(_TYPE, f"no heartbeat for {ns / 1e9:g} s", code=TIMED_OUT)


def not_begun(step: Step) -> Failure:
    """No attempt has begun in time (schedule to start). The cause is the failure of the one before, if any."""
    assert step.terms is not None and step.terms.schedule_to_start_ns is not None
    seconds = step.terms.schedule_to_start_ns / 1e9
    where = f"in queue {step.queue!r}" if step.queue else "waiting for a slot"
    return Failure(_TYPE, f"no attempt begun within {seconds:g} s, {where}", cause=step.failure, code=TIMED_OUT)


def expired(step: Step, latest: Failure | None = None) -> Failure:
    """There is no result in time, however many attempts were made (schedule to close). The cause is the latest failure."""
    assert step.terms is not None and step.terms.schedule_to_close_ns is not None
    seconds = step.terms.schedule_to_close_ns / 1e9
    return Failure(
        _TYPE, f"no result within {seconds:g} s, retries included", cause=latest or step.failure, code=TIMED_OUT
    )

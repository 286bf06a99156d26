"""Events between runs: children and their ends, what a run asks of others, a run that goes on with new arguments.

A child is there as soon as it is scheduled: its row and its start are written in the commit of that event, or, if it cannot
get its id, an answer that says so. Its end comes to the parent as mail, written in the commit that ends it.
"""

import hashlib

import msgspec

from perdure.kernel.limits import ID_CHARS
from perdure.kernel.terms import RunTerms
from perdure.kernel.values import Failure, Payload

TERMINATE = "terminate"
REQUEST_CANCEL = "cancel"
ABANDON = "abandon"
PARENT_CLOSES = (TERMINATE, REQUEST_CANCEL, ABANDON)
"""What becomes of a child that is open when its parent ends, in whatever way."""


class ChildTerms(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a child is started under, beyond what most are. `terms` and the rest are as in a `Start`.

    `awaits_start`: the program waits to hear that it was started.
    """

    parent_close: str = TERMINATE
    id_conflict: str = ""
    id_reuse: str = ""
    delay_ns: int = 0
    terms: RunTerms | None = None
    chosen: tuple[str, ...] = ()
    awaits_start: bool = False


class ChildScheduled(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=24):
    """`child_id` is the id of the child, `run_id` the number of its first run."""

    at: int
    id: str
    workflow: str
    input: Payload
    child_id: str
    run_id: bytes
    terms: ChildTerms | None = None
    memo: Payload | None = None


class ChildStarted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=25):
    at: int
    id: str


class ChildStartFailed(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=26):
    """There is no such child. `code` is that of an error in `errors`."""

    at: int
    id: str
    code: str
    message: str


class ChildCompleted(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=27):
    at: int
    id: str
    result: Payload


class ChildFailed(msgspec.Struct, frozen=True, array_like=True, tag=28):
    """It has ended without a result. `how`: "failed", "cancelled", "terminated" or "timed out"; `reason`: what was given
    with the end, or which limit has run out. `failure`: of one that has failed."""

    at: int
    id: str
    how: str
    reason: str = ""
    failure: Failure | None = None


class ChildCancelRequested(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=29):
    at: int
    id: str
    reason: str = ""


class ExternalCancelRequested(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=30):
    """Of the run `target`: the newest of that id, or the one with a certain `run_id`."""

    at: int
    id: str
    target: str
    run_id: bytes = b""
    reason: str = ""


class ExternalSignalSent(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=31):
    """The same of a signal, `name` with the arguments `input`."""

    at: int
    id: str
    target: str
    name: str
    input: Payload
    run_id: bytes = b""


class ExternalAnswered(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=32):
    """The other run has taken what was asked of it, or, with a `code`, has not."""

    at: int
    id: str
    code: str = ""
    message: str = ""


class Left(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """So many signals of a name, the latest, have come and were not received."""

    name: str
    count: int


class RunContinuedAsNew(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=33):
    """The run goes on as the one of the number `continued_as`, with these arguments; queued in the same commit.

    `terms` are those that it `chosen` anew: of the others it has what this one had. `memo` None: that of this one. What is `left` of signals is sent to it again.
    """

    at: int
    workflow: str
    input: Payload
    continued_as: bytes
    terms: RunTerms | None = None
    chosen: tuple[str, ...] = ()
    memo: Payload | None = None
    left: tuple[Left, ...] = ()


class Link(msgspec.Struct):
    """An open child, or what was asked of another run and is not answered: then `workflow` is empty."""

    workflow: str
    id: str
    parent_close: str = ABANDON
    awaits_start: bool = False


def link_of(event: ChildScheduled | ExternalCancelRequested | ExternalSignalSent) -> Link:
    """What a run keeps of it until it is answered."""
    if not isinstance(event, ChildScheduled):
        return Link("", event.target)
    terms = event.terms or _USUAL
    return Link(event.workflow, event.child_id, terms.parent_close, terms.awaits_start)


_USUAL = ChildTerms()


def child_run_id(run_id: bytes, step: str) -> bytes:
    """Derived, so that a commit that is made again gives the same."""
    return hashlib.blake2b(run_id + step.encode(), digest_size=16, person=b"child").digest()


def child_id(id: str, run_id: bytes, step: str) -> str:
    """The id of a child that was given none: it begins with that of its parent, unless that is too long."""
    end = f"/{run_id.hex()[:8]}/{step}"
    if len(id) + len(end) <= ID_CHARS:
        return id + end
    return f"child-{child_run_id(run_id, step).hex()}"

"""How a run ended, as what its caller gets: the result, or the exception that says why there is none."""

from typing import TYPE_CHECKING, Any

import msgspec

from perdure import errors
from perdure.failures import remote_error
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.notes import failure_line, timeout_line
from perdure.kernel.project import AttemptState
from perdure.kernel.run import KNOWN_STATUSES, Status
from perdure.payload import PLAIN, Coder
from perdure.stores.base import Store, Stored

if TYPE_CHECKING:
    from perdure.workflows import WorkflowDefinition


def outcome_of(
    store: Store,
    id: str,
    key: int,
    event: Any,
    definition: "WorkflowDefinition[Any, Any] | None",
    attached: bool = False,
    coder: Coder = PLAIN,
) -> Any:
    """The result of a run at rest. `event` is its last one, None if it has to be looked up; if it has gone on as another
    run, the result is that of the last of them.

    Without a definition the result is what its JSON says. `attached`: the caller did not begin this run.

    Raises:
        errors.RunDidNotComplete: there is no result, and why.
    """
    if event is None:
        end = store.views.end_of_chain(key)
        stored = None if end is None or end.id != id else store.views.stored(end.key)
        if stored is None:
            raise errors.RunNotFound(f"run {id!r} is not in the database any more")
        if stored.run.status < Status.COMPLETED:
            raise blocked(id, stored)
        if stored.run.status not in KNOWN_STATUSES:
            raise errors.StoreCorrupt(f"run {id!r}: {stored.run.note}; perdure doctor lists the damage")
        key = stored.run.key
        event = wire.decode_events(stored.history[-1])[-1]
    if isinstance(event, ev.RunCompleted):
        return _result(store, key, event.result, definition, coder)
    again = '; to start afresh, choose another id, or say id_reuse="allow_duplicate"' if attached else ""
    if isinstance(event, ev.RunFailed):
        error = errors.RunFailed(f"run {id!r} failed: {failure_line(event.failure)}{again}", id)
        error.__cause__ = remote_error(event.failure)
        return _raise(error)
    reason = f": {event.reason}" if getattr(event, "reason", "") else ""
    if isinstance(event, ev.RunCancelled):
        raise errors.RunCancelled(f"run {id!r} was cancelled{reason}{again}", id)
    if isinstance(event, ev.RunTimedOut):
        raise errors.RunTimedOut(f"run {id!r} timed out: it took {timeout_line(event)}{again}", id)
    raise errors.RunTerminated(f"run {id!r} was terminated{reason}{again}", id)


def _raise(error: BaseException) -> Any:
    raise error


def _result(
    store: Store, key: int, payload: ev.Payload, definition: "WorkflowDefinition[Any, Any] | None", coder: Coder
) -> Any:
    def blob(digest: bytes) -> bytes:
        data = store.views.blob(key, digest)
        if data is None:
            raise errors.StoreCorrupt(f"the result (sha256:{digest.hex()}) is not in the database; restore a backup")
        return data

    data = coder.unseal(payload, blob)
    return msgspec.json.decode(data) if definition is None else definition.result.decode(data)


def blocked(id: str, stored: Stored) -> errors.RunBlocked:
    """Why a run at rest that has not ended does not go on."""
    if stored.run.block is None:
        return _held(id, stored)
    block = wire.decode_block(stored.run.block)
    place = f" at {block.source}" if block.source else ""
    differs = f"\n  recorded: {block.recorded}\n  produced: {block.produced}" if block.recorded else ""
    error = errors.RunBlocked(
        f"run {id!r} is {Status(stored.run.status).word}{place}: {block.message}{differs}\n  hint: {block.hint}",
        id,
    )
    if block.failure is not None:
        error.__cause__ = remote_error(block.failure)
    return error


def _held(id: str, stored: Stored) -> errors.RunBlocked:
    """A bug holds an attempt, and nothing else is under way; of a compensation the row has a block."""
    held = [row for row in stored.attempts if row.state == AttemptState.HELD]
    if not held:
        return errors.RunBlocked(f"run {id!r} could not go on, but was released just now; ask for its result again", id)
    failure = None if held[-1].detail is None else wire.decode_detail(held[-1].detail).failure
    step = held[-1].step
    name = next(
        (e.name for e in wire.decode_history(stored.history) if isinstance(e, ev.ActivityScheduled) and e.id == step),
        "an activity",
    )
    what = f": {failure_line(failure)}" if failure is not None else ""
    error = errors.RunBlocked(
        f"run {id!r} is held by a bug in activity {name}{what}\n"
        f"  hint: mend it and start again, or: perdure retry {id}",
        id,
    )
    if failure is not None:
        error.__cause__ = remote_error(failure)
    return error

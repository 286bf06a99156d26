"""Parts of a run's description: exceptions, attempts, what blocks it. Frozen; field names are stable API."""

from datetime import datetime

import msgspec

from perdure.client.moments import moment
from perdure.kernel import events as ev


class ErrorView(msgspec.Struct, frozen=True):
    """An exception as it was recorded. `leaves` are those of an ExceptionGroup; `code` is Perdure's own, if any."""

    type: str
    message: str
    traceback: str = ""
    code: str = ""
    is_bug: bool = False
    cause: "ErrorView | None" = None
    leaves: "list[ErrorView]" = []


class LogView(msgspec.Struct, frozen=True):
    at: datetime
    level: str
    logger: str
    text: str


class AttemptView(msgspec.Struct, frozen=True):
    """One try of an activity. `state`: running, deferred, completed, failed, timed out, lost, held or cancelled."""

    number: int
    state: str
    worker: str | None
    started_at: datetime
    ended_at: datetime | None = None
    error: ErrorView | None = None
    logs: list[LogView] = []
    logs_dropped: int = 0


class BlockView(msgspec.Struct, frozen=True):
    """Why the run cannot go on with the code at hand. The field names are those of the kernel's `Block`."""

    kind: str
    message: str
    hint: str = ""
    recorded: str = ""
    produced: str = ""
    source: str = ""
    build: str = ""
    at: datetime | None = None
    failure: ErrorView | None = None


def error_view(failure: ev.Failure) -> ErrorView:
    """An exception as it is told to people."""
    return ErrorView(
        type=failure.type,
        message=failure.message,
        traceback=failure.traceback,
        code=failure.code,
        is_bug=failure.is_bug,
        cause=None if failure.cause is None else error_view(failure.cause),
        leaves=[error_view(leaf) for leaf in failure.leaves],
    )


def block_view(block: ev.Block) -> BlockView:
    """A block as it is told to people."""
    return BlockView(
        kind=block.kind,
        message=block.message,
        hint=block.hint,
        recorded=block.recorded,
        produced=block.produced,
        source=block.source,
        build=block.build,
        at=moment(block.at) if block.at else None,
        failure=None if block.failure is None else error_view(block.failure),
    )

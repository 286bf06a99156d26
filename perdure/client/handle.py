"""A run, seen from outside: ask how it is, wait for its result, steer it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from perdure import errors
from perdure.client.answer import Answer, Asked, Looked
from perdure.client.conversation import Conversation
from perdure.client.door import Door, endures_outages, looking, patience_of
from perdure.client.mailing import found_first
from perdure.client.moments import moment
from perdure.client.outcome import outcome_of
from perdure.client.patience import NONE, Patience
from perdure.durations import duration_ns
from perdure.kernel import messages as msg
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.runtime.outbox import Receiver
from perdure.stores.base import Stored
from perdure.stores.health import told_as_damage

if TYPE_CHECKING:  # what describes and exports is slow to import, and most programs do neither
    from perdure.client.description import RunDescription
    from perdure.client.export import ExportedRun
    from perdure.client.streams import Following, StreamInfo
    from perdure.options import Duration
    from perdure.workflows import WorkflowDefinition

R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Handle(Conversation, Generic[R_co]):
    """The run of an id. Making one asks nothing; its methods do, and raise `RunNotFound` if there is no such run.

    `run_id` is the unique number, in hex digits, of the run that was started, or asked for. Without one (None) it is the
    newest run of the id that each method finds.
    """

    __slots__ = ("_attached", "_definition", "_door", "_key", "_request_id", "id", "run_id")

    def __init__(
        self,
        door: Door,
        id: str,
        definition: "WorkflowDefinition[Any, R_co] | None" = None,
        key: int | None = None,
        attached: bool = True,
        run_id: str | None = None,
    ) -> None:
        self.id = id
        self.run_id = run_id
        self._door = door
        self._definition = definition
        self._key = key
        self._attached = attached
        self._request_id = ""

    def result(self, *, timeout: "Duration | None" = None) -> Answer[R_co]:
        """Wait for the run to end.

        Args:
            timeout: how long to wait (a duration); None is without limit. The run goes on all the same.

        Raises:
            errors.RunFailed, errors.RunCancelled, errors.RunTerminated, errors.RunTimedOut: it ended so; the cause of the
                first is the failure. Of a run that is tried again it is the end of the last attempt.
            errors.RunBlocked: it cannot go on with the code at hand; raised at once.
            errors.WaitedTooLong: it has not ended within `timeout`.
            errors.EngineNotRunning: the engine was closed meanwhile.
        """
        seconds = None if timeout is None else duration_ns(timeout) / 1e9
        wait = _Wait(self)
        door = self._door
        return Asked(
            f"handle.result() of {self.id!r}",
            wait.ask,
            wait.read,
            seconds,
            self._late,
            slow=door.coder.codec is not None,
            endures=endures_outages(door),
            patience=patience_of(door, endless=True),
            blocks=door.asks_beside,
        )

    def _late(self) -> str:
        if not self._door.store.views.owners():
            return "no engine runs on the database: the run goes on when one is started"
        return "the run goes on, ask again later"

    def describe(self) -> "Answer[RunDescription]":
        """Everything about the run: state, steps with their attempts and logs, input, result, error."""
        return self._looked("describe", self._describe)

    def _describe(self) -> "RunDescription":
        from perdure.client.description import describe

        stored = self._stored()
        views = self._door.store.views
        with told_as_damage(self.id):
            return describe(
                stored,
                views.members,
                lambda digest: views.blob(stored.run.key, digest),
                self._door.now(),
                self._door.coder,
            )

    def history(self) -> Answer[list[dict[str, Any]]]:
        """The run's events, numbered from 1, as dicts that `json.dumps` takes: `seq`, `at`, `type` and their own fields."""
        return self._looked("history", self._history)

    def _history(self) -> list[dict[str, Any]]:
        from perdure.client.description import history_entries

        stored = self._stored()
        with told_as_damage(self.id):
            views, key = self._door.store.views, stored.run.key
            return history_entries(stored, lambda digest: views.blob(key, digest), self._door.coder)

    @overload
    def stream(self, name: str, *, from_offset: int = 0, follow: bool = True) -> "Following[Any]": ...
    @overload
    def stream(
        self, name: str, *, type: Callable[..., T], from_offset: int = 0, follow: bool = True
    ) -> "Following[T]": ...
    def stream(self, name: str, *, from_offset: int = 0, follow: bool = True, type: Any = Any) -> "Following[Any]":
        """The chunks of a stream, as they come: `async for chunk in handle.stream("tokens")`, or `for` without a loop.

        It is a stream of one run: if that goes on as another one, the next loop reads the other one's.

        Args:
            name: of the stream; one that is not there yet is waited for, as long as the run goes on.
            from_offset: of the first chunk wanted. One beyond the end is waited for.
            follow: whether to wait for further chunks. Without, it ends with what is there now.
            type: of the values; without it they are what their JSON says.

        Raises:
            errors.DefinitionError: the name or the offset cannot be one.
            errors.PayloadNotDecodable: (while it is read) a chunk is not of that type.
        """
        from perdure.client.streams import Following
        from perdure.streams import checked_name

        return Following(self._door, lambda: self._row().key, checked_name(name), from_offset, follow, type)

    def streams(self) -> "Answer[list[StreamInfo]]":
        """What the run's workflow and activities have written to, and how much."""
        return self._looked("streams", self._streams)

    def _streams(self) -> "list[StreamInfo]":
        from perdure.client.streams import streams_of

        row = self._row()
        return streams_of(self._door.store, row.key, row.closed_at is not None)

    def export(self, *, redact: bool = False) -> "Answer[ExportedRun]":
        """All there is of the run, to be written to a file with `.to_json()`: to replay it with other code
        (`perdure.testing.replay`), or to look at it elsewhere. With all that it has written to streams; `perdure export`
        writes that to a file without having it in memory.

        Args:
            redact: without values, messages of exceptions and logs; it cannot be replayed then.
        """
        return self._looked("export", lambda: _exported(self._door, self._stored(), redact))

    def cancel(self, reason: str = "") -> Answer[None]:
        """Ask the run to stop: its code sees `asyncio.CancelledError`, and may clean up with further activities.

        Raises:
            errors.RunClosed: it has ended already.
        """
        return self._told("cancel", msg.Cancel(_text(reason)))

    def terminate(self, reason: str = "") -> Answer[None]:
        """End the run at once, without cleanup; works on blocked runs, too.

        Raises:
            errors.RunClosed: it has ended already.
        """
        return self._told("terminate", msg.Terminate(_text(reason)))

    def retry(self) -> Answer[None]:
        """Go on now with what is blocked, held or waits for its next attempt.

        Raises:
            errors.RunClosed: it has ended.
        """
        return self._told("retry", msg.Retry())

    def move(self) -> Answer[None]:
        """Pin a run that is pinned to another build to the code that the engine has now, if that code does what the run's
        history has; it goes on with it. A run that is not pinned needs no moving.

        Raises:
            errors.ReplayFailed: that code does otherwise; the run is as it was.
            errors.RunClosed: it has ended.
        """
        return self._told("move", msg.Move())

    def _told(self, verb: str, message: msg.Mail) -> Answer[None]:
        return self._looked(verb, _Telling(self, message).tell, patience_of(self._door))

    def _looked(self, verb: str, look: Callable[[], T], patience: Patience = NONE) -> Answer[T]:
        return Looked(f"handle.{verb}() of {self.id!r}", lambda: looking(self._door, look), patience)

    def _row(self, key: int | None = None) -> RunRow:
        """`key`: of the run that was found before, by one who asks again; it is not to be one that has got the id meanwhile."""
        self._door.demand_open()
        views = self._door.store.views
        key = key or self._key
        if key is not None:
            row = views.end_of_chain(key)
            if row is not None and row.id != self.id:
                row = None  # a database that has gone back, by a failover say, has given the number to another run
        elif self.run_id is not None:
            row = views.row_of(self.id, bytes.fromhex(self.run_id))
        else:
            row = views.row(self.id)
        if row is None:
            certain = "" if key is not None or self.run_id is None else f" with run_id {self.run_id}"
            raise errors.RunNotFound(f"there is no run {self.id!r}{certain} in {self._door.store.address}")
        return row

    def _stored(self) -> Stored:
        stored = self._door.store.views.stored(self._row().key)
        if stored is None:
            raise errors.RunNotFound(f"run {self.id!r} is not in {self._door.store.address} any more")
        return stored

    def __repr__(self) -> str:
        return f"<handle of run {self.id!r}>"


def _exported(door: Door, stored: Stored, redact: bool) -> "ExportedRun":
    from perdure.client.export import exported
    from perdure.client.redaction import redacted

    run = exported(door.store.views, stored, moment(door.now()), door.store.streams)
    return redacted(run) if redact else run.held()


class _Telling:
    """One message to the run of a handle, which may be sent again: it is the same run each time."""

    __slots__ = ("doubtful", "handle", "key", "message")

    def __init__(self, handle: Handle[Any], message: msg.Mail) -> None:
        self.handle = handle
        self.message = message
        self.key = 0
        self.doubtful = False

    def tell(self) -> None:
        row = found_first(lambda: self.handle._row(self.key))
        self.key = row.key
        try:
            self.handle._door.tell(row, self.message)
        except errors.StoreUnreachable as error:
            self.doubtful = self.doubtful or not error._unsent
            raise
        except errors.RunClosed:
            wanted = _ENDS.get(type(self.message))
            if not self.doubtful or wanted is None or self.handle._row(self.key).status != wanted:
                raise  # else it has ended by this


_ENDS: dict[type, Status] = {msg.Cancel: Status.CANCELLED, msg.Terminate: Status.TERMINATED}


class _Wait:
    """Somebody who waits for the end of a handle's run."""

    __slots__ = ("handle", "key")

    def __init__(self, handle: Handle[Any]) -> None:
        self.handle = handle
        self.key = 0

    def ask(self, receiver: Receiver) -> Any:
        handle = self.handle

        def watched() -> Any:
            self.key = handle._key if handle._key is not None else handle._row().key
            return handle._door.watch(self.key, handle.id, receiver)

        return looking(handle._door, watched)

    def read(self, end: Any) -> Any:
        handle = self.handle
        key, event = (self.key, None) if end is None else (end.key, end.event)
        door = handle._door

        def outcome() -> Any:
            with told_as_damage(handle.id):
                return outcome_of(door.store, handle.id, key, event, handle._definition, handle._attached, door.coder)

        return looking(door, outcome)


def _text(reason: Any) -> str:
    if not isinstance(reason, str):
        raise TypeError(f"reason must be text, not {reason!r}")
    return reason.encode("utf-8", "backslashreplace").decode("utf-8")

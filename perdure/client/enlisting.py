"""A start within a transaction of the caller's: the run is there exactly if that commits, and nobody waits for an owner's word."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from perdure import errors
from perdure.client.answer import Answer, beside
from perdure.client.connections import Carrier, carrier_of
from perdure.client.door import Door
from perdure.client.handle import Handle
from perdure.client.mailing import judged, submission_of
from perdure.kernel import wire
from perdure.kernel.events import RunStarted
from perdure.kernel.messages import Start
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.runtime.attaching import unknown_workflow
from perdure.runtime.letters import Started, StartRequest
from perdure.stores.enlisting import Begin, Enlisting, Talk, carried
from perdure.stores.health import told_as_damage

T = TypeVar("T")


class EnlistedStart(Answer[Handle[Any]]):
    """The answer of such a start: the handle is of use when the transaction has committed.

    `prepared` makes the request; it may block.
    """

    __slots__ = ("_connection", "_definition", "_door", "_prepared")

    def __init__(
        self, id: str, door: Door, definition: Any, connection: Any, prepared: Callable[[], StartRequest]
    ) -> None:
        super().__init__(f"start(..., connection=...) of {id!r}")
        self._door = door
        self._definition = definition
        self._connection = connection
        self._prepared = prepared

    def _begin(self) -> Generator[Any, Any, Handle[Any]]:
        return self._awaited().__await__()

    async def _awaited(self) -> Handle[Any]:
        with _explained(self._door):
            carrier, enlisting = self._joined()
            if not carrier.is_async:
                return self._carried(carrier, enlisting)
            request = await beside(lambda: self._ready(enlisting))
            return self._handle(request, await _awaited(self._talk(enlisting, request), carrier))

    def _waited(self) -> Handle[Any]:
        with _explained(self._door):
            carrier, enlisting = self._joined()
            if carrier.is_async:
                raise RuntimeError(
                    f"{self._call}.wait(): an async connection is used on its loop; write: await {self._call}"
                )
            return self._carried(carrier, enlisting)

    def _carried(self, carrier: Carrier, enlisting: Enlisting) -> Handle[Any]:
        request = self._ready(enlisting)
        return self._handle(request, carried(self._talk(enlisting, request), carrier.ask))

    def _joined(self) -> tuple[Carrier, Enlisting]:
        enlisting = self._door.store.enlisting
        if enlisting is None:
            raise errors.ConnectionUnfit(
                f"the runs of {self._door.store.address} are in no database, so that no transaction of yours reaches them; use an "
                'address such as "sqlite:///orders.db"'
            )
        carrier = carrier_of(self._connection)
        if carrier.product != enlisting.product:
            raise errors.ConnectionUnfit(
                f"the connection is one to {carrier.product}, and the runs are in {enlisting.product} ({self._door.store.address})"
            )
        return carrier, enlisting

    def _ready(self, enlisting: Enlisting) -> StartRequest:
        self._door.demand_open()
        enlisting.prepare()
        return self._prepared()

    def _talk(self, enlisting: Enlisting, request: StartRequest) -> Talk[Started]:
        return _started(self._door, enlisting, request, self._definition)

    def _handle(self, request: StartRequest, started: Started) -> Handle[Any]:
        """Without a key: that of a run whose transaction is rolled back may become another's."""
        return _EnlistedHandle(self._door, request.id, self._definition, None, started.attached, started.run_id.hex())


class _EnlistedHandle(Handle[Any]):
    """Nobody tells an owner when the caller commits, but the first who looks can."""

    __slots__ = ("_is_told",)

    def _row(self, key: int | None = None) -> RunRow:
        row = super()._row(key)
        if row.status == Status.QUEUED and not hasattr(self, "_is_told"):
            self._is_told = True
            self._door.store.post.nudge([row.key])
        return row


def _started(door: Door, enlisting: Enlisting, request: StartRequest, definition: Any) -> Talk[Started]:
    """As `mailing.start_by_mail`."""
    row, start = submission_of(request, refuse_by_reply=False, now=door.now())
    enlisted = yield from enlisting.submit(row, start)
    found = enlisted.row
    if found is None:
        raise unknown_workflow(request.workflow, enlisted.known)
    if found is row:
        return Started(row.key, row.run_id)
    wishes = request.wishes
    if not wishes.request_id or found.request != wishes.request_id:
        yield from _demand_attachable(door, enlisting, request, found, definition)
        if wishes.first is not None:
            yield from enlisting.send(found.key, wishes.first)
    return Started(found.key, found.run_id, attached=True)


def _demand_attachable(
    door: Door, enlisting: Enlisting, request: StartRequest, found: RunRow, definition: Any
) -> Talk[None]:
    first = found.chain or found.key
    begin = _read(request.id, (yield from enlisting.begin(first)))
    data = b""
    if begin is not None and begin.input.ref:
        data = yield from enlisting.blob(first, begin.input.data)
    judged(request, found, lambda: begin, lambda _: data, definition, door.coder)


def _read(id: str, begin: Begin) -> RunStarted | Start | None:
    with told_as_damage(id):
        if begin.events is not None:
            first = wire.decode_events(begin.events)[0]
            return first if isinstance(first, RunStarted) else None
        message = None if begin.start is None else wire.decode_mail(begin.start)
    return message if isinstance(message, Start) else None


async def _awaited(talk: Talk[T], carrier: Carrier) -> T:
    found: list[tuple[Any, ...]] | None = None
    try:
        while True:
            found = await carrier.ask(next(talk) if found is None else talk.send(found))
    except StopIteration as end:
        return end.value
    finally:
        talk.close()


_NO_SCHEMA = ("3F000", "42883", "42P01")
_UNDONE = ("40P01", "40001")


@contextmanager
def _explained(door: Door) -> Iterator[None]:
    """What a driver raises is for whoever has the connection; only that there is nothing of ours is told in our words. To what says
    that the transaction has met another one (a deadlock, a serialisation failure) it is added what that means."""
    try:
        yield
    except errors.PerdureError as error:
        raise error.with_traceback(None) from error.__cause__
    except Exception as error:
        if _state_of(error) in _NO_SCHEMA or str(error).startswith("no such table"):
            raise errors.ConnectionUnfit(
                f"the database of this connection has not the schema of this version ({error}): connect to that of "
                f"{door.store.address}, or run: perdure migrate"
            ) from error
        if _state_of(error) in _UNDONE:
            error.add_note(
                "The database has undone this transaction because of another one: no run that it has started is there, nor "
                "anything else of it. Roll back, and do all of it again."
            )
        raise


def _state_of(error: BaseException | None) -> str:
    """The SQLSTATE of an error, which some libraries wrap into one of their own."""
    while error is not None:
        state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
        if state:
            return str(state)
        error = getattr(error, "orig", None) or error.__cause__
    return ""

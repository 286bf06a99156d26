"""Messages to a run: what was said becomes bytes, and what comes back becomes values and errors."""

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from perdure import errors
from perdure.client.answer import Answer, Asked
from perdure.client.door import Door, endures_outages, give, looking, patience_of
from perdure.client.known import heard_by
from perdure.client.mailing import found_first
from perdure.client.outcome import blocked
from perdure.failures import remote_error
from perdure.handlers import HandlerMethod, Message, is_name
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.events import Payload
from perdure.kernel.limits import ID_CHARS
from perdure.kernel.notes import failure_line
from perdure.kernel.project import RunRow, UpdateRow, UpdateState
from perdure.kernel.run import Status
from perdure.payload import encode_untyped
from perdure.payload.sealing import demand_size
from perdure.runtime.answers import Awaited
from perdure.runtime.letters import Heard
from perdure.runtime.outbox import Receiver
from perdure.runtime.refusals import error_of
from perdure.stores.base import DefinitionRow
from perdure.stores.health import told_as_damage

if TYPE_CHECKING:
    from perdure.client.conversation import Conversation
    from perdure.handlers import Kind

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Said:
    """A message with its arguments as bytes. `result` reads what comes back; None reads its JSON."""

    __slots__ = ("_data", "_untyped", "kind", "name", "result")

    def __init__(self, kind: "Kind", message: Message[Any], workflow: Any = None) -> None:
        target = message.target
        self.kind: Kind = kind
        self.result: Callable[[bytes], Any] = msgspec.json.decode
        self._untyped: Message[Any] | None = None
        self._data: bytes | None = None
        if isinstance(target, str):
            found = None if workflow is None else workflow.handlers.find(kind, target)
            if found is None or found.dynamic:
                self.name = _demand_name(kind, target)
                self._untyped = message
                if not (message.args and message.kwargs):
                    self._data = self._encoded(None)
                return
            target = found
        if getattr(target, "kind", None) != kind:
            raise errors.DefinitionError(_wrong_target(kind, target))
        if getattr(target, "dynamic", False):
            raise errors.DefinitionError(f"{target.owner} hears all names: say which one, as a text")
        self.name = target.name
        self._data = target.parameters.encode(message.args, message.kwargs)
        if isinstance(target, HandlerMethod):
            self.result = target.result.decode

    @property
    def data(self) -> bytes:
        """The arguments.

        Raises:
            InvalidArguments: they cannot be put in order, since nobody has said what the parameters are.
        """
        if self._data is None:
            self._data = self._encoded(None)
        return self._data

    def _encoded(self, published: dict[str, Any] | None) -> bytes:
        assert self._untyped is not None
        return encode_untyped(published, self._untyped.args, self._untyped.kwargs, owner=f"{self.kind} {self.name}")

    def fit(self, definitions: Callable[[], Iterable[DefinitionRow]], workflow: str) -> None:
        """If it is said by its name alone: put the arguments as the owner has published it.

        Raises:
            InvalidArguments: a name or the number of arguments is wrong.
        """
        if self._untyped is not None:
            heard = heard_by(definitions(), workflow)
            published = None if heard is None else heard.by_name.get((self.kind, self.name))
            if published is not None:
                self._data = self._encoded(published)

    def mail(self, payload: Payload, request_id: str) -> msg.Signal | msg.Update | msg.Query:
        if self.kind == "signal":
            return msg.Signal(self.name, payload, request_id)
        if self.kind == "update":
            return msg.Update(request_id, self.name, payload)
        return msg.Query(self.name, payload)


def _demand_name(kind: str, name: str) -> str:
    if not is_name(name):
        raise errors.DefinitionError(f"a {kind} has a name of 1 to {ID_CHARS} printable characters, not {name!r:.60}")
    return name


def _wrong_target(kind: str, target: Any) -> str:
    other = getattr(target, "kind", None)
    if other in ("signal", "query", "update"):
        return f"{target!r} is a {other}; write: handle.{other}({getattr(target, 'name', '...')}, ...)"
    return (
        f"a method marked @workflow.{kind} was expected{', a channel' if kind == 'signal' else ''} or a name, not {target!r}; "
        f"write: handle.{kind}(TheWorkflow.method, ...)"
    )


def first_of(said: Said, id: str, most: int) -> msg.Signal | msg.Update:
    """The message that goes with a start."""
    demand_size(said.data, most, f"the arguments of {said.kind} {said.name}")
    first = said.mail(Payload(said.data), id)
    assert not isinstance(first, msg.Query)
    return first


def sealed_input(door: Door, said: Said, most: int) -> Payload:
    """The arguments as the codec makes them. Large bytes travel in the message; the owner sets them apart."""
    return door.coder.seal_whole(said.data, most, f"the arguments of {said.kind} {said.name}")


class Talk:
    """One message on its way to the run of a handle, and back. Made once, used once."""

    __slots__ = ("door", "handle", "id", "key", "most", "said", "waits_for_answer")

    def __init__(self, handle: "Conversation", said: Said, id: str, most: int, waits_for_answer: bool = False) -> None:
        self.handle = handle
        self.door: Door = handle._door
        self.said = said
        self.id = id
        self.most = most
        self.waits_for_answer = waits_for_answer
        self.key = 0

    def answer(self, read: Callable[[Any], R]) -> Answer[R]:
        verb = f"handle.{self.said.kind}(...) of {self.handle.id!r}"
        door = self.door
        return Asked(
            verb,
            self._ask,
            read,
            slow=door.coder.codec is not None,
            endures=endures_outages(door),
            patience=patience_of(door, bool(self.id) or self.said.kind == "query", endless=self.waits_for_answer),
            blocks=door.asks_beside,
        )

    def _ask(self, receiver: Receiver) -> Callable[[], object] | None:
        self.door.demand_open()
        if self.door.coder.codec is None:
            return self._send(receiver)
        self.door.beside(lambda: self._begin(receiver))
        return None

    def _begin(self, receiver: Receiver) -> None:
        try:
            self._send(receiver)
        except BaseException as error:  # noqa: BLE001  it belongs to whoever asked
            give(receiver, None, error)

    def _send(self, receiver: Receiver) -> Callable[[], object] | None:
        row = found_first(lambda: self.handle._row(self.key))
        self.key = row.key
        found_first(lambda: self.said.fit(self.door.store.views.definitions, row.workflow))
        message = self.said.mail(sealed_input(self.door, self.said, self.most), self.id)
        if not self.waits_for_answer:
            self.door.send(row, message, receiver)
            return None
        awaited = Awaited(row.id)
        forget = self.door.watch_update(row.key, self.id, receiver, awaited)
        update = UpdateHandle(self.handle, self.id, self.key)
        self.door.send(row, message, _UnlessRefused(receiver, forget, update.is_settled, awaited))
        return forget

    # what was received becomes what the caller gets

    def taken(self, heard: Heard) -> None:
        if heard.code:
            error = error_of(heard)
            if isinstance(error, errors.RunDidNotComplete):
                error.id = self.handle.id
            raise error

    def answered(self, heard: Heard) -> Any:
        self.taken(heard)
        if heard.data is None:
            raise errors.QueryFailed(f"the engine could not ask run {self.handle.id!r}; its log says why")
        payload = wire.decode_payload(heard.data)
        return self.said.result(self.door.coder.unseal(payload, _nowhere))

    def accepted(self, heard: Heard) -> "UpdateHandle[Any]":
        self.taken(heard)
        return UpdateHandle(self.handle, self.id, self.key, self.said.result)

    def completed(self, heard: Heard | None) -> Any:
        if heard is not None:
            self.taken(heard)
        return UpdateHandle(self.handle, self.id, self.key, self.said.result)._answer(self.said.name)


class _UnlessRefused:
    """Who waits for the answer to an update is told if it was refused, or was known before and `is_settled`: of one that
    is under way, its end is heard."""

    __slots__ = ("awaited", "forget", "is_settled", "loop", "receiver")

    def __init__(
        self, receiver: Receiver, forget: Callable[[], object], is_settled: Callable[[], bool], awaited: Awaited
    ) -> None:
        self.awaited = awaited
        self.loop = receiver.loop
        self.receiver = receiver
        self.forget = forget
        self.is_settled = is_settled

    def receive(self, value: Any, error: BaseException | None) -> None:
        tells = error is not None or value.code or (value.known and self.is_settled())
        if tells and self.forget():
            self.receiver.receive(value, error)
        elif not tells:
            self.awaited.accepted = True


class UpdateHandle(Generic[R_co]):
    """An update that a run has accepted. `id` names it among those of the run."""

    __slots__ = ("_key", "_result", "handle", "id")

    def __init__(
        self, handle: "Conversation", id: str, key: int | None, result: Callable[[bytes], Any] = msgspec.json.decode
    ) -> None:
        self.handle = handle
        self.id = id
        self._key = key
        self._result = result

    def result(self) -> Answer[R_co]:
        """Wait for the answer.

        Raises:
            errors.UpdateFailed: the method has raised something; the cause is that.
            errors.RunClosed: the run has ended without an answer.
            errors.RunBlocked: the run cannot go on with the code at hand; ask again when it is mended.
            errors.UnknownMessage: the run has not accepted an update of that id.
            errors.RunNotFound: the run is not there any more.
            errors.EngineNotRunning: the engine was closed meanwhile.
        """
        verb = f"update.result() of {self.id!r}"
        door = self.handle._door
        endures, patience = endures_outages(door), patience_of(door, endless=True)
        return Asked(verb, self._ask, self._read, endures=endures, patience=patience, blocks=door.asks_beside)

    def _ask(self, receiver: Receiver) -> Callable[[], object]:
        door = self.handle._door
        if self._key is None:
            self._key = self.handle._row().key
        update = door.store.messages.update(self._key, self.id)
        awaited = Awaited(self.handle.id, accepted=True)
        forget = door.watch_update(self._key if update is None else update.run, self.id, receiver, awaited)
        if self.is_settled() and forget():
            give(receiver, None, None)
        return forget

    def is_settled(self) -> bool:
        """Whether there is nothing to wait for: it has its answer, will have none, or is not known. Where nobody can say that now, it is
        waited for."""
        try:
            return self._is_settled(*self._found())
        except errors.StoreUnreachable:
            if endures_outages(self.handle._door):
                return False
            raise

    def _found(self) -> tuple[RunRow | None, UpdateRow | None]:
        """The update, and the run that has accepted it: of those of a chain, whichever it was."""
        store, key = self.handle._door.store, self._key or 0
        update = store.messages.update(key, self.id)
        key = key if update is None else update.run
        row = store.views.rows_by_key([key]).get(key)
        if row is not None and row.id != self.handle.id:
            return None, None  # a database that has gone back has given the number to another run
        return row, update

    def _is_settled(self, row: RunRow | None, update: UpdateRow | None) -> bool:
        if row is None or update is None or row.status >= Status.COMPLETED or self.handle._door.is_blocked(row):
            return True
        return update.state != UpdateState.ACCEPTED

    def _read(self, nothing: None) -> Any:
        return self._answer("")

    def _answer(self, asked: str) -> Any:
        """The answer, if it is one to the update that was `asked` for: of "" to any."""
        return looking(self.handle._door, lambda: self._found_answer(asked))

    def _found_answer(self, asked: str) -> Any:
        row, update = self._found()
        run = self.handle.id
        if row is None:
            raise errors.RunNotFound(f"run {run!r} is not in the database any more")
        if update is not None and asked not in ("", update.name):
            raise errors.InvalidArguments(
                f"run {run!r} knows {self.id!r} as the id of an update {update.name!r}, and cannot take an update {asked!r} under "
                "it; give each request an id of its own"
            )
        if update is None:
            raise errors.UnknownMessage(f"run {run!r} has not accepted an update {self.id!r}")
        name = f"update {update.name!r} of run {run!r}"
        if update.state == UpdateState.ACCEPTED and row.status < Status.COMPLETED:
            stored = self.handle._door.store.views.stored(row.key)
            assert stored is not None
            raise blocked(run, stored)
        if update.state == UpdateState.ACCEPTED or update.detail is None:
            raise errors.RunClosed(
                f"run {run!r} has ended before it had answered {name.partition(' of ')[0]}; let it wait for its handlers: "
                "await wait_until(workflow.all_handlers_finished)"
            )
        with told_as_damage(run):
            if update.state == UpdateState.FAILED:
                failure = wire.decode_failure(update.detail)
                error = errors.UpdateFailed(f"{name} failed: {failure_line(failure)}")
                error.__cause__ = remote_error(failure)
                raise error
            payload = wire.decode_payload(update.detail)
            key = update.run
            views = self.handle._door.store.views
            return self._result(self.handle._door.coder.unseal(payload, lambda digest: views.blob(key, digest) or b""))

    def __repr__(self) -> str:
        return f"<update {self.id!r} of run {self.handle.id!r}>"


def new_request() -> str:
    return os.urandom(8).hex()


def _nowhere(digest: bytes) -> bytes:
    raise errors.StoreCorrupt("an answer has its bytes with it")

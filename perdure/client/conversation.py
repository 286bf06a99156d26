"""What can be said to a run, and asked: signals, queries, updates."""

from copy import copy
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar, overload

import msgspec

from perdure import errors
from perdure.client.answer import Answer, Looked
from perdure.client.door import Door, looking
from perdure.client.talking import Said, Talk, UpdateHandle, new_request
from perdure.handlers import Message, is_name
from perdure.kernel import wire
from perdure.kernel.limits import ID_CHARS
from perdure.kernel.project import RunRow
from perdure.stores.health import told_as_damage

if TYPE_CHECKING:
    from perdure.handlers import Kind, QueryMethod, SignalMethod, UpdateMethod
    from perdure.workflows import Channel

T = TypeVar("T")
P = ParamSpec("P")


class Conversation:
    """The half of a handle that speaks to the run's code."""

    __slots__ = ()
    id: str
    _door: Door
    _key: int | None
    _definition: Any
    _request_id: str

    def _row(self, key: int | None = None) -> RunRow:
        raise NotImplementedError

    @overload
    def signal(self, signal: "SignalMethod[P, Any]", /, *args: P.args, **kwargs: P.kwargs) -> Answer[None]: ...
    @overload
    def signal(self, signal: "Channel[T]", value: T, /) -> Answer[None]: ...
    @overload
    def signal(self, signal: "str | Message[Any]", /, *args: Any, **kwargs: Any) -> Answer[None]: ...
    def signal(self, signal: Any, /, *args: Any, **kwargs: Any) -> Answer[None]:
        """Tell the run something: `handle.signal(Loan.approve, decision)`. It is in the run's history when this returns; of a
        run that is blocked it waits in the mailbox.

        Args:
            signal: a method marked `@workflow.signal`, a channel, or the name of either.

        Raises:
            errors.UnknownMessage: the workflow does not hear it.
            errors.InvalidArguments: the arguments do not fit it.
            errors.RunClosed: the run has ended.
        """
        talk = self._talk("signal", signal, args, kwargs, self._request_id)
        return talk.answer(talk.taken)

    @overload
    def query(self, query: "QueryMethod[P, T]", /, *args: P.args, **kwargs: P.kwargs) -> Answer[T]: ...
    @overload
    def query(self, query: "str | Message[Any]", /, *args: Any, **kwargs: Any) -> Answer[Any]: ...
    def query(self, query: Any, /, *args: Any, **kwargs: Any) -> Answer[Any]:
        """Ask the run's code something: `handle.query(Loan.state)`. Runs that have ended answer, too.

        Raises:
            errors.QueryFailed: the method has raised something, which is the cause, or has changed something.
            errors.UnknownMessage, errors.InvalidArguments: as for `signal`.
            errors.RunBlocked: the run cannot go on with the code at hand.
            errors.EngineNotRunning: there is no engine that has the code.
        """
        talk = self._talk("query", query, args, kwargs, "")
        return talk.answer(talk.answered)

    @overload
    def update(self, update: "UpdateMethod[P, T]", /, *args: P.args, **kwargs: P.kwargs) -> Answer[T]: ...
    @overload
    def update(self, update: "str | Message[Any]", /, *args: Any, **kwargs: Any) -> Answer[Any]: ...
    def update(self, update: Any, /, *args: Any, **kwargs: Any) -> Answer[Any]:
        """Have the run do something, and wait for its answer: `handle.update(Loan.raise_to, 500)`.

        Raises:
            errors.UpdateRejected: the validator has rejected it, and it left no trace; the cause says why.
            errors.UpdateFailed: the method has raised something, which is the cause.
            errors.RunClosed: the run has ended, perhaps before it had answered.
            errors.RunBlocked: the run cannot go on with the code at hand.
            errors.UnknownMessage, errors.InvalidArguments: as for `signal`.
        """
        talk = self._talk("update", update, args, kwargs, self._request_id or new_request(), True)
        return talk.answer(talk.completed)

    @overload
    def start_update(
        self, update: "UpdateMethod[P, T]", /, *args: P.args, **kwargs: P.kwargs
    ) -> "Answer[UpdateHandle[T]]": ...
    @overload
    def start_update(
        self, update: "str | Message[Any]", /, *args: Any, **kwargs: Any
    ) -> "Answer[UpdateHandle[Any]]": ...
    def start_update(self, update: Any, /, *args: Any, **kwargs: Any) -> "Answer[UpdateHandle[Any]]":
        """The same, but return when the run has accepted it, which is durable. Raises what speaks against that."""
        talk = self._talk("update", update, args, kwargs, self._request_id or new_request())
        return talk.answer(talk.accepted)

    def update_handle(self, id: str) -> "UpdateHandle[Any]":
        """An update that was sent before, by its id."""
        _demand_name("the id of an update", id)
        return UpdateHandle(self, id, self._key)

    def as_request(self, request_id: str) -> Self:
        """The same handle, whose signals and updates bear an id of your choice: sent again, after a lost answer, say, they are
        taken once, and an update gives the same answer."""
        _demand_name("a request_id", request_id)
        handle = copy(self)
        handle._request_id = request_id
        return handle

    def published(self) -> Answer[dict[str, Any]]:
        """What the run shows, by name: the newest values that it has given to `publish`, as what their JSON says."""
        return Looked(f"handle.published() of {self.id!r}", lambda: looking(self._door, self._published))

    def _published(self) -> dict[str, Any]:
        door, key = self._door, self._row().key
        rows = door.store.messages.published(key)
        with told_as_damage(self.id):
            payloads = {row.name: wire.decode_payload(row.value) for row in rows}
            return {
                name: msgspec.json.decode(
                    door.coder.unseal(each, lambda digest: door.store.views.blob(key, digest) or b"")
                )
                for name, each in payloads.items()
            }

    def _talk(
        self, kind: "Kind", target: Any, args: Any, kwargs: Any, id: str, waits_for_answer: bool = False
    ) -> "Talk":
        if not isinstance(target, Message):
            target = Message(target, args, kwargs)
        elif args or kwargs:
            raise errors.DefinitionError(f"{target!r} has its arguments; leave out those beside it")
        return Talk(self, Said(kind, target, self._definition), id, self._door.payload_max_bytes, waits_for_answer)


def _demand_name(what: str, name: object) -> None:
    if not is_name(name):
        raise errors.DefinitionError(f"{what} is a text of 1 to {ID_CHARS} printable characters, not {name!r:.60}")

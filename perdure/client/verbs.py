"""What can be done with runs, the same for an engine and for a client that has nothing but the database."""

import asyncio
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, overload

import msgspec

from perdure import errors
from perdure.attributes import AttributeValue, Between, wanted_of
from perdure.calls import Call
from perdure.client.answer import Answer, Asked, Looked
from perdure.client.attempt import AttemptHandle
from perdure.client.door import Door, endures_outages, give, looking, patience_of
from perdure.client.handle import Handle
from perdure.client.outcome import outcome_of
from perdure.client.patience import Patience
from perdure.client.starting import StartOptions, sealed, wishes_of, with_message
from perdure.client.summary import RunSummary, statuses_of, summaries
from perdure.client.talking import Said, UpdateHandle, first_of, new_request
from perdure.handlers import Message
from perdure.kernel import messages as msg
from perdure.kernel.events import Payload
from perdure.kernel.limits import ID_CHARS, PAYLOAD_MAX_BYTES
from perdure.options import checked_id, checked_run_id
from perdure.payload import encode_untyped, seal
from perdure.runtime.letters import Started, StartRequest, Wishes
from perdure.runtime.outbox import Receiver
from perdure.runtime.world import new_id
from perdure.stores.base import RunFilter, Store
from perdure.stores.health import told_as_damage
from perdure.workflows import WorkflowDefinition, definitions_of

if TYPE_CHECKING:
    from perdure.client.human import Tasks

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Verbs:
    """Start, run, find, list and count runs."""

    _door: Door
    _payload_max_bytes: int = PAYLOAD_MAX_BYTES

    @property
    def store(self) -> Store:
        return self._opened().store

    def _opened(self) -> Door:
        door: Door | None = getattr(self, "_door", None)
        if door is None:
            raise errors.EngineNotRunning(
                "the engine has not been entered; write: async with Engine(...) as engine, or: with Engine(...) as engine"
            )
        return door

    @overload
    def start(
        self,
        workflow: Call[R],
        /,
        *,
        id: str | None = None,
        connection: Any = None,
        **options: Unpack[StartOptions],
    ) -> Answer[Handle[R]]: ...
    @overload
    def start(
        self,
        workflow: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        /,
        *,
        id: str | None = None,
        connection: Any = None,
        **options: Unpack[StartOptions],
    ) -> Answer[Handle[Any]]: ...
    def start(
        self,
        workflow: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        /,
        *,
        id: str | None = None,
        connection: Any = None,
        **options: Unpack[StartOptions],
    ) -> Answer[Handle[Any]]:
        """Start a run, or attach to the one that has the id, open or ended. The answer comes when that is durable.

        Args:
            workflow: a call, `process_order(10, "acct")`; or a name, for a client that does not have the code.
            args, kwargs: with a name, the arguments.
            id: of your choice; None makes one. Of the runs of an id, one after the other, at most the newest is open.
            connection: one of the application's to the database of the runs, in whose transaction the run is started: it is there
                exactly if that commits. Of psycopg, asyncpg, sqlite3, aiosqlite, SQLAlchemy or Django.
            options: what to do if the id has a run, and more; `StartOptions` has them.

        Raises:
            errors.InvalidArguments: the arguments do not fit the workflow.
            errors.UnknownWorkflow: the engine that owns the database does not know it.
            errors.RunExists: the id belongs to a run that this start does not attach to, by its policies.
            errors.DefinitionError: an option makes no sense.
            errors.ConnectionUnfit: the run cannot be started in a transaction of that connection.
        """
        wish = self._wish(workflow, args, kwargs or {}, id, options)
        if connection is not None:
            from perdure.client.enlisting import EnlistedStart  # few starts need it

            return EnlistedStart(wish.id, wish.door, wish.definition, connection, wish.prepared)
        return Asked(f"start(...) of {wish.id!r}", wish.ask_for_start, wish.handle, patience=wish.patience())

    @overload
    def run(self, workflow: Call[R], /, *, id: str | None = None, **options: Unpack[StartOptions]) -> Answer[R]: ...
    @overload
    def run(
        self,
        workflow: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        /,
        *,
        id: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Answer[Any]: ...
    def run(
        self,
        workflow: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        /,
        *,
        id: str | None = None,
        **options: Unpack[StartOptions],
    ) -> Answer[Any]:
        """Start a run, or attach to the one that has the id, and wait for its result.

        Takes what `start` takes, and raises what `start` and `Handle.result` raise.
        """
        wish = self._wish(workflow, args, kwargs or {}, id, options)
        return Asked(
            f"run(...) of {wish.id!r}",
            wish.ask_for_end,
            wish.outcome,
            slow=wish.is_slow,
            endures=endures_outages(wish.door),
            patience=wish.patience(endless=True),
        )

    @overload
    def update_with_start(
        self,
        workflow: Call[Any],
        update: "Message[T]",
        /,
        *,
        id: str,
        update_id: str | None = None,
        **options: Unpack[StartOptions],
    ) -> "Answer[UpdateHandle[T]]": ...
    @overload
    def update_with_start(
        self,
        workflow: str,
        update: "Message[T]",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        /,
        *,
        id: str,
        update_id: str | None = None,
        **options: Unpack[StartOptions],
    ) -> "Answer[UpdateHandle[T]]": ...
    def update_with_start(
        self,
        workflow: Any,
        update: "Message[Any]",
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        /,
        *,
        id: str,
        update_id: str | None = None,
        **options: Unpack[StartOptions],
    ) -> "Answer[UpdateHandle[Any]]":
        """Send an update to the open run of an id, or begin one that hears it first, in the same transaction:
        `update_with_start(Cart.run(), Cart.add.message("pen"), id="cart-7")`. The answer comes when it is accepted.

        Args:
            workflow, args, kwargs, id, options: as for `start`; of the policies those hold that a `signal` brings.
            update: the message.
            update_id: names it among the updates of the run; None takes the `request_id`, or makes a name.

        Raises:
            errors.UpdateRejected: the validator has rejected it; a run that was begun goes on.
            errors.UnknownMessage, errors.InvalidArguments: the update cannot be taken; nothing was begun.
            Beside these what `start` raises.
        """
        wish = self._wish(workflow, args, kwargs or {}, id, options)
        if not isinstance(update, Message):
            raise errors.DefinitionError(
                f"an update with its arguments was expected, not {update!r}; write: Cart.add.message('pen')"
            )
        if wish.wishes.first is not None or wish.wishes.delay_ns:
            raise errors.DefinitionError(
                "update_with_start has its message, which lets a run begin at once: leave out signal and start_delay"
            )
        request_id = (wish.wishes.request_id or new_request()) if update_id is None else checked_id(update_id)
        said = Said("update", update, wish.definition)
        wish.wishes = with_message(wish.wishes, first_of(said, request_id, self._payload_max_bytes))

        def read(started: Started) -> "UpdateHandle[Any]":
            return UpdateHandle(wish.handle(started), request_id, started.key, said.result)

        return Asked(f"update_with_start(...) of {wish.id!r}", wish.ask_for_start, read, patience=wish.patience())

    @overload
    def handle(self, id: str, workflow: "WorkflowDefinition[P, R]", *, run_id: str | None = None) -> "Handle[R]": ...
    @overload
    def handle(self, id: str, workflow: type | None = None, *, run_id: str | None = None) -> "Handle[Any]": ...
    def handle(self, id: str, workflow: Any = None, *, run_id: str | None = None) -> "Handle[Any]":
        """A handle on the newest run of an id, or on the one with a certain `run_id` (32 hex digits).

        With the workflow (the function, the class, or its `run` method) its result has the workflow's type, else that of its
        JSON.
        """
        definition = None if workflow is None else _workflow_of(workflow)
        return Handle(self._opened(), checked_id(id), definition, run_id=checked_run_id(run_id))

    def attempt(self, token: str) -> AttemptHandle:
        """The attempt that `activity.token()` stands for, to be completed from outside."""
        return AttemptHandle(self._opened(), token, self._payload_max_bytes)

    @property
    def tasks(self) -> "Tasks":
        """What runs ask people: listed, claimed, released and completed."""
        from perdure.client.human import Tasks  # most programs ask nobody

        return Tasks(self._opened, self._payload_max_bytes)

    def list(
        self,
        *,
        status: "str | Sequence[str] | None" = None,
        workflow: str | None = None,
        id_prefix: str | None = None,
        limit: int = 100,
        state: "str | Sequence[str] | None" = None,
        attributes: "Mapping[str, AttributeValue | Between] | None" = None,
        parent: str | None = None,
        root: str | None = None,
    ) -> "Answer[Sequence[RunSummary]]":
        """Runs, newest first: those that meet all conditions, at most `limit`. `state` is another word for `status`.

        `attributes` are values that runs have, or a `Between`; of a list of texts they have each. A value fits only
        values of its own type. `parent` is the id of runs whose children are meant; `root` that of runs which are nobody's
        child, and are meant with all their descendants.
        """
        wanted = RunFilter(
            statuses=statuses_of(status, state),
            workflow=workflow,
            id_prefix=id_prefix,
            limit=limit,
            attributes=wanted_of(attributes, "list"),
            parent=parent,
            root=root,
        )
        return self._looked("list", lambda: summaries(self.store.views, wanted))

    def count(
        self,
        *,
        status: "str | Sequence[str] | None" = None,
        workflow: str | None = None,
        id_prefix: str | None = None,
        state: "str | Sequence[str] | None" = None,
        attributes: "Mapping[str, AttributeValue | Between] | None" = None,
        parent: str | None = None,
        root: str | None = None,
    ) -> Answer[int]:
        """How many runs meet all conditions: exact up to 10,000, then 10,001. Conditions as in `list`."""
        wanted = RunFilter(
            statuses=statuses_of(status, state),
            workflow=workflow,
            id_prefix=id_prefix,
            attributes=wanted_of(attributes, "count"),
            parent=parent,
            root=root,
        )
        return self._looked("count", lambda: self.store.views.count(wanted))

    def _looked(self, verb: str, look: Callable[[], R]) -> Answer[R]:
        return Looked(f"{verb}(...)", lambda: looking(self._opened(), look))

    def _wish(
        self, workflow: Any, args: Sequence[Any], kwargs: Mapping[str, Any], id: str | None, options: Mapping[str, Any]
    ) -> "_Wish":
        """Check what is asked for and make it bytes, before anything happens."""
        if isinstance(workflow, Call):
            workflow.take()  # it was used, even if nothing comes of it
        wishes, signal = wishes_of(options), options.get("signal")
        self._opened().demand_open()
        if not isinstance(args, Sequence) or isinstance(args, str | bytes) or not isinstance(kwargs, Mapping):
            raise errors.InvalidArguments(
                f"arguments are a list by position and a dict by name, not {args!r} and {kwargs!r}; "
                'write: start("process_order", [10, "acct"], {"item": "x"})'
            )
        if isinstance(workflow, Call):
            if args or kwargs:
                raise errors.InvalidArguments(
                    f"{workflow!r} has its arguments, and was given more beside it: {[*args, *kwargs]!r}; write them into the call"
                )
            definition = workflow.definition
            if not isinstance(definition, WorkflowDefinition):
                raise errors.DefinitionError(
                    f"{definition.name!r} is an activity; start a workflow that awaits it, or await it directly"
                )
            if workflow.options is not None:
                raise errors.DefinitionError(
                    f"with_options(...) of {definition.name!r} is for a child, in a workflow; here options go beside the "
                    f'call: start({workflow!r}, id="...", ...)'
                )
            self._demand_code(definition)
            name, data = definition.name, definition.parameters.encode(workflow.args, workflow.kwargs)
        elif isinstance(workflow, str):
            definition = self._definition(workflow)
            name, data = workflow, self._encoded(workflow, definition, tuple(args), dict(kwargs))
        elif isinstance(workflow, WorkflowDefinition):
            raise errors.DefinitionError(f"{workflow.name} is the workflow itself; call it: {workflow.name}(...)")
        else:
            raise errors.DefinitionError(
                f"a call of a workflow was expected, like process_order(10), or a workflow's name, not {workflow!r}"
                f"{_advice(workflow)}"
            )
        if signal is not None:
            first = first_of(Said("signal", signal, definition), wishes.request_id, self._payload_max_bytes)
            wishes = with_message(wishes, first)
        return _Wish(self._door, name, definition, data, id, wishes, self._payload_max_bytes)

    def _demand_code(self, definition: "WorkflowDefinition[Any, Any]") -> None:
        """Refuse to run other code than the caller shows, as when a notebook has defined a workflow anew."""
        known = self._definition(definition.name)
        if known is not None and known is not definition and known.fn.__code__ != definition.fn.__code__:
            raise errors.DefinitionError(
                f"this engine was given another workflow {definition.name!r}: that at {known.source}, "
                f"not that at {definition.source}; make a new engine with it"
            )

    def _definition(self, name: str) -> "WorkflowDefinition[Any, Any] | None":
        """The workflow of a name, if its code is here."""
        return None

    def _encoded(self, name: str, definition: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        owner = f"workflow {name}"
        if definition is not None:
            published = definition.parameters.published() if args and kwargs else None
            data = encode_untyped(published, args, kwargs, owner=owner)
            try:
                return definition.parameters.encode(*definition.parameters.decode(data))
            except errors.PayloadNotDecodable as misfit:
                raise errors.InvalidArguments(str(misfit)) from None
        published = next(
            (row.parameters for row in self.store.views.definitions() if row.kind == "workflow" and row.name == name),
            None,
        )
        return encode_untyped(_json(published), args, kwargs, owner=owner)


class _Wish:
    """A start that was found sound. `blobs` are the bytes of large arguments.

    Its methods are what an `Asked` needs: there are as many of them as there are callers who wait.
    """

    __slots__ = (
        "blobs",
        "data",
        "definition",
        "door",
        "id",
        "input",
        "is_drawn",
        "most",
        "request",
        "wishes",
        "workflow",
    )

    def __init__(
        self,
        door: Door,
        workflow: str,
        definition: "WorkflowDefinition[Any, Any] | None",
        data: bytes,
        id: str | None,
        wishes: Wishes,
        most: int,
    ) -> None:
        self.door = door
        self.wishes = wishes
        self.request: StartRequest | None = None
        self.workflow = workflow
        self.definition = definition
        self.is_drawn = id is None
        self.id = f"{workflow}-{new_id()[:8].hex()}"[-ID_CHARS:] if id is None else checked_id(id)
        self.blobs: dict[bytes, bytes] = {}
        self.most = most
        self.data = data
        what = f"the arguments of workflow {workflow}"
        self.input = Payload(b"") if self.is_slow else seal(data, self.blobs.__setitem__, most, what)

    def patience(self, endless: bool = False) -> Patience:
        """A start is known by the number of its run, and so is what goes with it; but for a signal without a request that is said to a
        run which is there already."""
        first = self.wishes.first
        return patience_of(self.door, not (isinstance(first, msg.Signal) and not first.request_id), endless)

    @property
    def is_slow(self) -> bool:
        """Whether a codec has to see the arguments, and the result: not on the caller's loop."""
        return self.door.coder.codec is not None

    def ask_for_start(self, receiver: Receiver) -> None:
        self._ask(receiver, False)

    def ask_for_end(self, receiver: Receiver) -> Callable[[], object]:
        return self._ask(receiver, True).give_up

    def _ask(self, receiver: Receiver, until_end: bool) -> StartRequest:
        sent = None if self.request is None else self.request.sent  # it is asked again
        request = StartRequest(
            self.id, self.workflow, self.input, self.blobs, receiver, until_end, self.wishes, self.is_drawn, sent
        )
        self.request = request
        if self.is_slow:
            self.door.beside(lambda: self._encode_and_start(request))
        else:
            self.door.start(request, self.definition)
        return request

    def prepared(self) -> StartRequest:
        """The request, for somebody who waits for no receiver. May block."""
        request = StartRequest(self.id, self.workflow, self.input, self.blobs, _Nobody(), False, self.wishes)
        if self.is_slow:
            self._encode(request)
        return request

    def _encode(self, request: StartRequest) -> None:
        blobs: dict[bytes, bytes] = {}
        what = f"the arguments of workflow {self.workflow}"
        request.input = self.door.coder.seal(self.data, blobs.__setitem__, self.most, what)
        request.blobs = blobs
        request.wishes = sealed(self.wishes, self.door.coder)

    def _encode_and_start(self, request: StartRequest) -> None:
        try:
            self._encode(request)
            self.door.start(request, self.definition)
        except BaseException as error:  # noqa: BLE001  it belongs to whoever asked
            give(request.receiver, None, error)

    def handle(self, started: Any) -> Handle[Any]:
        return Handle(self.door, self.id, self.definition, started.key, started.attached, started.run_id.hex())

    def outcome(self, end: Any) -> Any:
        return looking(self.door, lambda: self._outcome(end))

    def _outcome(self, end: Any) -> Any:
        with told_as_damage(self.id):
            store, coder = self.door.store, self.door.coder
            if isinstance(end, Started):  # it was at rest when it was found
                return outcome_of(store, self.id, end.key, None, self.definition, end.attached, coder)
            if end is None:
                assert self.request is not None
                return outcome_of(store, self.id, self.request.key, None, self.definition, coder=coder)
            return outcome_of(store, self.id, end.key, end.event, self.definition, coder=coder)


class _Nobody:
    """The receiver of a request that is answered otherwise."""

    loop: asyncio.AbstractEventLoop | None = None

    def receive(self, value: Any, error: BaseException | None) -> None: ...


def _workflow_of(thing: Any) -> "WorkflowDefinition[Any, Any]":
    """The workflow that a handle is given.

    Raises:
        DefinitionError: it is none.
    """
    if isinstance(thing, WorkflowDefinition):
        return thing
    if isinstance(thing, type):
        with suppress(errors.DefinitionError):
            return next(iter(definitions_of([thing])[0].values()))
    raise errors.DefinitionError(
        f"a handle takes the id of a run and a workflow, as in handle('loan-7', Loan), and was given {thing!r}; for the name of a "
        "workflow leave it out"
    )


def _advice(found: Any) -> str:
    """What to write instead of a thing that is no call."""
    kind = found if isinstance(found, type) else type(found)
    try:
        for definition in definitions_of([kind])[0].values():
            return f"; write: {kind.__name__}.{definition.fn.__name__}(...)"
    except errors.DefinitionError:
        pass  # it is no workflow class
    if inspect.iscoroutine(found):
        return "; is @workflow missing? (of a workflow class the method is called on the class, not on an instance)"
    return ""


def _json(published: bytes | None) -> Any:
    return None if published is None else msgspec.json.decode(published)

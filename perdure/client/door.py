"""The way to the runs of a store: through the database, which works from any process, or straight to an owner in this one."""

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from perdure import errors
from perdure.kernel import messages as msg
from perdure.kernel.events import Payload, RunStarted
from perdure.kernel.ids import Claim, claim
from perdure.kernel.limits import PAYLOAD_MAX_BYTES
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.payload import PLAIN, Coder
from perdure.runtime.answers import Awaited
from perdure.runtime.attaching import Begun, begin_of, demand_same, demand_workflow, taken
from perdure.runtime.clock import Clock
from perdure.runtime.letters import Heard, Letter, Started, StartRequest
from perdure.runtime.outage import Outage
from perdure.runtime.outbox import Outbox, Receiver
from perdure.runtime.refusals import error_of, heard_of
from perdure.runtime.threads import ASKING_AT_ONCE, Threads
from perdure.runtime.waiters import Waiters, rests
from perdure.runtime.world import World
from perdure.stores.base import MailRow, ReplyRow, Store

if TYPE_CHECKING:
    from perdure.runtime.member import Member  # costly to import, and a client has none

T = TypeVar("T")
_log = logging.getLogger("perdure")

REPLY_SECONDS = 10.0
"""How long a reply of a living owner is waited for. What was asked is in the mailbox, and will be heard all the same."""

TAKEOVER_SECONDS = 2.0
"""How long after its death another owner is waited for, which has the mailbox then."""

CLOCK_SECONDS = 60.0
"""How often a client asks what time it is, at most."""

_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.05
_WATCH_SECONDS = (0.01, 0.2)
"""How often a client looks whether the runs it waits for have ended: at first, and after a while."""


class Door(Protocol):
    """What the verbs need. `coder` reads and writes payloads, none larger than `payload_max_bytes`."""

    store: Store
    coder: Coder
    payload_max_bytes: int

    def start(self, request: StartRequest, definition: Any) -> None:
        """Start or attach; the request's receiver is told."""
        ...

    def watch(self, key: int, id: str, receiver: Receiver) -> Callable[[], object]:
        """Tell the receiver when the run is at rest, or is not there under this key. Gives what ends the watch."""
        ...

    def tell(self, row: RunRow, message: msg.Mail) -> None:
        """Send a message and wait until it was taken, if somebody is there to take it.

        Raises:
            errors.PerdureError: it was refused.
        """
        ...

    def send(self, row: RunRow, message: msg.Mail, receiver: Receiver) -> None:
        """Send a message of which the receiver gets a `Heard`, or an error."""
        ...

    def watch_update(self, key: int, id: str, receiver: Receiver, awaited: Awaited) -> Callable[[], object]:
        """Tell the receiver when there is an answer to an update, or there can be none any more. Gives what ends the watch."""
        ...

    def is_blocked(self, row: RunRow) -> bool:
        """Whether the run cannot go on with the code at hand, nor with any that is about to be tried."""
        ...

    def beside(self, call: Callable[[], None]) -> None:
        """Make a call that may block, and does not raise, on a thread that may wait."""
        ...

    def demand_open(self) -> None:
        """Raises errors.EngineNotRunning if this door is closed."""
        ...

    def now(self) -> int:
        """Nanoseconds since the epoch, by the clock that the runs go by."""
        ...


def checked_address(store: "str | Store") -> "str | Store":
    """The store or its address, if it can be one.

    Raises:
        errors.DefinitionError: it cannot.
    """
    if isinstance(store, str) or hasattr(store, "admin"):
        return store
    name = os.fspath(store) if isinstance(store, os.PathLike) else "orders.db"
    raise errors.DefinitionError(f'a store is named by its address, such as "sqlite:///{name}", not by {store!r}')


class DatabaseDoor:
    """Through the database alone: mail in, replies and rows out. `closes`: the store is this door's own."""

    def __init__(
        self,
        store: Store,
        closes: bool = True,
        coder: Coder = PLAIN,
        payload_max_bytes: int = PAYLOAD_MAX_BYTES,
        world: World | None = None,
    ) -> None:
        self.store = store
        self.coder = coder
        self.payload_max_bytes = payload_max_bytes
        self._closes = closes
        self._threads = Threads("perdure-client", ASKING_AT_ONCE)
        self._waiters = Waiters()
        self._world = world or World()
        self._clock, self._clock_at = Clock(self._world, _log), 0.0
        self._lock = threading.Lock()
        self._watching = False
        self._closed = False

    def demand_open(self) -> None:
        if self._closed:
            raise errors.EngineNotRunning("this client is closed; make another one")

    def now(self) -> int:
        """By the store's clock, if it has one."""
        monotonic = self._world.monotonic()
        if monotonic >= self._clock_at:
            self._clock_at = monotonic + CLOCK_SECONDS
            with contextlib.suppress(errors.StoreError):
                self._clock.ask(self.store.admin)
        return self._world.now()

    def is_blocked(self, row: RunRow) -> bool:
        return self._waiters.is_blocked(row)

    def beside(self, call: Callable[[], None]) -> None:
        self._threads.run(call)

    def start(self, request: StartRequest, definition: Any) -> None:
        self._threads.run(lambda: _start(self, self._waiters, request, definition))

    def watch(self, key: int, id: str, receiver: Receiver) -> Callable[[], object]:
        with self._lock:
            self.demand_open()
            self._waiters.add(key, id, receiver)
            self._watch()
        return lambda: self._waiters.remove(key, receiver)

    def watch_update(self, key: int, id: str, receiver: Receiver, awaited: Awaited) -> Callable[[], object]:
        with self._lock:
            self.demand_open()
            self._waiters.answers.add(key, id, receiver, awaited)
            self._watch()
        return lambda: self._waiters.answers.remove(key, id, receiver)

    def _watch(self) -> None:
        if not self._watching:
            self._watching = True
            threading.Thread(target=self._look, name="perdure-watch", daemon=True).start()

    def _look(self) -> None:
        outbox = Outbox()
        pause, longest = _WATCH_SECONDS
        outage = Outage(self._world, _log, self.store.membership is not None, lambda: self._closed)
        try:
            while True:
                try:
                    self._waiters.look(self.store.views, outbox)
                    self._waiters.answers.look(self.store, outbox, self._waiters.is_blocked)
                    outage.over()
                except errors.StoreUnreachable as error:  # who waits goes on to wait, if others keep the database
                    if not outage.failed(error, 0):
                        raise
                outbox.flush()
                with self._lock:
                    if not (len(self._waiters) or len(self._waiters.answers)) or self._closed:
                        self._watching = False
                        return
                time.sleep(pause)
                pause = min(pause * 1.2, longest)
        except errors.StoreError as error:
            with self._lock:
                self._watching = False
            self._waiters.fail(error, outbox)
            self._waiters.answers.fail(error, outbox)
            outbox.flush()

    def tell(self, row: RunRow, message: msg.Mail) -> None:
        tell_by_mail(self.store, row, message)

    def send(self, row: RunRow, message: msg.Mail, receiver: Receiver) -> None:
        self.demand_open()
        self._threads.run(lambda: _send(self, row, message, receiver))

    def close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
        outbox = Outbox()
        closed = errors.EngineNotRunning("the client was closed before the run ended")
        self._waiters.fail(closed, outbox)
        self._waiters.answers.fail(closed, outbox)
        outbox.flush()
        self._threads.close()
        if self._closes:
            self.store.admin.close()


class EngineDoor:
    """Straight to the owner in this process, if this process owns; else, standing by, through the database.

    `loop` is where `async def` activities run, if that is the application's loop and not the engine's own.
    """

    def __init__(
        self,
        store: Store,
        member: "Member",
        loop: asyncio.AbstractEventLoop | None = None,
        coder: Coder = PLAIN,
        payload_max_bytes: int = PAYLOAD_MAX_BYTES,
    ) -> None:
        self.store = store
        self.coder = coder
        self.payload_max_bytes = payload_max_bytes
        self._member = member
        self._loop = loop
        self._threads = Threads("perdure-client", ASKING_AT_ONCE)

    def demand_open(self) -> None:
        stopped = self._member.told()
        if stopped is not None:
            raise stopped

    def now(self) -> int:
        return self._member.now()

    def is_blocked(self, row: RunRow) -> bool:
        return self._member.waiters.is_blocked(row)

    def beside(self, call: Callable[[], None]) -> None:
        self._threads.run(call)

    @property
    def busy(self) -> int:
        """How many calls are made beside, now."""
        return self._threads.busy

    def _loop_fault(self) -> errors.EngineNotRunning | None:
        """Nobody is to wait for the end of a run whose activities cannot begin."""
        if self._loop is None or self._loop.is_running():
            return None
        return errors.EngineNotRunning(
            "the event loop that entered this engine is not running, so its async activities cannot run; enter the "
            "engine on the loop that uses it (async with Engine(...) in the same asyncio.run; a fixture with the "
            "loop scope of its tests), or on none: with Engine(...)"
        )

    def start(self, request: StartRequest, definition: Any) -> None:
        self.demand_open()
        fault = self._loop_fault() if request.until_end else None
        if fault is not None:
            raise fault
        request.elsewhere = lambda: self._threads.run(lambda: _start(self, self._member.waiters, request, definition))
        if not self._member.ask(request):
            request.elsewhere()

    def watch(self, key: int, id: str, receiver: Receiver) -> Callable[[], object]:
        self.demand_open()
        waiters = self._member.waiters
        while True:
            waiters.add(key, id, receiver)
            try:
                row = self.store.views.end_of_chain(key)
            except BaseException:
                waiters.remove(key, receiver)
                raise
            if row is not None and row.id != id:
                row = None
            if row is None or row.key == key or not waiters.remove(key, receiver):
                break
            key = row.key  # it goes on as another run
        if row is None or (row.key == key and waiters.rests(row)):
            if waiters.remove(key, receiver):
                give(receiver, None, None)
        else:
            fault = self._member.stopped() or self._loop_fault()
            if fault is not None and waiters.remove(key, receiver):
                give(receiver, None, fault)
        return lambda: waiters.remove(key, receiver)

    def watch_update(self, key: int, id: str, receiver: Receiver, awaited: Awaited) -> Callable[[], object]:
        self.demand_open()
        answers = self._member.waiters.answers
        answers.add(key, id, receiver, awaited)
        stopped = self._member.stopped()
        if stopped is not None and answers.remove(key, id, receiver):
            give(receiver, None, stopped)
        return lambda: answers.remove(key, id, receiver)

    def send(self, row: RunRow, message: msg.Mail, receiver: Receiver) -> None:
        self.demand_open()

        def by_mail() -> None:
            self._threads.run(lambda: _send(self, row, message, receiver))

        if not self._member.ask(Letter(row.key, message, receiver=receiver, elsewhere=by_mail)):
            by_mail()

    def tell(self, row: RunRow, message: msg.Mail) -> None:
        self.demand_open()
        looking(self, lambda: tell_by_mail(self.store, row, message))

    def close(self) -> None:
        self._threads.close()


def endures_outages(door: Door) -> bool:
    """Whether those who wait for an answer wait for the store as well, if it is away when the answer is to be read."""
    return door.store.membership is not None


def looking(door: Door, look: Callable[[], T]) -> T:
    """What a look into the store gives. If it fails because the engine has stopped meanwhile, that says more."""
    try:
        return look()
    except errors.StoreError:
        door.demand_open()
        raise


def _start(door: Door, waiters: Waiters, request: StartRequest, definition: Any) -> None:
    """Start through the database, and tell the receiver, at once or when the run is at rest. On a thread that may wait."""
    try:
        started = start_by_mail(door.store, request, definition, door.coder, door.now())
        if not request.until_end or started.at_rest:
            give(request.receiver, started, None)
        else:
            request.key = started.key  # before anybody can be told to look there
            door.watch(started.key, request.id, request.receiver)
            request.watched(waiters, started.key)
    except BaseException as error:  # noqa: BLE001  it belongs to whoever asked
        give(request.receiver, None, error)


def _send(door: Door, row: RunRow, message: msg.Mail, receiver: Receiver) -> None:
    """Through the database, on a thread that may wait."""
    try:
        give(receiver, looking(door, lambda: heard_by_mail(door.store, row, message)), None)
    except BaseException as error:  # noqa: BLE001  it belongs to whoever asked
        give(receiver, None, error)


def give(receiver: Receiver, value: Any, error: BaseException | None) -> None:
    outbox = Outbox()
    outbox.answer(receiver, value, error)
    outbox.flush()


def start_by_mail(
    store: Store, request: StartRequest, definition: Any, coder: Coder = PLAIN, now: int | None = None
) -> Started:
    """Queue a run in the database and wait for its owner's word, if there is one; or attach to the run of that id.

    Raises:
        errors.PerdureError: the owner refuses it, or the id belongs to something else.
    """
    token = os.urandom(8).hex()
    owned = bool(store.views.owners())
    if not owned and isinstance(request.wishes.first, msg.Update):
        raise _nobody(store, request.workflow)
    row, start = submission_of(request, owned, time.time_ns() if now is None else now)
    run_id, wishes = row.run_id, request.wishes
    found = store.post.submit(row, MailRow(0, 0, start, token if owned else ""))
    if found.run_id != run_id:
        started = _attached(store, request, found, definition, coder)
        if wishes.first is None or (wishes.request_id and found.request == wishes.request_id):
            return started
        heard = heard_by_mail(store, store.views.rows_by_key([started.key])[started.key], wishes.first)
        if heard.code == errors.RunClosed.code:  # it has ended since
            return start_by_mail(store, request, definition, coder, now)
        if heard.code:
            raise error_of(heard)
        return started
    store.post.nudge((found.key,))
    if owned and not _await_reply(store, token) and isinstance(wishes.first, msg.Update):
        raise _late(row, wishes.first)
    return Started(found.key, run_id)


def submission_of(request: StartRequest, refuse_by_reply: bool, now: int) -> tuple[RunRow, msg.Start]:
    """The row of the run that is wished for, and its Start, which has all of its arguments."""
    input = request.input
    if input.ref:
        input = Payload((request.blobs or {})[input.data], input.encoding)
    run_id = os.urandom(16)
    wishes = request.wishes
    row = RunRow(0, request.id, run_id, request.workflow, Status.QUEUED, "", "", now, None, None, 0)
    row.request = wishes.request_id
    row.wake_at = row.started_at + wishes.delay_ns if wishes.delay_ns else None
    start = msg.Start(
        request.workflow,
        input,
        run_id,
        "",
        refuse_by_reply,
        wishes.terms,
        wishes.id_conflict,
        wishes.id_reuse,
        wishes.chosen,
        wishes.memo,
        wishes.first,
    )
    return row, start


def _attached(store: Store, request: StartRequest, found: RunRow, definition: Any, coder: Coder) -> Started:
    """A run has the id: the start attaches to it, if it was made by the same request or if the policies say so."""
    wishes = request.wishes
    if not wishes.request_id or found.request != wishes.request_id:
        first = found.chain or found.key  # what it goes on as may have other arguments
        judged(request, found, partial(begin_of, store, first), partial(_stored_blob, store, first), definition, coder)
    end = store.views.end_of_chain(found.key) or found
    return Started(end.key, found.run_id, attached=True, at_rest=rests(end))


def judged(
    request: StartRequest,
    found: RunRow,
    began: Callable[[], RunStarted | msg.Start | None],
    stored: Callable[[bytes], bytes],
    definition: Any,
    coder: Coder,
) -> None:
    """Whether a start attaches to the run that has its id. `began`: what the first run of its chain was started with;
    `stored`: a payload of that one.

    Raises:
        errors.RunExists: it does not.
    """
    begin = began() if found.chain else None
    workflow = found.workflow if begin is None else begin.workflow
    theirs_is = request.workflow if workflow in getattr(definition, "aliases", ()) else workflow
    match claim(found.status, request.wishes.id_conflict, request.wishes.id_reuse):
        case Claim.ATTACH:
            demand_workflow(request.id, request.workflow, theirs_is)
        case Claim.ATTACH_IF_SAME:
            sent = (request.blobs or {}).__getitem__
            ours = Begun(request.workflow, request.input, lambda payload: coder.unseal(payload, sent))
            begin = begin or began()
            input = None if begin is None else begin.input
            theirs = Begun(theirs_is, input, lambda payload: coder.unseal(payload, stored))
            demand_same(request.id, ours, theirs, definition)
        case _:
            raise taken(request.id, found.status, request.wishes.id_reuse)


def _stored_blob(store: Store, key: int, digest: bytes) -> bytes:
    return store.views.blob(key, digest) or b""


def tell_by_mail(store: Store, row: RunRow, message: msg.Mail) -> None:
    """Send a message through the database. A blocked run takes its cancellation, or a result, when it is released: that
    is not waited for, nor is an owner that does not live."""
    heard = heard_by_mail(store, row, message)
    if heard.code:
        raise error_of(heard)


def heard_by_mail(store: Store, row: RunRow, message: msg.Mail) -> Heard:
    """The same; what became of it, nothing bad if that is not waited for."""
    asks = isinstance(message, msg.Query | msg.Update)
    if asks and not store.views.owners():
        raise _nobody(store, row.workflow)
    if isinstance(message, msg.Signal) and row.status >= Status.COMPLETED and not store.views.owners():
        refused = _refused_for_ever(store, row, message)
        if refused is not None:
            return refused
    waits = asks or (not _sleeps(row, message) and bool(store.views.owners()))
    token = os.urandom(8).hex() if waits else ""
    store.post.send(MailRow(0, row.key, message, token))
    store.post.nudge((row.key,))
    if not waits:
        return Heard()
    sleeps = lambda: _sleeps(store.views.rows_by_key([row.key]).get(row.key, row), message)  # noqa: E731
    reply = _awaited_reply(store, token, sleeps)
    if reply is not None:
        return Heard(reply.code, reply.error, reply.data)
    if asks or (isinstance(message, msg.Signal) and bool(store.views.owners()) and not sleeps()):
        raise _late(row, message)
    return Heard()


def _refused_for_ever(store: Store, row: RunRow, signal: msg.Signal) -> Heard | None:
    """What speaks against a signal to a run that has ended and does not go on: no engine is needed to say so. None: nothing, as
    the run goes on as another one, or has received the same request before."""
    from perdure.kernel import wire  # only here is a history read
    from perdure.kernel.decide import Refused, decide
    from perdure.kernel.project import restore
    from perdure.stores.health import told_as_damage

    stored = store.views.stored(row.key)
    if stored is None or stored.run.followed_by > 0:
        return None
    with told_as_damage(row.id):
        run = restore(stored.run, wire.decode_history(stored.history), stored.attempts)
    try:
        decide(run, signal, time.time_ns())
    except Refused as refused:
        return heard_of(refused)
    return None


def _nobody(store: Store, workflow: str) -> errors.EngineNotRunning:
    return errors.EngineNotRunning(
        f"no engine owns {store.address}, so that nobody can answer; start one, with the workflow {workflow!r}"
    )


def _late(row: RunRow, message: msg.Mail) -> errors.WaitedTooLong:
    """What was sent lies in the mailbox: sent again it would be another message, unless it is the same request."""
    who = f"the engine has died, or has not answered within {REPLY_SECONDS:g} s"
    if isinstance(message, msg.Query):
        return errors.WaitedTooLong(f"{who}; ask again")
    if isinstance(message, msg.Update):
        return errors.WaitedTooLong(
            f"{who}; the update {message.id!r} is in the mailbox of run {row.id!r}, which hears it when it can: ask for its answer, "
            f"handle.update_handle({message.id!r}).result(), or send it again as the same request, handle.as_request({message.id!r})"
        )
    return errors.WaitedTooLong(
        f"{who}; the signal is in the mailbox of run {row.id!r}, which hears it when it can. To be able to send it again, name the "
        "request: handle.as_request(...)"
    )


def _sleeps(row: RunRow, message: msg.Mail) -> bool:
    """Whether the message has to wait until the run is released."""
    return row.status in (Status.BLOCKED, Status.QUARANTINED) and not isinstance(message, _HEARD_BLOCKED)


_HEARD_BLOCKED = (msg.Retry, msg.Terminate, msg.Move, msg.Update, msg.Query)
"""Messages that somebody answers even if the run is blocked."""


def _await_reply(store: Store, token: str) -> bool:
    """Whether the owner has answered. Raises what it was refused with."""
    reply = _awaited_reply(store, token, lambda: False)
    if reply is not None and reply.code:
        raise error_of(Heard(reply.code, reply.error, reply.data))
    return reply is not None


def _awaited_reply(store: Store, token: str, sleeps: Callable[[], bool]) -> ReplyRow | None:
    """Until an owner answers, there is none, or it cannot read the message for as long as the run `sleeps`."""
    pause = _FIRST_PAUSE_SECONDS
    end = time.monotonic() + REPLY_SECONDS
    orphaned_at: float | None = None
    while True:
        now = time.monotonic()
        try:
            reply = store.post.take_reply(token)
            if reply is not None or now > end:
                return reply
            if pause >= _LONGEST_PAUSE_SECONDS:
                if sleeps():
                    return None
                if store.views.owners():
                    orphaned_at = None
                elif orphaned_at is None:
                    orphaned_at = now
                elif now - orphaned_at > TAKEOVER_SECONDS:
                    return None
        except errors.StoreUnreachable:  # what was asked is written; a database that others keep comes back
            if store.membership is None or now > end:
                raise
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)

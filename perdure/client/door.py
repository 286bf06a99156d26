"""The way to the runs of a store: through the database, which works from any process, or straight to an owner in this one."""

import asyncio
import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from perdure import errors
from perdure.client.mailing import heard_by_mail, said, start_by_mail, tell_by_mail
from perdure.client.patience import NONE, PATIENCE_SECONDS, Patience
from perdure.kernel import messages as msg
from perdure.kernel.limits import PAYLOAD_MAX_BYTES
from perdure.kernel.project import RunRow
from perdure.payload import PLAIN, Coder
from perdure.runtime.answers import Awaited
from perdure.runtime.clock import Clock
from perdure.runtime.letters import Letter, StartRequest
from perdure.runtime.outage import Outage
from perdure.runtime.outbox import Outbox, Receiver
from perdure.runtime.threads import ASKING_AT_ONCE, Threads
from perdure.runtime.waiters import Waiters
from perdure.runtime.world import World
from perdure.stores.base import Store

if TYPE_CHECKING:
    from perdure.runtime.member import Member  # costly to import, and a client has none

T = TypeVar("T")
_log = logging.getLogger("perdure")

CLOCK_SECONDS = 60.0
"""How often a client asks what time it is, at most."""

_WATCH_SECONDS = (0.01, 0.2)
"""How often a client looks whether the runs it waits for have ended: at first, and after a while."""


class Door(Protocol):
    """What the verbs need. `coder` reads and writes payloads, none larger than `payload_max_bytes`. `patience_seconds`: how long a store
    that is away is waited for; `asks_beside`: asking it takes its time, and must not be done on a loop."""

    store: Store
    coder: Coder
    payload_max_bytes: int
    patience_seconds: float
    asks_beside: bool

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
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.store = store
        self.coder = coder
        self.payload_max_bytes = payload_max_bytes
        self.patience_seconds = patience_seconds
        self.asks_beside = store.membership is not None
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
                    if error._lasts or not outage.failed(error, 0):
                        raise  # to those who wait: nobody else may look at the log of a client
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
        self.patience_seconds = PATIENCE_SECONDS
        self.asks_beside = False
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
    """Whether those who wait for an answer wait for the store as well, if it is away when it is asked for, or to be read."""
    return door.store.membership is not None


def patience_of(door: Door, repeatable: bool = True, endless: bool = False) -> Patience:
    """How long a call waits for a store that is away. `endless`: as long as for the answer, since that takes its time anyway."""
    if not endures_outages(door):
        return NONE
    return Patience(math.inf if endless else door.patience_seconds, repeatable)


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
            with said(nothing=False):
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

"""Runs in memory: each an actor with its state, its program while that stands, and what is not committed yet."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from perdure.errors import StoreCorrupt
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.limits import PAYLOAD_INLINE_BYTES
from perdure.kernel.program import Program
from perdure.kernel.project import restore
from perdure.kernel.run import Run, evolve
from perdure.payload.sealing import kept
from perdure.runtime.coding import Coding, Get, plain
from perdure.runtime.membership import Foreign, Holdings
from perdure.stores.base import BlobRow, OwnershipLost, Store, Stored
from perdure.stores.health import told_as_damage
from perdure.stores.membership import Claimed

HISTORIES_EVENTS = 100_000
"""So many events of histories are read ahead for a batch."""


class Actor:
    """One run. `events` have happened since the last commit, when its history held `seq` events.

    `blobs` are bytes to be written with the next commit. `alarm` is the wake-up that is set for it, 0 for none.
    `told_outside`: somebody with a token has brought the result of an attempt, which may be in the air still.
    `claims` is what its claim has said, where several owners share the store.
    `stored` is the history it was made from, kept only until the batch in which it came into memory is settled.
    It is what a program gets as `Blobs`: what a run put is its own, so the run's number need not be asked.
    """

    __slots__ = (
        "_store",
        "alarm",
        "blobs",
        "claims",
        "coding",
        "events",
        "is_new",
        "program",
        "run",
        "seq",
        "stored",
        "told_outside",
    )

    def __init__(
        self, run: Run, store: Store, is_new: bool = False, stored: list[ev.HistoryEvent] | None = None
    ) -> None:
        self.run = run
        self.seq = run.seq
        self.stored = stored
        self.is_new = is_new
        self.program: Program | None = None
        self.events: list[ev.Event] = []
        self.blobs: dict[bytes, bytes] | None = None
        self.alarm = 0
        self.claims = 0
        self.told_outside = False
        self.coding: Coding | None = None
        self._store = store

    def fold(self, event: ev.Event) -> None:
        evolve(self.run, event)
        self.events.append(event)

    def blob(self, digest: bytes) -> bytes:
        """The bytes behind a payload with `ref`. From any thread."""
        if self.blobs is not None and digest in self.blobs:
            return self.blobs[digest]
        data = self._store.views.blob(self.run.key, digest)
        if data is None:
            raise StoreCorrupt(
                f"run {self.run.id!r}: the payload sha256:{digest.hex()} is not in the database; restore a backup"
            )
        return data

    def plain(self, payload: ev.Payload) -> bytes:
        return plain(self.coding, payload, self.blob)

    def put(self, run_id: bytes, digest: bytes, data: bytes) -> None:
        if self.blobs is None:
            self.blobs = {}
        self.blobs[digest] = data

    def set_apart(self, payload: ev.Payload) -> ev.Payload:
        """A client sends large bytes in its letter; in the history they are a reference."""
        if payload.ref or len(payload.data) <= PAYLOAD_INLINE_BYTES:
            return payload
        data, ref = kept(payload.data, lambda digest, data: self.put(b"", digest, data))
        return ev.Payload(data, payload.encoding, ref)

    def drop(self, payload: ev.Payload) -> None:
        """What was set apart just now is not going to be in the history."""
        if payload.ref and self.blobs is not None:
            self.blobs.pop(payload.data, None)

    def take_blobs(self) -> list[BlobRow]:
        blobs, self.blobs = self.blobs, None
        return [BlobRow(self.run.key, digest, data) for digest, data in (blobs or {}).items()]

    def history(self) -> list[ev.HistoryEvent]:
        """All of it: what the store holds, then what is not committed yet.

        Raises:
            OwnershipLost: another owner of the store has gone on with the run, so this one is taken for dead.
        """
        events = self.stored
        if events is None or len(events) != self.seq:  # it has gone on since it was read
            stored = self._store.work.load([self.run.key]) if self.seq else {}
            events = wire.decode_history(stored[self.run.key].history) if stored else []
            if len(events) != self.seq and self._store.membership is not None:
                raise OwnershipLost(
                    f"run {self.run.id!r} has {len(events)} events, and {self.seq} as this owner knows it"
                )
        return events + [event for event in self.events if type(event) not in ev.STATUS]  # type: ignore[misc]

    def let_go(self) -> None:
        """Drop the program; it is made again from the history when it is needed."""
        program, self.program = self.program, None
        if program is not None:
            program.close()

    @property
    def is_parked(self) -> bool:
        """Whether the run only waits: it may leave memory and nothing is lost. Attempts of one that is blocked may be in the air all
        the same: then it stays its owner's (`Draft.park`)."""
        run = self.run
        return run.block is not None or not (run.flying or run.open_tail)


class Roster:
    """Who is in memory. Of those that only wait the `cached` latest stay, since they may be needed soon.

    Where several owners share the store, who is here is this one's. Of those that it has parked, which are nobody's, the
    latest are kept aside: who claims a run next, if it is this owner, needs no history then.
    """

    def __init__(
        self, store: Store, cached: int, coding: Coding | None = None, holdings: Holdings | None = None
    ) -> None:
        self._store = store
        self.holdings = holdings or Holdings(store)
        self.coding = coding
        self._cached = cached
        self._actors: dict[int, Actor] = {}
        self._parked: OrderedDict[int, None] = OrderedDict()
        self._aside: OrderedDict[int, Actor] = OrderedDict()
        self._claims: dict[int, int] = {}
        self._foreign: set[int] = set()
        self._halted: dict[int, None] = {}

    def plain(self, payload: ev.Payload, get: Get) -> bytes:
        """What a payload holds; `get` finds large bytes."""
        return plain(self.coding, payload, get)

    @property
    def awake(self) -> int:
        """How many runs have to be in memory: they do not only wait."""
        return len(self._actors) - len(self._parked)

    def get(self, key: int) -> Actor | None:
        return self._actors.get(key)

    def held(self) -> list[int]:
        """Runs with a step that is held, whatever else they do."""
        return [key for key, actor in self._actors.items() if actor.run.held]

    def missing(self, keys: Iterable[int]) -> list[int]:
        return [key for key in dict.fromkeys(keys) if key not in self._actors]

    def fetch(self, keys: Sequence[int]) -> Iterator[Stored]:
        """What the store has of runs that are not here; those of other owners are left out, and known as such then. A run that
        was kept aside is here at once."""
        if not self.holdings.shared:
            yield from self._store.work.load(keys).values()
            return
        owned = self.holdings.own(keys)
        others = [key for key in keys if key not in owned]
        self._foreign.difference_update(owned)
        self._foreign.update(self._store.views.rows_by_key(others) if others else ())
        absent = [key for key in keys if key in owned and not self.recall(owned[key])]
        yield from self._store.work.load(absent).values() if absent else ()

    def bring_histories(self, keys: Iterable[int]) -> None:
        """Of those of these runs that are here without a program, which they will need to be shown something: in one go, as far as
        they are not too long for that."""
        wanted: dict[int, Actor] = {}
        room = HISTORIES_EVENTS
        for key in keys:
            actor = self._actors.get(key)
            if actor is None or actor.program is not None or actor.stored is not None or key in wanted:
                continue
            if 0 < actor.seq <= room and actor.run.is_open and actor.run.block is None:
                wanted[key] = actor
                room -= actor.seq
        if len(wanted) > 1:  # one alone is read when it is needed
            for stored in self._store.work.load(list(wanted)).values():
                wanted[stored.run.key].stored = wire.decode_history(stored.history)

    def fetch_one(self, key: int) -> Actor:
        """Bring one run in that there is.

        Raises:
            Foreign: it is another owner's.
            errors.StoreCorrupt: it cannot be read.
        """
        actor = self._actors.get(key)
        if actor is not None:
            return actor
        for stored in self.fetch([key]):
            with told_as_damage(stored.run.id):
                return self.take_in(stored)
        if key not in self._actors:
            raise Foreign(key)
        return self._actors[key]

    def is_foreign(self, key: int) -> bool:
        """Whether the run was found to be another owner's when it was wanted for this batch."""
        return key in self._foreign and key not in self._actors

    def begin_batch(self) -> None:
        """Who has which run may have changed."""
        self._foreign.clear()
        self.holdings.begin_batch()

    def recall(self, claimed: Claimed) -> bool:
        """Whether a run that was claimed is here, or is now: it was kept aside, and nobody has had it since."""
        actor = self._aside.pop(claimed.key, None)
        if actor is not None and actor.claims + 1 == claimed.claims and claimed.key not in self._actors:
            actor.claims = claimed.claims
            self._actors[claimed.key] = actor
            self._parked[claimed.key] = None
        elif actor is not None:
            actor.let_go()
        if claimed.key in self._actors:
            return True
        self._claims[claimed.key] = claimed.claims
        return False

    def take_in(self, stored: Stored) -> Actor:
        """A run as it lies in the store comes into memory."""
        return self.add(actor_of(stored, self._store))

    def add(self, actor: Actor) -> Actor:
        actor.coding = self.coding
        actor.claims = self._claims.pop(actor.run.key, 0)
        self._actors[actor.run.key] = actor
        return actor

    def settle(self, actor: Actor) -> None:
        """After a commit: a closed or blocked run leaves, one that waits may have to when there is no room."""
        key = actor.run.key
        actor.stored = None
        if self._halted:
            self._halted.pop(key, None)
        if not actor.run.is_open or actor.run.block is not None:
            self.evict(key)
            if actor.run.is_open and self.holdings.shared:
                self._halted[key] = None
        elif actor.is_parked:
            self._parked[key] = None
            self._parked.move_to_end(key)
        else:
            self._parked.pop(key, None)

    def park(self, actor: Actor) -> None:
        """After a commit: the run is nobody's from now on."""
        key = actor.run.key
        self._parked.pop(key, None)
        self._halted.pop(key, None)
        if self._actors.pop(key, None) is None:
            return
        actor.stored, actor.alarm = None, 0
        if not actor.run.is_open or actor.run.block is not None:
            actor.let_go()
            return
        self._aside[key] = actor
        while len(self._aside) > self._cached:
            self._aside.popitem(last=False)[1].let_go()

    def left_over(self, at_work: Callable[[int], bool]) -> list[int]:
        """Of a store that several owners share: blocked runs that have stayed this one's for attempts in the air, and of which none
        is at work any more. Others may go on with them."""
        over = [key for key in self._halted if not at_work(key)]
        for key in over:
            del self._halted[key]
        return over

    def make_room(self) -> None:
        """When all runs of a batch are settled: one that was parked before may have been woken by it, and must stay."""
        while len(self._parked) > self._cached:
            self.evict(next(iter(self._parked)))

    def evict(self, key: int) -> None:
        self._parked.pop(key, None)
        actor = self._actors.pop(key, None)
        if actor is not None:
            actor.let_go()

    def evict_all(self) -> None:
        for key in list(self._actors):
            self.evict(key)
        while self._aside:
            self._aside.popitem()[1].let_go()


def actor_of(stored: Stored, store: Store) -> Actor:
    """A run as it lay in the store, with its program not standing yet.

    Raises:
        msgspec.DecodeError: it cannot be read, or what it is to begin with cannot.
    """
    history = wire.decode_history(stored.history)
    if stored.is_unreadable and not history and not any(type(mail.message) is msg.Start for mail in stored.mail):
        raise msgspec.DecodeError("the start in its mailbox")
    return Actor(restore(stored.run, history, stored.attempts), store, stored=history)

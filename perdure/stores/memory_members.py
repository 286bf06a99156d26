"""Several owners of one store in memory: the oracle for what each rule of membership means.

A call is one transaction, at READ COMMITTED: what it sees is what was committed when each of its statements began. Between
these, `Shelf.between` lets others act; whoever would have to wait for a lock sees the transaction end first, or looks again.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.stores import base
from perdure.stores.membership import Claimed, Waiting

if TYPE_CHECKING:
    from perdure.stores.memory import MemoryWork, Shelf
    from perdure.stores.memory_admin import MemoryAdmin


class Seat:
    """A member that lives, as far as the database knows.

    `fenced`: so many of its transactions are open. `turn`: the run it is in, if it has made that known. `pending` is the batch of one whose connection was lost while it was
    committing, and which the server has still to end, as `applies` says.
    """

    def __init__(self, build: str) -> None:
        self.build = build
        self.beat = 0
        self.workflows: set[str] = set()
        self.fenced = 0
        self.turn = 0
        self.pending: base.Batch | None = None
        self.applies = False


SPARE_KEYS = 16
"""A key that was put aside is given as long as no more than eight others were given after it."""


class MemoryMembership:
    def __init__(self, shelf: "Shelf", admin: "MemoryAdmin", work: "MemoryWork") -> None:
        self._shelf = shelf
        self._admin = admin
        self._work = work
        self._spare = 0

    def poll(self, now: int, limit: int, claims: int, starts: bool = True) -> base.Poll:
        shelf, member = self._shelf, self._admin.member
        with shelf.lock:
            unmended = _is_eldest(shelf, member) and bool(self.mending(0, 1))
            wanted = self._work.wanting(now, starts, mail_first=bool(seat_of(shelf, member).beat % 2))
            claimed = _claim(shelf, member, wanted, claims, starts)
            shelf.between()
            poll = self._work.poll(now, limit, starts)
            poll.claimed, poll.unmended = claimed, unmended
            poll.time = shelf.clock()
            poll.members = {id: seat.beat for id, seat in shelf.seats.items() if id != member}
            poll.leases |= {id: shelf.leases[id] for id in poll.members}
        return poll

    def own(self, keys: Iterable[int]) -> dict[int, Claimed]:
        shelf, member = self._shelf, self._admin.member
        with shelf.lock:
            seat_of(shelf, member)
            owned: dict[int, Claimed] = {}
            for key in keys:
                is_free = key in shelf.runs and not owned_by_another(shelf, key, member) and not is_locked(shelf, key)
                if is_free and not _died_in_turn(shelf, key):
                    owned[key] = _given(shelf, key, member)
            return owned

    def mending(self, after: int, limit: int) -> list[Waiting]:
        shelf = self._shelf
        with shelf.lock:
            waiting = [row for row in shelf.open_runs() if row.status in (Status.HELD, Status.BLOCKED)]
            free = sorted(row.key for row in waiting if row.key > after and row.key not in shelf.owners)
            return [Waiting(key, shelf.runs[key].seq, shelf.claims.get(key, 0)) for key in free[:limit]]

    def enter(self, key: int) -> None:
        with self._shelf.lock:
            seat_of(self._shelf, self._admin.member).turn = key

    def beat(self) -> None:
        with self._shelf.lock:
            seat = self._shelf.seats.get(self._admin.member)
            if seat is not None:
                seat.beat += 1

    def declare_dead(self, member: int, beat: int) -> bool:
        shelf = self._shelf
        with shelf.lock:
            seat_of(shelf, self._admin.member)
            awaited(shelf, member)  # its row is locked as long as that is open
            seat = shelf.seats.get(member)
            if seat is None or seat.beat != beat or seat.fenced:
                return False
            if seat.turn:
                shelf.died_in[seat.turn] = member
            for key in _owned_by(shelf, member):
                shelf.deaths[key] = shelf.deaths.get(key, 0) + 1
            del shelf.seats[member]
            return True

    def hand_over(self) -> None:
        shelf, member = self._shelf, self._admin.member
        with shelf.lock:
            awaited(shelf, member)
            seat_of(shelf, member)
            del shelf.seats[member]  # what it had is claimed as that of a dead one

    def find(self, ids: Iterable[str]) -> tuple[dict[str, RunRow], Sequence[int]]:
        ids = list(ids)
        with self._shelf.lock:
            return self._work.find(ids), self.reserve(len(ids))

    def spare(self) -> int:
        with self._shelf.lock:
            spare, self._spare = self._spare, self.reserve(1)[0]
            return spare if self._shelf.last_key - spare <= SPARE_KEYS else 0

    def reserve(self, count: int) -> range:
        with self._shelf.lock:
            first = (self._shelf.new_key() + 1) & ~1
            self._shelf.last_key = first + 2 * (count - 1)
            return range(first, first + 2 * count, 2)


def seat_of(shelf: "Shelf", member: int) -> Seat:
    """Raises base.OwnershipLost if the member is dead."""
    seat = shelf.seats.get(member)
    if seat is None:
        raise base.OwnershipLost(f"member {member} was declared dead")
    return seat


@contextmanager
def fenced(shelf: "Shelf", member: int, batch: base.Batch) -> Iterator[Seat | None]:
    """The transaction of a commit. None of it happens to a store that has one owner."""
    if not shelf.shared:
        yield None
        return
    awaited_ids(shelf, [row.id for row in batch.created])
    seat = seat_of(shelf, member)
    seat.fenced += 1
    try:
        shelf.between()
        for id in batch.mail_read:
            if id not in shelf.mail:
                raise base.OwnershipLost(f"letter {id} was read by another owner")
        shelf.between()
        owners = shelf.owners | {row.key: member for row in batch.created}
        for row in batch.updated:
            if owners.get(row.key, member) != member:
                raise base.OwnershipLost(f"run {row.key} is not owned by member {member}")
        grown = {row.key: row.seq for row in (*batch.created, *batch.updated)}
        for key, seq in batch.parks:
            known = grown.get(key) or (shelf.runs[key].seq if key in shelf.runs else 0)
            if known != seq or owners.get(key) != member:
                raise base.OwnershipLost(f"run {key} is not owned by member {member}, or has gone on without it")
        yield seat
    finally:
        seat.fenced -= 1


def awaited(shelf: "Shelf", member: int) -> None:
    """Whoever waits for a member's row sees how its open transaction has ended."""
    seat = shelf.seats.get(member)
    if seat is not None and seat.pending is not None:
        batch, seat.pending = seat.pending, None
        if seat.applies:
            shelf.apply(batch, member)


def awaited_ids(shelf: "Shelf", ids: Iterable[str]) -> None:
    """The same of whoever wants to have an id: an index keeps it until open transactions have ended."""
    wanted = set(ids)
    for member, seat in list(shelf.seats.items()):
        if seat.pending is not None and wanted & {row.id for row in seat.pending.created}:
            awaited(shelf, member)


def owned_by_another(shelf: "Shelf", key: int, member: int) -> bool:
    owner = shelf.owners.get(key, 0)
    return owner != member and owner in shelf.seats


def _is_eldest(shelf: "Shelf", member: int) -> bool:
    """Of the members with its code."""
    build = seat_of(shelf, member).build
    return member == min(id for id, seat in shelf.seats.items() if seat.build == build)


def _owned_by(shelf: "Shelf", member: int) -> list[int]:
    return [key for key, owner in shelf.owners.items() if owner == member]


def _died_in_turn(shelf: "Shelf", key: int) -> bool:
    return key in shelf.died_in and shelf.died_in[key] == shelf.owners.get(key, 0)


def _given(shelf: "Shelf", key: int, member: int) -> Claimed:
    owner, deaths = shelf.owners.get(key, 0), shelf.deaths.get(key, 0)
    if owner == member:
        return Claimed(key, shelf.claims.get(key, 0), deaths=deaths)
    in_turn = _died_in_turn(shelf, key)
    shelf.died_in.pop(key, None)
    shelf.owners[key] = member
    shelf.claims[key] = shelf.claims.get(key, 0) + 1
    return Claimed(key, shelf.claims[key], owner, deaths, in_turn)


def is_locked(shelf: "Shelf", key: int) -> bool:
    """Whether an open transaction has changed the row of the run: nobody waits for that, it is passed over."""
    batches = [seat.pending for seat in shelf.seats.values() if seat.pending is not None]
    return any(
        key in {row.key for row in batch.updated} or any(key == parked for parked, _ in batch.parks)
        for batch in batches
    )


def _claim(shelf: "Shelf", member: int, wanted: Iterable[int], limit: int, starts: bool) -> list[Claimed]:
    """Beat, and make some runs the member's: those of the dead, all of them if there is room for what begins, and of those that are wanted
    the ones that nobody owns."""
    seat = seat_of(shelf, member)
    seat.beat += 1
    left = [key for key, owner in shelf.owners.items() if owner not in shelf.seats]
    passed = () if starts else left
    free = [key for key in dict.fromkeys(wanted) if key in shelf.runs and (key not in shelf.owners or key in passed)]
    claimed: list[Claimed] = []
    for key in [*(sorted(left) if starts else ()), *free]:
        if len(claimed) < limit and not is_locked(shelf, key) and _is_for(shelf, seat, key):
            claimed.append(_given(shelf, key, member))
    return claimed


def _is_for(shelf: "Shelf", seat: Seat, key: int) -> bool:
    """Whether the member's code is the one for the run. What nobody's is has to be told by somebody."""
    row = shelf.runs[key]
    if row.status >= Status.COMPLETED:
        return True
    others = [other for other in shelf.seats.values() if other is not seat]
    if row.pinned and row.pinned != seat.build and any(other.build == row.pinned for other in others):
        return False
    return row.workflow in seat.workflows or not any(row.workflow in other.workflows for other in others)

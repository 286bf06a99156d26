"""Which runs this owner may move, and who of the other owners lives.

A store with one owner: all, and nobody else. One that several share: those that it has claimed, or begun, and not parked.
"""

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from perdure.errors import StoreUnreachable
from perdure.kernel.project import RunRow
from perdure.runtime.liveness import Liveness, time_to_speak
from perdure.stores.base import LEASE_NS, Poll, Store, StoreUnavailable
from perdure.stores.membership import Claimed, Waiting

RESERVED = (1, 8, 64, 512)
"""Keys that are asked for at a time in the course of a batch, beside those that come with what was found. Those that it does not need
go: kept for later ones, they would make new runs look older than others, and a run older than the one it follows. One is kept for
a moment, for a run that follows none and is nobody's child (`Membership.spare`)."""


SUSPECT_DEATHS = 2
"""So many members have died in a row that had a run, and it has not gone on meanwhile: it may be why. Its turns cost two more
commits each then, so one death, after which all that the dead one had is taken over, makes no suspects."""


class Foreign(Exception):
    """Another owner has the run."""

    def __init__(self, key: int) -> None:
        super().__init__(f"run {key} is awake in another process")
        self.key = key


@dataclass(frozen=True)
class Silent:
    """A member that has not beaten for so long that it may be dead."""

    member: int
    beat: int


class Holdings:
    """Asked on the owner's thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._membership = store.membership
        self._last_key = store.work.last_key() if store.membership is None else 0
        self._reserved: deque[int] = deque()
        self._reserves = 0
        self._liveness = Liveness(lambda lease: lease - time_to_speak(lease))
        self._silent: dict[Silent, float] = {}
        self.next_look = math.inf
        """When to poll at the latest, so that one that has died is not found later than has to be."""
        self.suspects: dict[int, bool] = {}
        """Runs that may kill whoever moves them: whether a process has died in the turn of that one."""
        self._in_turn = 0
        self.moves = 0
        """How much this owner has done: it grows with each letter that it delivers, and each run that it loads."""
        self.polled = 0.0
        """When it has last polled: by that it tells that it lives."""

    @property
    def shared(self) -> bool:
        return self._membership is not None

    def own(self, keys: Iterable[int]) -> Mapping[int, Claimed]:
        """Of a store that several share: those of the runs that may be moved here; the others are another owner's, or not there."""
        if self._membership is None:
            return {}
        owned = self._membership.own(keys)
        for claimed in owned.values():
            self._suspect(claimed)
        return owned

    def poll(self, now: int, limit: int, claims: int, starts: bool = True) -> Poll:
        """What there is to do; a store that several share gives away no more runs than are claimed."""
        if self._membership is None:
            return self._store.work.poll(now, limit, starts)
        poll = self._membership.poll(now, limit, min(claims, limit), starts)
        for claimed in poll.claimed:
            self._suspect(claimed)
        return poll

    def mending(self, after: int, limit: int) -> list[Waiting]:
        """Of a store that several share: runs that wait for other code and are nobody's."""
        return [] if self._membership is None else self._membership.mending(after, limit)

    def rows(self, keys: Sequence[int]) -> Mapping[int, RunRow]:
        return self._store.views.rows_by_key(keys) if keys else {}

    def hand_over(self) -> None:
        if self._membership is not None:
            self._membership.hand_over()

    # suspects

    def _suspect(self, claimed: Claimed) -> None:
        if claimed.deaths >= SUSPECT_DEATHS:
            self.suspects[claimed.key] = claimed.in_turn or self.suspects.get(claimed.key, False)
        else:
            self.suspects.pop(claimed.key, None)

    def enter(self, key: int) -> None:
        """Of a store that several share. If this process dies now, everybody shall know that it was in the turn of a suspect.

        Raises:
            base.StoreUnavailable: they cannot be told now.
        """
        if key in self.suspects or self._in_turn:
            self._tell_turn(key if key in self.suspects else 0)

    def leave(self) -> None:
        if self._in_turn:
            self._tell_turn(0)

    def _tell_turn(self, key: int) -> None:
        assert self._membership is not None
        try:
            self._membership.enter(key)
        except StoreUnreachable as error:
            raise StoreUnavailable(str(error)) from error
        self._in_turn = key

    # new runs

    def find(self, ids: Iterable[str]) -> Mapping[str, RunRow]:
        """The newest run of each id that exists. A store that several share gives keys for new ones by the same call."""
        if self._membership is None:
            return self._store.work.find(ids)
        found, keys = self._membership.find(ids)
        self._reserved.extend(keys)
        return found

    def new_key(self, alone: bool = False) -> int:
        """Even, and above every key there was; that of a run which begins `alone`, and has to do with no other, may have been asked
        for a moment ago."""
        if self._membership is None:
            self._last_key = (self._last_key + 2) & ~1
            return self._last_key
        spare = self._membership.spare() if alone else 0
        if spare:
            return spare
        while self._reserved:
            key = self._reserved.popleft()
            if key > self._last_key:
                return key
        count = RESERVED[min(self._reserves, len(RESERVED) - 1)]
        self._reserves += 1
        self._reserved.extend(self._membership.reserve(count))
        return self._reserved.popleft()

    def saw(self, key: int) -> None:
        """Somebody else has handed out a key."""
        self._last_key = max(self._last_key, key)

    def begin_batch(self) -> None:
        self._reserved.clear()
        self._reserves = 0

    # the others

    def dead(self, beats: Mapping[int, int], leases: Mapping[int, int], monotonic: float) -> list[int]:
        """Members that were just declared dead. A silent one is given time to speak: while the database cannot be written nobody
        can, and who was frozen together with all others wakes up with them."""
        membership = self._membership
        if membership is None:
            return []
        silent, _ = self._liveness.look(beats, leases, monotonic)
        before, self._silent = self._silent, {}
        self.next_look = self._liveness.next_look(monotonic)
        dead: list[int] = []
        for each in (Silent(member, beats[member]) for member in silent):
            since = before.get(each, monotonic)
            wait = time_to_speak(leases.get(each.member, LEASE_NS) / 1e9)
            if monotonic - since < wait or not membership.declare_dead(each.member, each.beat):
                self._silent[each] = since
                if since + wait > monotonic:
                    self.next_look = min(self.next_look, since + wait)
            else:
                dead.append(each.member)
        return dead

"""Owning a store in memory, alone or as one of several, and what an owner publishes there."""

from collections.abc import Callable, Sequence
from copy import copy
from typing import TYPE_CHECKING

from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.stores import base
from perdure.stores.health import PROBLEM_LINES, problems_of
from perdure.stores.memory_members import Seat, awaited, seat_of
from perdure.stores.memory_pruning import prune, tidy
from perdure.stores.pruning import Prune, Pruned

if TYPE_CHECKING:
    from perdure.stores.memory import Shelf


class MemoryAdmin:
    """The handle's seat: `member` is its id while it owns, else 0."""

    def __init__(self, shelf: "Shelf") -> None:
        self._shelf = shelf
        self.member = 0

    @property
    def owns(self) -> bool:
        shelf = self._shelf
        return self.member in shelf.seats if shelf.shared else self.member != 0 and shelf.owner == self.member

    def time(self) -> int:
        return self._shelf.clock()

    def try_own(self, host: str, pid: int, build: str, now: int, lease_ns: int = base.LEASE_NS) -> int | None:
        shelf = self._shelf
        with shelf.lock:
            if shelf.owner:
                return None
            awaited(shelf, self.member)
            shelf.seats.pop(self.member, None)  # it has lost sight of what it had, and others are to go on with it
            for member in set(shelf.members) - shelf.workers.keys() - shelf.seats.keys() - set(shelf.owners.values()):
                shelf.forget_unless_used(member)
            self.member = shelf.new_member(host, pid, build, now)
            shelf.leases[self.member] = lease_ns
            if shelf.shared:
                shelf.seats[self.member] = Seat(build)
            else:
                shelf.owner = self.member
            return self.member

    def publish(self, definitions: Sequence[base.DefinitionRow]) -> None:
        shelf = self._shelf
        with shelf.lock:
            if shelf.shared:
                seat_of(shelf, self.member)
            known = {(row.kind, row.name): row for row in shelf.definitions} if shelf.shared else {}
            known |= {(row.kind, row.name): copy(row) for row in definitions}
            shelf.definitions = [known[name] for name in sorted(known)]
            for row in definitions:
                shelf.known_by.setdefault((row.kind, row.name), set()).add(self.member)
            if self.member in shelf.seats:
                shelf.seats[self.member].workflows = {row.name for row in definitions if row.kind == "workflow"}

    def listen(self, on_nudge: Callable[[], None]) -> None:
        self._shelf.on_nudge[self.member] = on_nudge

    def builds(self) -> list[base.BuildRow]:
        found: dict[tuple[str, bool], base.BuildRow] = {}
        with self._shelf.lock:
            for row in self._shelf.runs.values():
                if row.seq:
                    name = (row.pinned or row.build, bool(row.pinned))
                    of_build = found.setdefault(name, base.BuildRow(*name, 0, 0, row.started_at))
                    of_build.runs += 1
                    of_build.open += row.status < Status.COMPLETED
                    of_build.last_started_at = max(of_build.last_started_at, row.started_at)
        return sorted(found.values(), key=lambda each: (-each.last_started_at, each.build, each.pinned))

    def prune(self, wanted: Prune) -> Pruned:
        with self._shelf.lock:
            return prune(self._shelf, wanted)

    def tidy(self, now: int) -> None:
        with self._shelf.lock:
            tidy(self._shelf, now)

    def check(self) -> list[str]:
        shelf = self._shelf
        with shelf.lock:
            lines = [line for row in shelf.runs.values() for line in _problems(shelf, row)]
        return lines[:PROBLEM_LINES]

    def close(self) -> None:
        with self._shelf.lock:
            self._shelf.on_nudge.pop(self.member, None)
            if self._shelf.owner == self.member:
                self._shelf.owner = 0
            self.member = 0


def _problems(shelf: "Shelf", row: RunRow) -> list[str]:
    own = {name: held.own() for name, held in shelf.streams.get(row.key, {}).items()}
    asked = [each for at, each in shelf.human.items() if at[0] == row.key]
    return problems_of(row, shelf.parts(row.key), shelf.attributes.get(row.key, {}), own, asked)


class MemoryMarking:
    def __init__(self, shelf: "Shelf") -> None:
        self._shelf = shelf

    def marker(self) -> base.TurnMarker:
        return MemoryMarker(self._shelf)


class MemoryMarker:
    """Of a shelf with one owner."""

    def __init__(self, shelf: "Shelf") -> None:
        self._shelf = shelf
        self._left, shelf.turn = shelf.turn, 0

    def enter(self, key: int) -> None:
        self._shelf.turn = key

    def leave(self) -> None:
        self._shelf.turn = 0

    def left_by_the_dead(self) -> int:
        left, self._left = self._left, 0
        return left

"""Ids that somebody is about to give a run, in a transaction that is still open: an application may start runs in transactions of its
own, and leave those open for as long as it likes. The row of a run whose id it reuses it has locked meanwhile.

Nobody can tell whether such an id will be free. Only who wants it waits: a caller's start for a while, and a run for as long as it
lasts. Everything that is for the same run waits with it, in order.
"""

from collections.abc import Collection, Iterable, Sequence

from perdure import errors
from perdure.kernel import messages as msg
from perdure.runtime.culprits import Item, Refusal
from perdure.runtime.letters import Letter, StartRequest
from perdure.runtime.world import World

PAUSE_SECONDS = (0.1, 1.0)
"""Between two tries: at first, and after a while."""

TRY_SHARE = 1.0
"""With very many of them the pauses are so many seconds for each: trying them takes a small part of the time."""

CALLER_SECONDS = 10.0
"""How long a caller's start waits, until the caller is told."""

_ONCE = (msg.Wake, msg.NewBuild)
"""Of several letters one says it all."""


class _Place:
    def __init__(self, since: float) -> None:
        self.since = since
        self.tries = 0
        self.until = since
        self.items: list[Item] = []


def _place_of(item: Item) -> int | str:
    """The run that a letter is for, or the id that a start wants."""
    return item.id if isinstance(item, StartRequest) else item.key


class Taken:
    """What waits, by runs and ids. Letters that lie in the mailbox are not kept: they are found there again."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._places: dict[int | str, _Place] = {}

    def __bool__(self) -> bool:
        return bool(self._places)

    def is_one(self, items: Sequence[Item]) -> bool:
        """Whether it is one place that is to blame if these are refused."""
        return len(items) == 1 or (
            len({_place_of(item) for item in items}) == 1 and _place_of(items[0]) in self._places
        )

    def wait(self, items: Sequence[Item]) -> list[Item]:
        """These, all of one place, were refused, since an id is taken, and are tried again later. Gives what is to be delivered now
        instead."""
        now = self._world.monotonic()
        place = self._places.setdefault(_place_of(items[0]), _Place(now))
        first, longest = PAUSE_SECONDS
        longest = max(longest, TRY_SHARE * len(self._places))
        place.until = now + min(first * 2 ** min(place.tries, 10), longest)
        place.tries += 1
        instead: list[Item] = []
        for item in items:
            if isinstance(item, StartRequest) and (item.given_up or now - place.since >= CALLER_SECONDS):
                instead.append(Refusal(item, _refused(item)))
            else:
                self._keep(place, item)
        return instead

    def without_runs(self, items: Sequence[Item], runs: Collection[int]) -> list[Item]:
        """What is for these runs was refused, and waits; the others."""
        left: list[Item] = []
        apart: dict[int, list[Item]] = {}
        for item in items:
            if isinstance(item, Letter) and item.key in runs:
                apart.setdefault(item.key, []).append(item)
            else:
                left.append(item)
        for of_run in apart.values():
            left += self.wait(of_run)
        return left

    def without(self, items: Sequence[Item]) -> Sequence[Item]:
        """Those of them that need not wait; the others are kept."""
        if not self._places:
            return items
        now = self._world.monotonic()
        left: list[Item] = []
        for item in items:
            place = None if isinstance(item, Refusal) else self._places.get(_place_of(item))
            if place is None or now >= place.until:
                left.append(item)
            else:
                self._keep(place, item)
        return left

    def apart(self, item: Item) -> int | str:
        """What is tried again is tried alone. 0: it was not refused before."""
        at = _place_of(item)
        return at if at in self._places else 0

    def due(self) -> list[Item]:
        """What is to be tried again now, in the order in which it came."""
        now = self._world.monotonic()
        items: list[Item] = []
        for place in self._places.values():
            if now >= place.until:
                items += place.items
                place.items = []
        return items

    def seconds(self) -> float | None:
        """Until something is to be tried again."""
        times = [place.until for place in self._places.values() if place.items]
        return max(min(times) - self._world.monotonic(), 0.0) if times else None

    def over(self, items: Iterable[Item]) -> None:
        """These were delivered."""
        if self._places:
            for item in items:
                place = self._places.get(_place_of(item))
                if place is not None and not place.items:
                    del self._places[_place_of(item)]

    def all(self) -> list[Item]:
        """What waits, be it due or not."""
        return [item for place in self._places.values() for item in place.items]

    def _keep(self, place: _Place, item: Item) -> None:
        if isinstance(item, Letter):
            once = isinstance(item.message, _ONCE) and item.receiver is None
            if item.mail_id or (once and any(type(_said(other)) is type(item.message) for other in place.items)):
                return
        place.items.append(item)


def _said(item: Item) -> object:
    return item.message if isinstance(item, Letter) else None


def _refused(request: StartRequest) -> errors.StoreError:
    return errors.StoreError(
        f"run {request.id!r} can be neither started nor found: somebody is about to start a run of that id, or of the id of a child that "
        "it starts at once, in a transaction that is still open; end it, and try again"
    )

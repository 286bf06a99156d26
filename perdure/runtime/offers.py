"""What is held for want of other code is offered to workers that have it: a letter to each such run, some at a time."""

from collections import deque
from collections.abc import Collection

from perdure.kernel.messages import NewCode
from perdure.runtime.actors import Roster
from perdure.runtime.letters import Letter
from perdure.runtime.workforce import Workforce
from perdure.stores.base import Work


class Offers:
    """Of one owner. Nothing of it is stored: to the next one all code is new."""

    def __init__(self, work: Work, roster: Roster, workforce: Workforce) -> None:
        self._work = work
        self._roster = roster
        self._workforce = workforce
        self._new: list[NewCode] = []
        self._letters: deque[Letter] = deque()

    def __bool__(self) -> bool:
        return bool(self._letters)

    def look(self, workers: Collection[int], later: Collection[int]) -> None:
        """These workers live. Attempts that are held are offered to those with other code, when these come, or when the last
        one whose code has failed is gone. The runs in `later` are told when they are looked after.

        Raises:
            errors.StoreUnreachable: the store does not answer; the next look makes up for it.
        """
        self._new += self._workforce.look(workers)
        if not self._new:
            return
        held = dict.fromkeys([*self._work.held(), *self._roster.held()])
        outside = set(later)
        self._letters += [Letter(key, code) for key in held if key not in outside for code in self._new]
        self._new = []

    def to(self, key: int) -> list[Letter]:
        """For a run that is looked after: all the code there is."""
        code = self._workforce.code
        return [] if code is None else [Letter(key, code)]

    def take(self, most: int) -> list[Letter]:
        return [self._letters.popleft() for _ in range(min(len(self._letters), most))]

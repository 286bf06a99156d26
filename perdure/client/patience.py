"""How long a call waits for a database that does not answer, and when it is asked again."""

import logging
import math
import time
from typing import NamedTuple, TypeVar

from perdure.errors import EngineNotRunning, PerdureError, StoreUnreachable
from perdure.runtime.outage import Outage
from perdure.runtime.world import World

T = TypeVar("T")

_log = logging.getLogger("perdure")

PATIENCE_SECONDS = 30.0
"""How long a call that changes something, or asks a run's code, waits for a server that is away, if nobody says otherwise."""

_PAUSE_SECONDS = (0.05, 1.0)
"""Before a store that has not answered is asked again: at first, and after a while."""


RETURN_SECONDS = 10.0
"""How long after an outage it is waited for an engine that is back as well."""


class Patience(NamedTuple):
    """Of a call. `seconds`: so long it is asked again, from the first time on that there was no answer. `repeatable`: also if it may
    have been taken, since it would be taken once all the same; without that it is asked again only if nothing was sent."""

    seconds: float = 0.0
    repeatable: bool = True


NONE = Patience()
ENDLESS = Patience(math.inf)


class Trying:
    """One question, until it is answered. `until`: when nobody waits for the answer any more, by the monotonic clock."""

    __slots__ = ("_back_at", "_end", "_outage", "_pause", "doubtful", "patience")

    def __init__(self, patience: Patience) -> None:
        self.patience = patience
        self.doubtful = False
        """Whether it was asked and may have been taken, though there was no answer."""
        self._outage: Outage | None = None
        self._pause = _PAUSE_SECONDS[0]
        self._end = math.inf
        self._back_at: float | None = None

    def again(self, error: PerdureError) -> None:
        """It is asked again.

        Raises:
            errors.PerdureError: it is not; that, in words for whoever has asked.
        """
        if isinstance(error, EngineNotRunning) and error._unowned and self._is_back():
            return
        if not isinstance(error, StoreUnreachable) or not error._away or not self.patience.seconds:
            raise plain(error) from error.__cause__
        self._back_at = None
        self.doubtful = self.doubtful or not error._unsent
        if self.doubtful and not self.patience.repeatable:
            raise _told(error, "whether it was taken is not known: look before you ask again")
        now = time.monotonic()
        if self._end == math.inf:
            self._end = now + self.patience.seconds
        if now >= self._end:
            doubt = "it may have been taken; asked again, it is taken once" if self.doubtful else "nothing was written"
            raise _told(error, f"that was waited for, for {self.patience.seconds:g} s; {doubt}")

    def _is_back(self) -> bool:
        """Whether the server was away and has come back just now: then those who own the database need a moment, too."""
        if self._outage is None:
            return False
        now = time.monotonic()
        if self._back_at is None:
            self._back_at = now
        return now < self._back_at + RETURN_SECONDS

    def failed(self, error: PerdureError, left: float = math.inf) -> float:
        """For how many seconds it is waited now, of those that are `left`. The log tells of it."""
        if self._outage is None:
            self._outage = Outage(World(), _log, endless=True)
        self._outage.noted(error)
        pause, self._pause = self._pause, min(2 * self._pause, _PAUSE_SECONDS[1])
        return max(min(pause, left, self._end - time.monotonic()), 0.0)

    def over(self, answer: T) -> T:
        if self._outage is not None:
            self._outage.over()
        return answer


def _told(error: StoreUnreachable, more: str) -> StoreUnreachable:
    told = StoreUnreachable(f"{error}; {more}")
    told._away, told._unsent = True, error._unsent
    told.__cause__ = error.__cause__
    return told


def plain(error: PerdureError) -> PerdureError:
    """Without the frames that found it out: what a caller needs is in its message and its cause."""
    return error.with_traceback(None)

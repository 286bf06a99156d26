"""Whose clock counts: where several machines share a database that of its server, if one of theirs shows another time."""

import logging

from perdure.runtime.world import World
from perdure.stores.base import Admin

AGREE_NS = 1_000_000_000
"""Clocks that differ by less are taken to agree. One that has differed agrees again when it comes half as near."""

DRIFT_NS = 250_000_000
"""By so much the difference has to change to be taken anew: each time that is done, time jumps."""


class Clock:
    """Keeps the world's time. What waits by the monotonic clock is not concerned."""

    def __init__(self, world: World, log: logging.Logger) -> None:
        self._world = world
        self._log = log

    def ask(self, admin: Admin) -> None:
        """Look at the store's clock now.

        Raises:
            errors.StoreError: it does not answer.
        """
        began = self._world.monotonic()
        self.measured(admin.time(), began)

    def measured(self, time: int, began: float) -> None:
        """A call that `began` then, by the monotonic clock, has just brought the store's time (0: it has none of its own), as it was
        somewhere in its middle. One that took longer than what it would tell tells nothing."""
        if not time:
            return
        world = self._world
        took = int((world.monotonic() - began) * 1e9)
        ahead = world.machine_time() - took // 2 - time
        offset = world.offset_ns
        if took > max(abs(ahead), AGREE_NS):
            return
        if abs(ahead) <= (AGREE_NS // 2 if offset else AGREE_NS):
            if offset:
                world.offset_ns = 0
                self._log.info("the clock of this machine agrees with that of the database again, and counts again")
        elif abs(ahead + offset) > DRIFT_NS:
            world.offset_ns = -ahead
            if not offset:
                self._log.warning(
                    "the clock of this machine is %.1f s %s that of the database's server: this process goes by the server's, as all "
                    "others have to; let NTP set the clocks of all machines",
                    abs(ahead) / 1e9,
                    "ahead of" if ahead > 0 else "behind",
                )

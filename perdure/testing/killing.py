"""A world that ends its process the hard way, at a place that can be chosen exactly."""

import os
import signal

from perdure.runtime.world import World
from perdure.stores.base import Batch
from perdure.stores.faults import Fault, Moment


class KillingWorld(World):
    """Counts the places where a crash would hurt (before, inside and after each commit, before its effects), and kills
    its process with SIGKILL at the one numbered `at`; 0 never does.

    `faults` goes to the store, which alone can say when a commit is half way.
    """

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.passed = 0

    def crash_point(self, name: str) -> None:
        self.passed += 1
        if self.passed == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def faults(self, moment: Moment, batch: Batch) -> Fault | None:
        if moment == "inside":
            self.crash_point("inside")
        return None

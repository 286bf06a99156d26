"""Runs that have been closed for long go, a few at a time, beside everything else; and so does what nobody asks for any more."""

import logging
from collections.abc import Callable, Collection

from perdure.errors import StoreFull, StoreUnreachable
from perdure.runtime.world import World
from perdure.stores.base import Store
from perdure.stores.pruning import Prune

RETENTION_LEAST_SECONDS = 60.0

FIRST_SECONDS = 1.0
"""How soon an owner looks for the first time."""

PASS_SECONDS = (10.0, 600.0)
"""How often all runs are gone through: a hundredth of the time for which they are kept, within these bounds."""

BATCH_RUNS = (20, 2_000)
"""So many are looked at in one transaction: it grows while that is quick."""

BATCH_SECONDS = 0.02
"""How long one may take: others wait for it."""

PASSES = 20
"""One of so many passes begins at the very first run: one that was started in a transaction which took longer than runs are kept
is there late, below those that have gone."""

PAUSE = 4
"""So many times as long as a batch has taken is the pause after it."""


class Retention:
    """`keep_ns`: how long closed runs are kept, None for ever. `spared`: those somebody here waits for."""

    def __init__(
        self,
        store: Store,
        keep_ns: int | None,
        world: World,
        spared: Callable[[], Collection[int]],
        log: logging.Logger,
    ) -> None:
        self._store = store
        self._keep_ns = keep_ns
        self._world = world
        self._spared = spared
        self._log = log
        self._at = world.monotonic() + FIRST_SECONDS
        self._under_way = False
        self._after = 0
        self._cleared = 0
        self._passes = 0
        self._is_clear = True
        self._limit = BATCH_RUNS[0]
        shortest, longest = PASS_SECONDS
        self._every = longest if keep_ns is None else min(max(keep_ns / 1e11, shortest), longest)

    def seconds(self, monotonic: float) -> float | None:
        """How soon it has to go on; None: that is soon enough whenever something else is done."""
        return max(self._at - monotonic, 0.0) if self._under_way else None

    def go_on(self) -> None:
        """One batch, if it is time for it."""
        began = self._world.monotonic()
        if began < self._at:
            return
        try:
            self._under_way = self._batch() if self._under_way else self._begin()
        except (StoreFull, StoreUnreachable) as error:  # a disk that is full needs some room to make room
            self._log.warning("what is kept no longer stays a little longer: %s", error)
            self._under_way = False
        took = self._world.monotonic() - began
        self._at = began + took + (PAUSE * took if self._under_way else self._every)

    def _begin(self) -> bool:
        """Whether there are runs to be gone through now."""
        self._store.admin.tidy(self._world.now())
        self._cleared = self._cleared if self._passes % PASSES else 0
        self._passes += 1
        self._after, self._is_clear = self._cleared, True
        return self._keep_ns is not None

    def _batch(self) -> bool:
        """Whether there are more."""
        assert self._keep_ns is not None
        began = self._world.monotonic()
        before = self._world.now() - self._keep_ns
        pruned = self._store.admin.prune(Prune(before, self._after, self._limit, spared=self._spared()))
        if self._is_clear:  # nobody who may come later has a key below that of one that could go
            self._cleared = pruned.cleared
            self._is_clear = pruned.cleared == pruned.further
        took = self._world.monotonic() - began
        least, most = BATCH_RUNS
        self._limit = min(2 * self._limit, most) if took < BATCH_SECONDS / 2 else self._limit
        self._limit = max(self._limit // 2, least) if took > BATCH_SECONDS else self._limit
        self._after = pruned.further or 0
        return pruned.further is not None

"""Runs that wait for other code: each is shown the code at hand, which may be what it waits for."""

from collections import OrderedDict
from collections.abc import Container, Mapping
from typing import TypeVar

import msgspec

from perdure.kernel import wire
from perdure.kernel.decide import BY_HAND
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.runtime.membership import Holdings
from perdure.stores.base import Work
from perdure.stores.membership import Waiting

Known = TypeVar("Known")

PART = 10_000
"""So many of them are gone through by one call, which tells what has become of each since it was looked at: so a new one among very
many is soon found."""

LOOKED_AT = 500
"""And so many of them, at most, are looked at then, as they are new or have moved."""

PAUSE_SECONDS = 1.0
"""Between two parts, unless there was something to do."""

REMEMBERED = 100_000
"""Runs of which is remembered that the code at hand was of no use, or is none: others are looked at again."""


class Mending:
    """Of one owner. If the store is its alone there is no other code while it lives, and one look at all of these runs, when it
    begins, is enough.

    If several share the store, one with other code may block a run at any time; so they are looked for again and again: those that
    nobody owns, a part at a time, by the eldest member of each build. A run that was shown this code is not shown it again before it
    has gone on, be it elsewhere. So two codes that both fail do not throw it back and forth. One that this code is not for is not
    looked at again before somebody has had it.
    """

    def __init__(self, work: Work, holdings: Holdings, build: str, workflows: Container[str]) -> None:
        self._work = work
        self._holdings = holdings
        self._build = build
        self._workflows = workflows
        self._tried: OrderedDict[int, int] = OrderedDict()
        self._unfit: OrderedDict[int, tuple[int, int]] = OrderedDict()
        self._after = 0
        self._look_at = 0.0
        self.goes_on = False
        """Whether the next part is to be looked at as soon as there is room."""
        self._has_seen_all = False
        self._to_show = 0

    def begin(self) -> list[int]:
        """The runs of an owner that has all of them."""
        if self._holdings.shared:
            return []
        self._has_seen_all = True
        found = self._work.mending()
        self._to_show = len(found)
        return found

    def look(self, unmended: bool, monotonic: float) -> list[int]:
        """Some runs, which are the caller's now, that are to be shown the code at hand. `unmended`: what the poll has said.

        Raises:
            errors.StoreUnreachable: what became the caller's all the same the next poll tells.
        """
        if not unmended:
            self._after, self.goes_on, self._has_seen_all = 0, False, True
            return []
        if monotonic < self._look_at and not self.goes_on:
            return []
        found = self._holdings.mending(self._after, PART)
        new = [each for each in found if not self._is_known(each)]
        is_last = len(found) < PART and len(new) <= LOOKED_AT
        end = found[-1].key if found else 0
        if len(new) > LOOKED_AT:
            new = new[:LOOKED_AT]
            end = new[-1].key
        rows = self._holdings.rows([each.key for each in new])
        wanted = {key: row.seq for key, row in rows.items() if self._may_help(row)}
        owned = self._holdings.own(wanted) if wanted else {}
        _remember(self._tried, {key: wanted[key] for key in owned})
        _remember(self._unfit, {each.key: (each.seq, each.claims) for each in new if each.key not in wanted})
        self._after = 0 if is_last else end
        self._has_seen_all = self._has_seen_all or is_last
        self.goes_on = not is_last and (bool(owned) or not self._has_seen_all)
        self._look_at = monotonic + PAUSE_SECONDS
        self._to_show += len(owned)
        return sorted(owned)

    def show(self, count: int) -> None:
        """So many are shown the code at hand now."""
        self._to_show = max(self._to_show - count, 0)

    @property
    def is_over(self) -> bool:
        """Whether all have seen it that there were when the owner began."""
        return self._has_seen_all and not self._to_show

    def _is_known(self, waiting: Waiting) -> bool:
        for known, now in ((self._tried, waiting.seq), (self._unfit, (waiting.seq, waiting.claims))):
            if waiting.key in known:
                known.move_to_end(waiting.key)
                if known[waiting.key] == now:
                    return True
        return False

    def _may_help(self, row: RunRow) -> bool:
        """Whether the code at hand is other code than what the run waits for. Which code has held its steps the row does not say."""
        if row.workflow not in self._workflows or row.pinned not in ("", self._build):
            return False
        if row.status not in (Status.HELD, Status.BLOCKED):
            return False  # somebody has it by now
        if row.status != Status.BLOCKED or row.block is None:
            return True
        try:
            block = wire.decode_block(row.block)
        except msgspec.MsgspecError:  # `perdure doctor` tells of it
            return False
        return block.build != self._build and block.kind not in BY_HAND


def _remember(known: "OrderedDict[int, Known]", more: Mapping[int, Known]) -> None:
    known.update(more)
    while len(known) > REMEMBERED:
        known.popitem(last=False)

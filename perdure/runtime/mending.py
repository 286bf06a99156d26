"""Runs that wait for other code: each is shown the code at hand, which may be what it waits for."""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Container, Iterable, Mapping, Sequence

import msgspec

from perdure.kernel import wire
from perdure.kernel.decide import BY_HAND
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.runtime.membership import Holdings
from perdure.stores.base import Work
from perdure.stores.membership import Waiting

PART = 10_000
"""So many of them are gone through by one call, which tells what has become of each since it was looked at: so a new one among very
many is soon found."""

LOOKED_AT = 500
"""And so many of them, at most, are looked at then, as they are new or have moved."""

PAUSE_SECONDS = 1.0
"""Between two parts, unless there was something to do."""

_TRIED, _MISSED = -1, -2
"""In the place of how often a run has found an owner: it was shown the code at hand; and it was somebody's when it was looked for since."""
_LAST = 2**63 - 1


class _Known:
    """Of which runs it is known that the code at hand was of no use, or is none: 24 bytes for each that still waits, however many these
    are, in the order of their keys."""

    def __init__(self) -> None:
        self._keys = array("q")
        self._seqs = array("q")
        self._claims = array("q")

    def has(self, waiting: Waiting) -> bool:
        at = bisect_left(self._keys, waiting.key)
        if at == len(self._keys) or self._keys[at] != waiting.key or self._seqs[at] != waiting.seq:
            return False
        return self._claims[at] in (waiting.claims, _TRIED, _MISSED)

    def learn(self, after: int, end: int, found: Iterable[Waiting], tried: Mapping[int, int]) -> None:
        """Of all that wait from behind `after` up to `end` these are of no use to the code at hand, or were `tried` just now with so many
        events. Others have gone on, but for those that have just been tried and are on their way still."""
        begin, stop = bisect_right(self._keys, after), bisect_right(self._keys, end)
        before = zip(self._keys[begin:stop], self._seqs[begin:stop], self._claims[begin:stop], strict=True)
        shown = {key: (seq, claims) for key, seq, claims in before if claims < 0}
        known = {key: (seq, _MISSED) for key, (seq, claims) in shown.items() if claims == _TRIED}
        for each in found:
            seq, _ = shown.get(each.key, (None, 0))
            known[each.key] = (each.seq, _TRIED if seq == each.seq else each.claims)
        known |= {key: (seq, _TRIED) for key, seq in tried.items()}
        keys = sorted(known)
        self._keys[begin:stop] = array("q", keys)
        self._seqs[begin:stop] = array("q", [known[key][0] for key in keys])
        self._claims[begin:stop] = array("q", [known[key][1] for key in keys])


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
        self._known = _Known()
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
        new = [each for each in found if not self._known.has(each)]
        is_last = len(found) < PART and len(new) <= LOOKED_AT
        end = found[-1].key if found else 0
        if len(new) > LOOKED_AT:
            new = new[:LOOKED_AT]
            end = new[-1].key
        rows = self._holdings.rows([each.key for each in new])
        wanted = {key: row.seq for key, row in rows.items() if self._may_help(row)}
        owned = self._holdings.own(wanted) if wanted else {}
        self._learn(_LAST if is_last else end, found, wanted, owned)
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

    def _learn(self, end: int, found: Sequence[Waiting], wanted: Mapping[int, int], owned: Container[int]) -> None:
        useless = [each for each in found if each.key <= end and each.key not in wanted]
        self._known.learn(self._after, end, useless, {key: seq for key, seq in wanted.items() if key in owned})

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

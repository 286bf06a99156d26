"""What came out of all trials, for people and for programs."""

from collections.abc import Sequence
from typing import Self

import msgspec

from perdure.durations import took
from perdure.errors import CrashTestFailed
from perdure.testing.crashing.findings import Finding
from perdure.testing.crashing.points import Point
from perdure.testing.crashing.table import LEGEND, life_story, table
from perdure.testing.crashing.watch import Row

NAMED_POINTS = 4
"""Crash points that are named of a finding; the others are counted."""

WAYS = (
    "before: nothing of it is written   lost: all is written, nothing of it is there afterwards",
    "kept: it is durable, nobody has heard so   after: its effects have not begun",
)
EXCHANGES = "exchange: what a worker of a queue writes, by itself; there the worker dies alone, and another one comes"


class CrashReport(msgspec.Struct):
    """What became of a workflow whose engine died at `points` places, one after the other, of the `places` there are.

    `violations` are what must not be, `advice` what is to be known, `harmless` what has been seen to do no harm. `commits`, `effects` (calls of activities)
    and `exchanges` (what workers of queues write) are those of the run without a crash, `outcome` what it came to, in words.
    """

    call: str
    outcome: str
    commits: int
    effects: int
    places: int
    points: int
    violations: list[Finding]
    advice: list[Finding]
    harmless: list[Finding]
    seed: int = 0
    seconds: float = 0.0
    run_seconds: float = 0.0
    rows: list[Row] = []
    marks: dict[Point, str] = {}
    story: list[Row] = []
    unreached: list[str] = []
    exchanges: int = 0

    @property
    def ok(self) -> bool:
        return not self.violations

    def assert_ok(self) -> Self:
        """Raises errors.CrashTestFailed, whose message is this report, if something must not be as it is."""
        if self.violations:
            raise CrashTestFailed(str(self), self)
        return self

    @property
    def first(self) -> str | None:
        """The first crash point that went wrong, as `crash_at` takes it."""
        return next((at for finding in self.violations for at in finding.at), None)

    def __str__(self) -> str:
        return self.told()

    def told(self, again: str = "crash_everywhere(..., crash_at={!r})") -> str:
        """The report in words; `again` is how a certain point is tried again."""
        lines = [self._head(), f"without a crash: {self.outcome}, {took(self.run_seconds)} by its own clock", ""]
        if self.marks:
            lines += [*table(self.rows, self.marks), *WAYS, *([EXCHANGES] if self.exchanges else ()), ""]
        lines += self._sampled()
        for sign, findings in (("✗", self.violations), ("!", self.advice), ("✓", self.harmless)):
            for finding in findings:
                lines += [*_told(sign, finding), ""]
        lines += self._story(again)
        return "\n".join(lines).rstrip()

    def counted(self) -> str:
        """How much there is at which to crash."""
        counts = [(self.commits, "commit"), (self.exchanges, "exchange"), (self.effects, "effect")]
        return ", ".join(_count(number, what) for number, what in counts if number or what != "exchange")

    def _head(self) -> str:
        figures = f"{self.counted()}, {took(self.seconds)}"
        wrong = len({at for finding in self.violations for at in finding.at})
        points = _count(self.points, "crash point")
        if self.violations:
            found = f"✗ {wrong} of {points} went wrong" if wrong else f"✗ wrong without any crash; {points}"
        else:
            found = f"✓ {points}, each with the same outcome"
            if any(mark == "≈" for mark in self.marks.values()):
                found = f"✓ {points}, each with an outcome that is accepted"
        return f"crash_everywhere({self.call})\n{found}  ({figures})"

    def _sampled(self) -> list[str]:
        lines: list[str] = []
        if self.points < self.places:
            lines += [
                f"{self.points:,} of {self.places:,} places were tried (max_points=, crash_at=; seed={self.seed})",
                "",
            ]
        if self.unreached:
            named = _named(self.unreached)
            lines += [f"not come to, since the run took another way or time: {named}", ""]
        return lines

    def _story(self, again: str) -> list[str]:
        """How the first of the points that went wrong went wrong, and how to see that again."""
        if self.first is None:
            return []
        return [f"crash {self.first}:", *life_story(self.story), "", f"again: {again.format(self.first)}"]


def _told(sign: str, finding: Finding) -> list[str]:
    where = f"\n    at {_count(len(finding.at), 'crash point')}: {_named(finding.at)}" if finding.at else ""
    lines = [f"{sign} {finding.what}{where}", *(f"    {fact}" for fact in finding.facts)]
    return [*lines, f"  hint: {finding.hint}"] if finding.hint else lines


def _named(points: Sequence[str]) -> str:
    more = len(points) - NAMED_POINTS
    named = "; ".join(points[:NAMED_POINTS])
    return named if more <= 0 else f"{named}; and {more} more"


def _count(number: int, one: str) -> str:
    return f"1 {one}" if number == 1 else f"{number:,} {one}s"


__all__ = ["LEGEND", "CrashReport"]

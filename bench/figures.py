"""What is measured and how it is shown: figures, the settings they are measured under, and the table."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec

T = TypeVar("T")

LINEAR = 1.5
"""What one of ten times as many may cost over one of few, where the target says "linear"."""

SAME = 1.25
"""The same where it says "the same": what is left are caches, and the noise of the machine."""


class Setting(msgspec.Struct, frozen=True):
    """Where databases are made, and how much is done: a benchmark names a number for each size."""

    folder: Path
    size: Literal["full", "quick", "smoke"] = "full"

    def pick(self, full: T, quick: T, smoke: T) -> T:
        """The one for this size. "smoke" only shows that a benchmark runs."""
        return {"full": full, "quick": quick, "smoke": smoke}[self.size]


class Figure(msgspec.Struct, frozen=True):
    """One line of the table. `floor` is what bare commits of the same bytes took, in the same unit.

    `limit` is the target, a most or (with `at_least`) a least; None for figures that are only for comparison.
    """

    measure: str
    figure: float
    unit: str = ""
    floor: float | None = None
    limit: float | None = None
    at_least: bool = False

    @property
    def holds(self) -> bool | None:
        if self.limit is None:
            return None
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


def table(figures: Sequence[Figure]) -> str:
    """Figures in columns, for people."""
    head = ("measure", "figure", "floor", "× floor", "target", "")
    lines = [head, *(_cells(each) for each in figures)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    return "\n".join(_line(cells, widths) for cells in [lines[0], tuple("─" * width for width in widths), *lines[1:]])


def _cells(figure: Figure) -> tuple[str, ...]:
    unit = f" {figure.unit}" if figure.unit else ""
    floor = "" if figure.floor is None else _number(figure.floor) + unit
    ratio = f"{figure.figure / figure.floor:.1f}" if figure.floor else ""
    limit = "" if figure.limit is None else f"{'≥' if figure.at_least else '≤'} {_number(figure.limit)}{unit}"
    mark = {True: "✓", False: "✗", None: ""}[figure.holds]
    return (figure.measure, _number(figure.figure) + unit, floor, ratio, limit, mark)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (
        cell.ljust(width) if not n else cell.rjust(width)
        for n, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join([first, *rest]).rstrip()


def _number(value: float) -> str:
    """Three digits that matter."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def as_json(figures: Sequence[Figure]) -> str:
    """Figures as a JSON array, for programs."""
    entries: list[dict[str, Any]] = [{**msgspec.structs.asdict(each), "holds": each.holds} for each in figures]
    return json.dumps(entries, indent=2, ensure_ascii=False)

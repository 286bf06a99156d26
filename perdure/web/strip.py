"""The shape of a run in a list: its life in at most a dozen segments. Pure."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from perdure.client.axis import Axis, Clockwork, Span
from perdure.client.description import RunDescription, StepView

CELLS = 48
GAP_CELLS = 4
SEGMENTS = 12


class Segment(NamedTuple):
    """A stretch in percent of the width; `kind` is a bar of `drawing`."""

    kind: str
    x: float
    w: float


_LOUD = ("fail", "run", "ok", "held", "back", "cancel", "wait", "queue")
"""What a cell shows if several things happen in it: the first of these."""

_ATTEMPT_KINDS = {"running": "run", "deferred": "wait", "completed": "ok", "held": "held", "cancelled": "cancel"}


def strip(run: RunDescription) -> list[Segment]:
    """What happened when, coarsely: what went wrong is never lost, what was short may be."""
    clock = Clockwork(run)
    spans = list(_spans(run, clock))
    axis = Axis(
        clock.end, [span for kind, span in spans if kind not in ("wait", "back", "queue", "held")], CELLS, GAP_CELLS
    )
    cells = [""] * CELLS
    for kind, (start, end) in sorted(spans, key=lambda each: -_loudness(each[0])):
        first, stop = axis.span(start, end)
        cells[first:stop] = [kind] * (stop - first)
    return _joined(cells)


def _spans(run: RunDescription, clock: Clockwork) -> Iterator[tuple[str, Span]]:
    for step in run.steps:
        if step.kind in ("timer", "human task", "child"):
            yield "wait", clock.step(step)
        elif step.kind == "activity":
            yield _under(step), clock.step(step)
            for attempt, span in clock.attempts(step):
                yield _ATTEMPT_KINDS.get(attempt.state, "fail"), span
    if run.block is not None and run.block.at is not None:
        yield "held", (clock.at(run.block.at), clock.end)


def _under(step: StepView) -> str:
    """What lies under the attempts of a step: time in which none of them ran."""
    if step.state == "cancelled":
        return "cancel"
    return "back" if step.attempts else "queue"


def _loudness(kind: str) -> int:
    return _LOUD.index(kind) if kind in _LOUD else len(_LOUD)


def _joined(cells: Sequence[str]) -> list[Segment]:
    runs = [(kind, sum(1 for _ in group)) for kind, group in groupby(cells)]
    while sum(1 for kind, _ in runs if kind) > SEGMENTS:
        runs = _without_shortest(runs)
    segments, at = [], 0
    for kind, length in runs:
        if kind:
            segments.append(Segment(kind, _percent(at), _percent(length)))
        at += length
    return segments


def _without_shortest(runs: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The same with the shortest stretch that is not a failure given to the one before it."""
    least = min(range(1, len(runs)), key=lambda n: (runs[n][0] == "fail", runs[n][1]))
    kind, length = runs[least - 1]
    merged = [*runs[: least - 1], (kind or runs[least][0], length + runs[least][1]), *runs[least + 1 :]]
    return [(kind, sum(each for _, each in group)) for kind, group in groupby(merged, key=lambda run: run[0])]


def _percent(cells: int) -> float:
    return round(cells * 100 / CELLS, 2)

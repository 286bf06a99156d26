"""The time of a run on an axis: seconds since its start to places, with long idle gaps folded away. Pure."""

from collections.abc import Sequence
from datetime import datetime

from perdure.client.description import AttemptView, RunDescription, StepView

Span = tuple[float, float]

GAP_CELLS = 3
GAP_SHARE = 0.08
GAP_LEAST_S = 30.0
"""A time in which nothing runs is folded if it is longer than this share of the run and this many seconds."""


class Axis:
    """Maps seconds since the run's start to cells, with idle gaps folded to a few cells each, at most a third of all."""

    def __init__(self, end: float, active: Sequence[Span], cells: int, gap_cells: int = GAP_CELLS) -> None:
        self.end = max(end, 0.001)
        self.cells = cells
        self.gaps = _folded(_idle(active, self.end), self.end, cells // (3 * gap_cells))
        shown = self.end - sum(b - a for a, b in self.gaps)
        scale = (cells - gap_cells * len(self.gaps)) / shown if shown > 0 else 0.0
        self._points: list[tuple[float, float]] = [(0.0, 0.0)]
        for a, b in self.gaps:
            at, cell = self._points[-1]
            self._points.append((a, cell + (a - at) * scale))
            self._points.append((b, self._points[-1][1] + gap_cells))
        self._points.append((self.end, float(cells)))

    def cell(self, at: float) -> float:
        """Where a moment lies, between 0 and `cells`."""
        for (t0, c0), (t1, c1) in zip(self._points, self._points[1:], strict=False):
            if at <= t1:
                return c0 + (c1 - c0) * (max(at - t0, 0.0) / (t1 - t0)) if t1 > t0 else c1
        return float(self.cells)

    def span(self, start: float, end: float) -> tuple[int, int]:
        """The cells of a span: at least one, and never beyond the edge."""
        first = min(int(self.cell(start) + 1e-6), self.cells - 1)
        return first, min(max(round(self.cell(end)), first + 1), self.cells)

    def seconds(self, cell: float) -> float:
        """The moment a cell's left edge stands for."""
        for (t0, c0), (t1, c1) in zip(self._points, self._points[1:], strict=False):
            if cell <= c1:
                return t0 + (t1 - t0) * ((cell - c0) / (c1 - c0)) if c1 > c0 else t1
        return self.end


def _idle(active: Sequence[Span], end: float) -> list[Span]:
    """Where none of the spans is, between 0 and the end."""
    idle: list[Span] = []
    reached = 0.0
    for start, stop in sorted(active):
        if start > reached:
            idle.append((reached, start))
        reached = max(reached, stop)
    if end > reached:
        idle.append((reached, end))
    return idle


def _folded(idle: list[Span], whole: float, most: int) -> list[Span]:
    """The gaps worth folding: by the share rule, then any that still takes half of what is shown."""
    by_length = sorted((gap for gap in idle if gap[1] - gap[0] > GAP_LEAST_S), key=lambda gap: gap[0] - gap[1])
    folded: list[Span] = []
    shown = whole
    for gap in by_length[:most]:
        length = gap[1] - gap[0]
        if length <= whole * GAP_SHARE and length <= shown / 2:
            break
        folded.append(gap)
        shown -= length
    return sorted(folded)


class Clockwork:
    """Moments of a run as seconds since it began; what is open ends now."""

    def __init__(self, run: RunDescription) -> None:
        self.zero = run.started_at
        self.end = run.duration

    def at(self, moment: datetime | None) -> float:
        if moment is None or self.zero is None:
            return self.end
        return min(max((moment - self.zero).total_seconds(), 0.0), self.end)

    def step(self, step: StepView) -> Span:
        return self.at(step.scheduled_at), self.at(step.ended_at)

    def attempts(self, step: StepView) -> list[tuple[AttemptView, Span]]:
        return [(attempt, (self.at(attempt.started_at), self.at(attempt.ended_at))) for attempt in step.attempts]


def axis_of(run: RunDescription, cells: int) -> Axis:
    """The axis of a run."""
    clock = Clockwork(run)
    return Axis(clock.end, active_in(run, clock), cells)


def active_in(run: RunDescription, clock: Clockwork) -> list[Span]:
    """When something ran: attempts and children; waits and back-offs do not count. A run in which nothing ever does, but
    which was told something, has no idle time."""
    spans = [span for step in run.steps for _, span in clock.attempts(step)]
    spans += [clock.step(step) for step in run.steps if step.kind == "child"]
    return spans or ([(0.0, clock.end)] if run.messages else [])

"""The time axis of a run in a few dozen cells: bars of steps, idle gaps folded away, fan-outs as an area. Pure."""

from collections.abc import Sequence
from datetime import datetime

from perdure.cli.tokens import Line, Style, token
from perdure.client.description import AttemptView, RunDescription, StepView

Span = tuple[float, float]

GAP_CELLS = 3
GAP_SHARE = 0.08
GAP_LEAST_S = 30.0
"""A time in which nothing runs is folded if it is longer than this share of the run and this many seconds."""

AREA = "▁▂▃▄▅▆▇█"


class Axis:
    """Maps seconds since the run's start to cells, with idle gaps folded to a few cells each."""

    def __init__(self, end: float, active: Sequence[Span], cells: int) -> None:
        self.end = max(end, 0.001)
        self.cells = cells
        self.gaps = _folded(_idle(active, self.end), self.end, max(cells // 10, 0))
        shown = self.end - sum(b - a for a, b in self.gaps)
        scale = (cells - GAP_CELLS * len(self.gaps)) / shown if shown > 0 else 0.0
        self._points: list[tuple[float, float]] = [(0.0, 0.0)]
        for a, b in self.gaps:
            at, cell = self._points[-1]
            self._points.append((a, cell + (a - at) * scale))
            self._points.append((b, self._points[-1][1] + GAP_CELLS))
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
    """The axis of a run; only attempts count as activity, waits and back-offs do not."""
    clock = Clockwork(run)
    active = [span for step in run.steps for _, span in clock.attempts(step)]
    return Axis(clock.end, active, cells)


class Bar:
    """The cells of one row."""

    def __init__(self, axis: Axis) -> None:
        self.axis = axis
        self.glyphs = [" "] * axis.cells
        self.styles: list[Style] = [""] * axis.cells
        self.last = -1
        for a, b in axis.gaps:
            self._put(int((axis.cell(a) + axis.cell(b)) / 2), "╎", "dim")

    def _put(self, cell: int, glyph: str, style: Style) -> None:
        if 0 <= cell < len(self.glyphs):
            self.glyphs[cell] = glyph
            self.styles[cell] = style

    def fill(self, span: Span, glyph: str, style: Style) -> None:
        first, end = self.axis.span(*span)
        for cell in range(first, end):
            self._put(cell, glyph, style)
        self.last = max(self.last, end - 1)

    def mark(self, at: float, glyph: str, style: Style) -> None:
        cell = min(int(self.axis.cell(at)), self.axis.cells - 1)
        self._put(cell, glyph, style)
        self.last = max(self.last, cell)

    def cut(self, style: Style) -> None:
        """The line of now, at the right edge."""
        self._put(self.axis.cells - 1, "│", style)
        self.last = self.axis.cells - 1

    def line(self) -> Line:
        return list(zip(self.glyphs, self.styles, strict=True))


def step_bar(axis: Axis, clock: Clockwork, step: StepView) -> Bar:
    """Attempts as blocks joined by their back-off, waits hatched, what is open cut by the line of now."""
    bar = Bar(axis)
    span = clock.step(step)
    if step.kind == "timer":
        bar.fill(
            span, "╌" if step.state == "cancelled" else "░", token(step.state if step.ended_at else "waiting").style
        )
        if step.state == "completed":
            bar.mark(max(span[1] - 1e-9, span[0]), "○", "waiting")
    elif step.kind != "activity":
        bar.mark(span[0], "·", "dim")
    else:
        _activity_bar(bar, clock, step, span)
    if step.ended_at is None:
        bar.cut(token(step.state).style)
    return bar


def _activity_bar(bar: Bar, clock: Clockwork, step: StepView, span: Span) -> None:
    attempts = clock.attempts(step)
    if not attempts:
        bar.fill(span, "░", "queued")
        return
    if len(attempts) > 1 or step.ended_at is None:
        bar.fill((attempts[0][1][0], span[1]), "╌", "held" if step.state == "held" else "retrying")
    queued = attempts[0][1][0] - span[0]
    if queued > 0.2 * (span[1] - span[0]) and queued > 0:
        bar.fill((span[0], attempts[0][1][0]), "░", "queued")
    for attempt, at in attempts:
        if attempt.state == "running":
            bar.fill(at, "▓", "running")
        elif attempt.state == "cancelled":
            bar.fill(at, "▒", "cancelled")
        else:
            bar.fill(at, "█", "completed" if attempt.state == "completed" else "failed")


def area_bar(axis: Axis, clock: Clockwork, steps: Sequence[StepView]) -> Bar:
    """How many of the steps were under way in each cell; red where one of them failed."""
    bar = Bar(axis)
    load = [0.0] * axis.cells
    failed: set[int] = set()
    for step in steps:
        start, end = clock.step(step)
        first, stop = axis.span(start, end)
        for cell in range(first, stop):
            load[cell] += _share(axis, cell, start, end)
        if step.state in ("failed", "timed out"):
            failed.add(stop - 1)
    top = max(load, default=0.0) or 1.0
    is_open = any(step.ended_at is None for step in steps)
    for cell, value in enumerate(load):
        if value > 0:
            glyph = AREA[min(round(value / top * 7), 7)]
            style = "failed" if cell in failed else "running" if is_open and cell == axis.cells - 1 else "completed"
            bar.glyphs[cell], bar.styles[cell] = glyph, style
            bar.last = cell
    return bar


def _share(axis: Axis, cell: int, start: float, end: float) -> float:
    """How much of a cell's time a span covers, 0 to 1."""
    left, right = axis.seconds(cell), axis.seconds(cell + 1)
    if right <= left:
        return 1.0
    return max(min((min(end, right) - max(start, left)) / (right - left), 1.0), 0.02)


def blocks_bar(axis: Axis, clock: Clockwork, steps: Sequence[StepView]) -> Bar:
    """Steps one after the other in one row."""
    bar = Bar(axis)
    for step in steps:
        glyph, style = ("░", "waiting") if step.kind == "timer" else ("█", token(step.state).style)
        bar.fill(clock.step(step), "▓" if step.state == "running" else glyph, style)
    if any(step.ended_at is None for step in steps):
        bar.cut(token(steps[-1].state).style)
    return bar

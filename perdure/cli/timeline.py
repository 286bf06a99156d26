"""The time axis of a run in a few dozen cells: bars of steps, idle gaps folded away, fan-outs as an area. Pure."""

from collections.abc import Sequence

from perdure.cli.tokens import Line, Style, token
from perdure.client.axis import Axis, Clockwork, Span
from perdure.client.description import StepView

AREA = "▁▂▃▄▅▆▇█"


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


WAITS = ("timer", "human task")
"""Kinds of steps in which nothing runs."""


def step_bar(axis: Axis, clock: Clockwork, step: StepView) -> Bar:
    """Attempts as blocks joined by their back-off, waits hatched, what is open cut by the line of now."""
    bar = Bar(axis)
    span = clock.step(step)
    if step.kind in WAITS:
        bar.fill(
            span, "╌" if step.state == "cancelled" else "░", token(step.state if step.ended_at else "waiting").style
        )
        if step.state == "completed":
            bar.mark(max(span[1] - 1e-9, span[0]), "○", "waiting")
    elif step.kind == "child":
        bar.fill(span, "▓" if step.state == "running" else "█", token(step.state).style)
    elif step.kind == "request":
        bar.fill(span, "░", "waiting")
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
        glyph, style = ("░", "waiting") if step.kind in WAITS else ("█", token(step.state).style)
        bar.fill(clock.step(step), "▓" if step.state == "running" else glyph, style)
    if any(step.ended_at is None for step in steps):
        bar.cut(token(steps[-1].state).style)
    return bar

"""The timeline of a run: which rows, where on the axis, with which bars. Pure.

The axis runs in time since the run's start; long times in which no attempt ran are folded. What is open ends at the
line of now, right of which lies a future that is known in part: the next attempt, a timer's end. How much of the width
a second takes changes only by steps while a run is open, so that nothing is drawn elsewhere with each look at it.
"""

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from markupsafe import Markup

from perdure.client.axis import Axis, Clockwork, Span, active_in
from perdure.client.crowds import Row, grouped, row_state
from perdure.client.description import AttemptView, RunDescription, StepView
from perdure.client.human_view import HumanView
from perdure.durations import took
from perdure.web import crowd
from perdure.web.drawing import Shape, drawn, note
from perdure.web.looks import look
from perdure.web.messages import Track, tracks

CELLS = 10_000
GAP_CELLS = 700
NOW_AT_MOST = 0.92
"""So much of the width is at most behind us: what is left is the future."""

EDGE = 98.6
"""Percent: where something is drawn that comes later than the axis reaches."""

ROWS = 100
HEAD = 20
LOUD_ROWS = 60
"""At most so many rows at once; of more the first, those that are not simply done, and the last."""

BLOCKS = 12
"""More attempts than that: the first three and the last three, and their number."""

HIDDEN_KINDS = ("side effect", "patch")


class Scale:
    """From seconds since the start to percent of the width."""

    def __init__(self, run: RunDescription, clock: Clockwork) -> None:
        active = active_in(run, clock)
        self.is_open = run.closed_at is None
        self.axis = Axis(clock.end, active, CELLS, GAP_CELLS)
        if self.is_open:
            shown = self.axis.end - sum(stop - start for start, stop in self.axis.gaps)
            ahead = stepped(shown / NOW_AT_MOST) - shown
            self.axis = Axis(clock.end + ahead, [*active, (clock.end, clock.end + ahead)], CELLS, GAP_CELLS)
        self.now = self.at(clock.end)
        self.rate = (100 - self.now) / (self.axis.end - clock.end) if self.is_open else 0.0
        """Percent per second, from now on."""

    def at(self, seconds: float) -> float:
        return self.axis.cell(seconds) * 100 / CELLS

    def bar(self, kind: str, span: Span, is_open: bool = False) -> Shape:
        start = self.at(span[0])
        return Shape(kind, start, self.at(span[1]) - start, is_open)


def stepped(seconds: float) -> float:
    """The next number of a row in which each is a quarter more than the one before, so that it seldom changes."""
    least = max(seconds, 1e-3)
    return 1.25 ** math.ceil(math.log(least, 1.25) - 1e-9)


class Tick(NamedTuple):
    x: float
    text: str


class Gap(NamedTuple):
    """A folded time, in percent."""

    x: float
    w: float
    text: str


class Chip(NamedTuple):
    text: str
    hue: str = ""


class Line(NamedTuple):
    """One row. `state` is its look, `key` the step it is selected by, `is_crowd` whether it stands for many."""

    key: str
    kind: str
    name: str
    state: str
    chips: list[Chip]
    took: str
    since: datetime | None
    until: datetime | None
    svg: Markup
    words: str
    is_crowd: bool
    compensation: bool = False


class Hidden(NamedTuple):
    """Rows that are not shown: how many, and the number of the first."""

    many: int
    start: int


class Timeline(NamedTuple):
    ticks: list[Tick]
    gaps: list[Gap]
    scale: Scale
    whole: Markup
    rows: "list[Line | Hidden]"
    total: int
    start: int
    """The number of the first row that is shown, if it is not the digest."""
    details: int
    """Steps that are shown only if details are asked for."""
    tracks: "list[Track]"
    """Marks of messages, by their names."""
    more_tracks: int


def timeline(run: RunDescription, start: int | None, details: bool, loud_id: str = "") -> Timeline:
    """The rows from one on, or (None) a digest: as many as can be looked at. `loud_id` is a step whose row is shown."""
    clock = Clockwork(run)
    scale = Scale(run, clock)
    steps = [step for step in run.steps if details or step.kind not in HIDDEN_KINDS]
    rows = grouped(steps)
    shown = _digest(rows, loud_id) if start is None else _window(rows, start)
    lines = [each if isinstance(each, Hidden) else _line(each, scale, clock) for each in shown]
    said, more_said = tracks(run, scale, clock)
    whole = Shape(f"whole-{look(run.status).hue}", 0, scale.now, scale.is_open)
    hidden = len(run.steps) - len(steps)
    return Timeline(
        _ticks(scale), _gaps(scale), scale, drawn([whole]), lines, len(rows), start or 0, hidden, said, more_said
    )


def _window(rows: Sequence[Row], start: int) -> "list[Row | Hidden]":
    start = max(min(start, len(rows) - 1), 0)
    shown: list[Row | Hidden] = [Hidden(start, max(start - ROWS, 0))] if start else []
    shown += rows[start : start + ROWS]
    rest = len(rows) - start - ROWS
    return [*shown, Hidden(rest, start + ROWS)] if rest > 0 else shown


def _digest(rows: Sequence[Row], loud_id: str) -> "list[Row | Hidden]":
    if len(rows) <= ROWS:
        return list(rows)
    loud = [n for n, row in enumerate(rows) if row_state(row) not in ("completed", "cancelled")]
    wanted = {*range(HEAD), *loud[: LOUD_ROWS // 2], *loud[-(LOUD_ROWS // 2) :]}
    wanted |= {n for n, row in enumerate(rows) if loud_id and any(step.id == loud_id for step in row.steps)}
    wanted |= set(range(len(rows) - max(ROWS - len(wanted), HEAD), len(rows)))
    shown: list[Row | Hidden] = []
    reached = 0
    for n in sorted(wanted):
        if n > reached:
            shown.append(Hidden(n - reached, reached))
        shown.append(rows[n])
        reached = n + 1
    return shown


def _gaps(scale: Scale) -> list[Gap]:
    axis = scale.axis
    return [Gap(scale.at(a), scale.at(b) - scale.at(a), took(b - a)) for a, b in axis.gaps]


NICE_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800)
NICE_S += (3_600, 7_200, 14_400, 28_800, 43_200, 86_400, 172_800, 604_800, 1_209_600, 2_592_000, 7_776_000, 31_536_000)
TICK_ROOM = 11.0
LAST_TICK = 92.5
"""Percent between two ticks, at least; and behind which there is no room for the text of one."""


def _ticks(scale: Scale) -> list[Tick]:
    """Round moments on each stretch between folded gaps, and its first one."""
    ticks: list[Tick] = []
    for start, stop in _stretches(scale.axis):
        x, end = scale.at(start), scale.at(stop)
        room = end - x
        if room <= 0:
            continue
        if not ticks or (x - ticks[-1].x >= TICK_ROOM / 2 and x <= LAST_TICK):
            ticks.append(Tick(x, _round(start)))
        step = next((nice for nice in NICE_S if nice * room / (stop - start) >= TICK_ROOM), stop - start + 1)
        said = _round(start, step)
        number = math.floor(start / step) + 1
        while number * step < stop:
            at = scale.at(number * step)
            if at - ticks[-1].x >= TICK_ROOM * 0.8 and at <= min(LAST_TICK, end - TICK_ROOM * 0.7):
                moment = _round(number * step, step)
                if start and moment == said:  # days later, a second makes no difference
                    moment = f"+{_round(number * step - start, step)}"
                ticks.append(Tick(at, moment))
            number += 1
    return ticks


def _stretches(axis: Axis) -> Iterator[Span]:
    reached = 0.0
    for start, stop in axis.gaps:
        yield reached, start
        reached = stop
    yield reached, axis.end


def _round(seconds: float, step: float = 1.0) -> str:
    """The moment of a tick: 10s rather than 10.0s, and so exact that the next one, a `step` later, has another text."""
    if seconds < 1e-9:
        return "0"
    if seconds < 1 and step < 0.1:
        return f"{seconds * 1_000:.0f}ms"
    if step < 0.1 and seconds < 60:
        return f"{seconds:.{math.ceil(-math.log10(step))}f}s"
    return took(seconds).replace(".0s", "s")


def _line(row: Row, scale: Scale, clock: Clockwork) -> Line:
    step, state = row.first, row_state(row)
    if row.form == "step":
        shapes = list(_shapes(step, scale, clock))
        svg = drawn(shapes) + _noted(shapes, _note(step))
    else:
        svg = crowd.drawn_crowd(row, scale, clock)
    chips = _chips(step) if row.form == "step" else crowd.chips(row)
    return Line(
        key=step.id,
        kind=step.kind,
        name=_name(step),
        state=state,
        chips=[Chip(*chip) for chip in chips],
        took=_took(row, clock),
        since=_since(row),
        until=step.due_at if row.form == "step" and step.kind == "timer" and step.ended_at is None else None,
        svg=svg,
        words=_words(row, state, clock),
        is_crowd=row.form != "step",
        compensation=step.compensation,
    )


def _name(step: StepView) -> str:
    if step.kind == "timer" and step.due_at is not None:
        return f"{step.name} {took((step.due_at - step.scheduled_at).total_seconds()).replace('.0s', 's')}"
    return step.name


def _since(row: Row) -> datetime | None:
    """When something began that goes on."""
    running = [step.scheduled_at for step in row.steps if step.ended_at is None]
    return min(running) if running else None


def _took(row: Row, clock: Clockwork) -> str:
    if row.first.kind in HIDDEN_KINDS:
        return ""
    spans = [clock.step(step) for step in row.steps]
    return took(max(end for _, end in spans) - min(start for start, _ in spans))


def _words(row: Row, state: str, clock: Clockwork) -> str:
    """What the bars of a row show, for whoever cannot see them."""
    step = row.first
    if row.form != "step":
        return f"{len(row.steps):,} calls, {state}, {_took(row, clock)}"
    tries = f", {step.attempts_total:,} attempts" if step.attempts_total > 1 else ""
    error = f", {step.error.type.rpartition('.')[2]}" if step.error is not None else ""
    return f"{step.kind}, {state}{tries}{error}, {_took(row, clock)}"


def _chips(step: StepView) -> list[tuple[str, str]]:
    if step.task is not None:
        return _people_chips(step.task, step.ended_at is None)
    hue = "fail" if step.state in ("failed", "timed out") else "retry"
    if step.ended_at is None and step.max_attempts and (step.attempts_total > 1 or step.state == "retrying"):
        return [(f"{step.attempts_total}/{step.max_attempts}", hue)]
    return [(f"×{step.attempts_total:,}", hue)] if step.attempts_total > 1 or step.state == "retrying" else []


_NOTES = {
    "held": "held",
    "scheduled": "waits for a slot",
    "deferred": "waits for its token",
    "timed out": "timed out",
}


def _note(step: StepView) -> str:
    if step.state == "scheduled" and step.queue:
        return f"on queue {step.queue}"
    if step.state == "completed" and step.attempts_total > 1:
        return f"{_ordinal(step.attempts_total)} try"
    return _NOTES.get(step.state, "")


def _people_chips(task: HumanView, is_open: bool) -> list[tuple[str, str]]:
    """Who is asked, who has it, who has done it."""
    if task.completed_by is not None:
        return [(f"by {task.completed_by}", "ok")]
    if not is_open:
        return []
    who = f"{task.claimed_by} has it" if task.claimed_by else f"waits for {', '.join(task.assignees) or 'anybody'}"
    return [(who, ""), ("overdue", "fail")] if task.overdue else [(who, "")]


def _ordinal(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number:,}{ending}"


def _noted(shapes: Sequence[Shape], text: str) -> Markup:
    bars = [shape for shape in shapes if shape.kind not in ("due", "ghost")]
    if not bars:
        return Markup("")
    return note(text, max(shape.x + shape.w for shape in bars), min(shape.x for shape in bars))


def _shapes(step: StepView, scale: Scale, clock: Clockwork) -> Iterator[Shape]:
    span, is_open = clock.step(step), step.ended_at is None
    if step.kind in WAITS:
        yield scale.bar("cancel" if step.state == "cancelled" else "wait", span, is_open)
        if step.state == "completed":
            yield Shape("ring", scale.at(span[1]))
        elif is_open and (due_at := _due_at(step)) is not None:
            yield Shape("due", _ahead(due_at, scale, clock))
    elif step.kind == "child":
        yield scale.bar(f"child-{CHILDREN.get(step.state, 'fail')}", span, is_open)
    elif step.kind != "activity":
        yield Shape("tick", scale.at(span[0]))
    else:
        yield from _activity(step, scale, clock, span)


CHILDREN = {"running": "run", "completed": "ok", "cancelled": "cancel", "terminated": "cancel"}
"""Bars of children by their states; all others have failed."""

WAITS = ("timer", "human task")
"""Kinds of steps in which nothing runs."""


def _due_at(step: StepView) -> datetime | None:
    return step.due_at if step.task is None else step.task.due_at


def _ahead(moment: datetime, scale: Scale, clock: Clockwork) -> float:
    """Where something to come is drawn: at its time, or at the edge."""
    seconds = (moment - clock.zero).total_seconds()
    return min(scale.at(seconds) if seconds < scale.axis.end else EDGE, EDGE)


ATTEMPTS: dict[str, str] = {"completed": "ok", "running": "run", "deferred": "wait", "cancelled": "cancel"}
"""Bars of attempts by their state; all others have failed."""


def _activity(step: StepView, scale: Scale, clock: Clockwork, span: Span) -> Iterator[Shape]:
    attempts = clock.attempts(step)
    is_open = step.ended_at is None
    if not attempts:
        yield scale.bar("queue", span, is_open)
        return
    queued = attempts[0][1][0] - span[0]
    if queued > 0.2 * (span[1] - span[0]) and queued > 0:
        yield scale.bar("queue", (span[0], attempts[0][1][0]))
    running = attempts[-1][0].ended_at is None
    if len(attempts) > 1 or (is_open and not running):
        held = step.state == "held"
        yield scale.bar("held" if held else "back", (attempts[0][1][0], span[1]), is_open and not running)
    for attempt, at in _kept(attempts):
        yield scale.bar(ATTEMPTS.get(attempt.state, "fail"), at, attempt.ended_at is None)
    if is_open and step.retry_at is not None:
        yield Shape("ghost", _ahead(step.retry_at, scale, clock) - 0.6, 1.2)


def _kept(attempts: list[tuple[AttemptView, Span]]) -> list[tuple[AttemptView, Span]]:
    return attempts if len(attempts) <= BLOCKS else [*attempts[:3], *attempts[-3:]]

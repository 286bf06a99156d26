"""Many calls in one row: as an area, as blocks, and opened: a map of cells, a summary, failures first. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from perdure.client.axis import Clockwork, Span
from perdure.client.crowds import Row
from perdure.client.description import ErrorView, StepView
from perdure.durations import took
from perdure.web.drawing import Shape, area, cells, drawn, note

if TYPE_CHECKING:
    from perdure.web.timeline import Scale

BUCKETS = 120
BLOCKS = 60
"""An area has so many columns, and a sequence at most so many blocks."""

COLUMNS = 50
CELLS = 4_000
CALLS = 25
FAILURES = 6
"""Of an open crowd: cells in a row of its map, cells at most, calls on a page, and kinds of failures."""

FAILED = ("failed", "timed out")


class Group(NamedTuple):
    """Calls that ended alike: how many, and how long they took."""

    state: str
    many: int
    p50: str
    p95: str


class Alike(NamedTuple):
    """Calls with the same error: how many, and the number of the first."""

    error: ErrorView
    many: int
    number: int


class Call(NamedTuple):
    number: int
    step: StepView


class Crowd(NamedTuple):
    """A row that was opened. `per_cell`: calls that a cell stands for."""

    key: str
    name: str
    many: int
    svg: Markup
    columns: int
    lines: int
    per_cell: int
    groups: list[Group]
    alike: list[Alike]
    calls: list[Call]
    offset: int


def kind_of(step: StepView) -> str:
    """The colour of a call: what it came to, and whether it took more than one attempt."""
    if step.state in FAILED:
        return "fail"
    if step.ended_at is None:
        return {"retrying": "retry", "held": "held", "scheduled": "queue"}.get(step.state, "run")
    if step.state == "cancelled":
        return "cancel"
    return "retry" if step.attempts_total > 1 else "ok"


_WORST = ("fail", "held", "retry", "run", "queue", "cancel", "ok")


def opened(row: Row, offset: int) -> Crowd:
    """The crowd of a row, with its calls from `offset` on: what failed first, then in the order of calls."""
    steps = row.steps
    per_cell = -(-len(steps) // CELLS)
    kinds = [kind_of(step) for step in steps]
    worst = [min(kinds[n : n + per_cell], key=_WORST.index) for n in range(0, len(kinds), per_cell)]
    calls = sorted((Call(n, step) for n, step in enumerate(steps)), key=_urgency)
    return Crowd(
        key=row.first.id,
        name=row.first.name,
        many=len(steps),
        svg=cells(worst, COLUMNS),
        columns=COLUMNS,
        lines=-(-len(worst) // COLUMNS),
        per_cell=per_cell,
        groups=_groups(steps),
        alike=_alike(steps),
        calls=calls[offset : offset + CALLS],
        offset=offset,
    )


def _urgency(call: Call) -> tuple[int, int]:
    return min(_WORST.index(kind_of(call.step)), 3), call.number


def _groups(steps: Iterable[StepView]) -> list[Group]:
    times: dict[str, list[float]] = {}
    for step in steps:
        kind = kind_of(step)
        state = step.state if step.ended_at is None or kind != "retry" else "retried"
        end = step.ended_at
        times.setdefault(state, []).append(-1 if end is None else (end - step.scheduled_at).total_seconds())
    order = sorted(times.items(), key=lambda entry: -len(entry[1]))
    return [Group(state, len(each), *_percentiles(each)) for state, each in order]


def _percentiles(seconds: list[float]) -> tuple[str, str]:
    ended = sorted(each for each in seconds if each >= 0)
    if not ended:
        return "", ""
    return took(ended[len(ended) // 2]), took(ended[min(int(len(ended) * 0.95), len(ended) - 1)])


def _alike(steps: Sequence[StepView]) -> list[Alike]:
    found: dict[tuple[str, str], Alike] = {}
    for index, step in enumerate(steps):
        if step.error is not None and (step.state != "completed"):
            sign = (step.error.type, step.error.message)
            known = found.get(sign)
            found[sign] = Alike(step.error, 1, index) if known is None else known._replace(many=known.many + 1)
    return sorted(found.values(), key=lambda each: -each.many)[:FAILURES]


def row_of(rows: Iterable[Row], key: str) -> Row | None:
    """The row of several calls that holds a step."""
    return next((row for row in rows if row.form != "step" and any(step.id == key for step in row.steps)), None)


def chips(row: Row) -> list[tuple[str, str]]:
    """How many there are, and how many of them deserve a look."""
    counted = Counter(map(kind_of, row.steps))
    found = [(f"×{len(row.steps):,}" if row.form == "blocks" else f"{len(row.steps):,}", "")]
    retrying = sum(step.state == "retrying" for step in row.steps)
    if counted["fail"]:
        found.append((f"{counted['fail']:,} failed", "fail"))
    if retrying:
        found.append((f"{retrying:,} retrying", "retry"))
    return found


def drawn_crowd(row: Row, scale: "Scale", clock: Clockwork) -> Markup:
    """The bar of a crowd."""
    if row.form == "blocks":
        return _blocks(row.steps, scale, clock)
    spans = [clock.step(step) for step in row.steps]
    left, right = scale.at(min(start for start, _ in spans)), scale.at(max(end for _, end in spans))
    loads = _loads(row.steps, spans, scale, left, right)
    ended = sorted(
        (step.ended_at - step.scheduled_at).total_seconds() for step in row.steps if step.ended_at is not None
    )
    text = f"p95 {took(ended[min(int(len(ended) * 0.95), len(ended) - 1)])}" if ended else ""
    return area(left, right - left, loads) + note(text, right, left)


_LAYERS = {"fail": "fail", "retry": "retry", "held": "retry", "run": "run", "queue": "run"}


def _loads(
    steps: Sequence[StepView], spans: Sequence[Span], scale: "Scale", left: float, right: float
) -> dict[str, list[int]]:
    """For each layer how many calls were under way in each column: +1 where one begins, -1 behind its end."""
    changes = {layer: [0] * (BUCKETS + 1) for layer in ("ok", "run", "retry", "fail")}
    per_column = max(right - left, 1e-9) / BUCKETS
    for step, (start, end) in zip(steps, spans, strict=True):
        first = min(int((scale.at(start) - left) / per_column), BUCKETS - 1)
        last = min(max(int((scale.at(end) - left) / per_column), first), BUCKETS - 1)
        layer = changes[_LAYERS.get(kind_of(step), "ok")]
        layer[first] += 1
        layer[last + 1] -= 1
    loads: dict[str, list[int]] = {}
    for layer, deltas in changes.items():
        total = 0
        loads[layer] = [total := total + delta for delta in deltas[:BUCKETS]]
    return loads


def _blocks(steps: Sequence[StepView], scale: "Scale", clock: Clockwork) -> Markup:
    """Calls one after the other; neighbours of one colour that touch, or nearly, are one block."""
    bars = []
    for step in steps:
        start, end = clock.step(step)
        kind = "wait" if step.kind in ("timer", "human task") else kind_of(step)
        bars.append((kind, scale.at(start), scale.at(end), step.ended_at is None))
    apart = 0.3
    merged = _merged(bars, apart)
    while len(merged) > BLOCKS:
        apart *= 1.5
        merged = _merged(bars, apart)
    return drawn(Shape(kind, start, end - start, is_open) for kind, start, end, is_open in merged)


def _merged(bars: list[tuple[str, float, float, bool]], apart: float) -> list[tuple[str, float, float, bool]]:
    merged: list[tuple[str, float, float, bool]] = []
    for kind, start, end, is_open in bars:
        if merged:
            before, begun, reached, _ = merged[-1]
            if start - reached <= apart and (before == kind or apart > 1):
                worse = min(before, kind, key=_worst)
                merged[-1] = (worse, begun, max(end, reached), is_open)
                continue
        merged.append((kind, start, end, is_open))
    return merged


def _worst(kind: str) -> int:
    return _WORST.index(kind) if kind in _WORST else len(_WORST)

"""A run drawn for a terminal: headline, steps on one time axis, and why it does not go on. Pure: lines out.

More than 8 steps of the same name that overlap become one row with their number and an area of concurrency; more
than 20 one after the other become one row of blocks (design of the dashboard, section 3).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from perdure.cli import hearing, timeline
from perdure.cli.lines import clean, clip, clip_line, compact, line, line_width, pad, plain, width, wrap_line
from perdure.cli.times import left, took
from perdure.cli.tokens import CLOSED, COMPENSATION, Line, Style, token
from perdure.client.axis import Axis, Clockwork, axis_of
from perdure.client.crowds import Row, grouped, row_state
from perdure.client.description import BlockView, ErrorView, RunDescription, StepView, unended
from perdure.client.kin import told
from perdure.client.sources import short, source_of
from perdure.kernel.notes import MESSAGE
from perdure.kernel.project import RunRow

ROWS = 60
"""Rows shown before completed ones in the middle are left out."""

ERRORS = 3
TOOK_CELLS = 7
SHOWN = ("activity", "timer", "human task", "child", "request")
"""Kinds of steps that are shown without being asked for."""

SAID_CELLS = 30


class View(NamedTuple):
    """How to draw. `owned`: whether an engine holds the database; `details` shows side effects and patches; `all` every
    row, else as many as fit into `height`; `result` the result of a completed run; `whole` texts of any length; `hears` the
    signals that its workflow knows; `stuck` the runs below it that cannot go on; `served` the activities of queues that
    some worker makes, None if nobody has looked."""

    width: int
    now: datetime
    owned: bool = True
    details: bool = False
    all: bool = False
    height: int | None = None
    result: bool = True
    whole: bool = False
    hears: Sequence[str] = ()
    stuck: Sequence[RunRow] = ()
    served: frozenset[tuple[str, str]] | None = None


def portrait(run: RunDescription, view: View) -> list[Line]:
    """The whole picture of a run."""
    steps = [step for step in run.steps if view.details or step.kind in SHOWN]
    rows = grouped(steps)
    footer = _footer(run, view)
    if not view.whole:
        footer = [part for entry in footer for part in wrap_line(entry, view.width, 4)]
    most = ROWS
    if view.height is not None:
        most = max(view.height - len(footer) - 4, 5)
    kept, hidden = (rows, 0) if view.all else _kept(rows, most)
    lines = [headline(run, view)]
    if run.input not in (None, [], {}):
        lines.append(line((f"input {compact(run.input)}", "dim")))
    for word, noted in (("attributes", run.attributes), ("memo", run.memo)):
        if noted:
            lines.append(line((f"{word} {compact(msgspec.to_builtins(noted))}", "dim")))
    lines += _drawn(run, kept, view)
    if hidden:
        lines.append(line((f"  … {hidden:,} more completed rows: --all shows them", "dim")))
    lines += hearing.newest(run, view.width, view.whole)
    return [*(lines if view.whole else [clip_line(each, view.width) for each in lines]), *footer]


def headline(run: RunDescription, view: View) -> Line:
    """State, workflow, id; then age, build and what else is worth a word, as far as there is room."""
    icon, style = token(run.status)
    facts = [took(run.duration)]
    if run.pinned:
        facts.append(f"pinned to build {run.pinned[:12]}")
    elif run.build:
        facts.append(f"build {run.build[:12]}")
    if run.attempt > 1 or run.max_attempts != 1:
        facts.append(f"attempt {run.attempt}" + (f"/{run.max_attempts}" if run.max_attempts else ""))
    facts.append(f"{run.events:,} events" if run.events != 1 else "1 event")
    if run.cancel_requested and run.status not in CLOSED:
        facts.append("cancellation requested")
    head = line(
        (f"{icon} {_state_words(run)}", style), "  ", (clean(run.workflow), "bold"), "  ", clean(run.id)
    )  # fmt: skip
    while facts and line_width(head) + 3 + width(" · ".join(facts)) > view.width:
        facts.pop()
    return [*head, ("   " + " · ".join(facts), "dim")] if facts else head


def _state_words(run: RunDescription) -> str:
    if run.status == "running" and any(step.state == "retrying" for step in run.steps):
        return "running, retrying"
    return run.status


def _kept(rows: list[Row], most: int) -> tuple[list[Row], int]:
    """At most so many rows: what is open or went wrong first, then the first and the newest of the rest."""
    if len(rows) <= most:
        return rows, 0
    wanted = [i for i, row in enumerate(rows) if row_state(row) != "completed"][-most:]
    calm = [i for i, row in enumerate(rows) if row_state(row) == "completed"]
    room = most - len(wanted)
    head = room // 3
    tail = room - head
    kept: list[int] = sorted({*wanted, *calm[:head], *(calm[-tail:] if tail else [])})
    return [rows[i] for i in kept], len(rows) - len(kept)


def _drawn(run: RunDescription, rows: list[Row], view: View) -> list[Line]:
    lanes, more_lanes = hearing.lane_rows(run)
    if not rows and not lanes:
        return []
    ids = {child.step: child.id for child in run.children}
    labels = [_label(row, ids) for row in rows]
    heard = [hearing.lane_label(lane) for lane in lanes]
    notes = [_note(row, view) for row in rows]
    name_cells = min(max(line_width(label) for label in [*labels, *heard]), max(view.width * 2 // 5, 16))
    open_notes = [width(note) for row, note in zip(rows, notes, strict=True) if note and _is_open(row)]
    cells = view.width - name_cells - TOOK_CELLS - 4 - (max(open_notes) + 1 if open_notes else 0)
    if cells < 8:
        cells = max(view.width - name_cells - TOOK_CELLS - 4, 4)
    axis = axis_of(run, cells)
    clock = Clockwork(run)
    lines = [_ruler(axis, name_cells)]
    for lane, label in zip(lanes, heard, strict=True):
        blank = (" " * (TOOK_CELLS + 4), "")
        lines.append([*_padded(label, name_cells), blank, *hearing.lane_bar(axis, clock, lane).line()])
    if more_lanes:
        lines.append(line((f"  … messages of {more_lanes:,} more names", "dim")))
    for row, label, note in zip(rows, labels, notes, strict=True):
        bar = _bar(axis, clock, row)
        name = _padded(label, name_cells)
        right = [("  ", ""), (pad(_took(row, clock), TOOK_CELLS, right=True), "dim"), ("  ", "")]
        lines.append([*name, *right, *_noted(bar, note, _is_open(row))])
    return lines


def _is_open(row: Row) -> bool:
    return any(step.ended_at is None for step in row.steps)


def _bar(axis: Axis, clock: Clockwork, row: Row) -> timeline.Bar:
    if row.form == "area":
        return timeline.area_bar(axis, clock, row.steps)
    if row.form == "blocks":
        return timeline.blocks_bar(axis, clock, row.steps)
    return timeline.step_bar(axis, clock, row.first)


def _noted(bar: timeline.Bar, note: str, is_open: bool) -> Line:
    """The bar with its note: outside of the axis if it is open, else behind its last cell if there is room."""
    cells = bar.line()
    if not note:
        return cells
    style: Style = "dim"
    if is_open:
        return [*cells, (f" {note}", style)]
    if bar.last + 2 + width(note) > len(cells):
        return cells
    return [*cells[: bar.last + 1], (f" {note}", style), *cells[bar.last + 2 + width(note) :]]


def _ruler(axis: Axis, name_cells: int) -> Line:
    """What the axis spans, and how long each folded gap is."""
    cells = [" "] * axis.cells
    _write(cells, 0, "0s")
    end = took(axis.end)
    _write(cells, axis.cells - len(end), end)
    for a, b in axis.gaps:
        text = f"⋯{took(b - a)}⋯"
        middle = round((axis.cell(a) + axis.cell(b)) / 2)
        start = min(max(middle - len(text) // 2, 3), axis.cells - len(end) - 1 - len(text))
        if start >= 3 and all(cell == " " for cell in cells[start - 1 : start + len(text) + 1]):
            _write(cells, start, text)
    return [(" " * (name_cells + TOOK_CELLS + 4), ""), ("".join(cells), "dim")]


def _write(cells: list[str], start: int, text: str) -> None:
    for offset, char in enumerate(text):
        if 0 <= start + offset < len(cells):
            cells[start + offset] = char


def _padded(label: Line, cells: int) -> Line:
    short = clip_line(label, cells)
    return [*short, (" " * (cells - line_width(short)), "")]


def _label(row: Row, children: Mapping[str, str]) -> Line:
    step = row.first
    state = row_state(row)
    icon, style = token(state)
    loud = style if state not in ("completed", "cancelled") else ""
    undoes = (f"{COMPENSATION} ", "dim") if step.compensation else ""
    pieces = line((icon, style), " ", undoes, (clean(step.name), loud))
    if row.form != "step":
        return pieces + _crowd_chips(row)
    if step.kind == "timer" and step.due_at is not None:
        pieces.append((f" {took((step.due_at - step.scheduled_at).total_seconds())}", "dim"))
    elif step.task is not None:
        who = step.task.completed_by or step.task.claimed_by or ", ".join(step.task.assignees)
        pieces.append((f" ({clean(who)})" if who else "", "dim"))
    elif step.id in children:
        pieces.append((f" {clean(children[step.id])}", "dim"))
    elif step.kind not in SHOWN:
        pieces.append((f" ({step.kind})" if step.kind != step.name else "", "dim"))
    chip = _attempts_chip(step)
    if chip:
        pieces.append((f" {chip}", "retrying" if step.state != "failed" else "failed"))
    return pieces


def _attempts_chip(step: StepView) -> str:
    if step.attempts_total > 1 or step.state == "retrying":
        if step.ended_at is None and step.attempts_total <= (step.max_attempts or 0):
            return f"{step.attempts_total}/{step.max_attempts}"
        return f"×{step.attempts_total}"
    return ""


def _crowd_chips(row: Row) -> Line:
    chips = line((f" ×{len(row.steps):,}" + (" in sequence" if row.form == "blocks" else ""), "dim"))
    failed = sum(step.state in ("failed", "timed out") for step in row.steps)
    retrying = sum(step.state == "retrying" for step in row.steps)
    live = sum(step.ended_at is None for step in row.steps) - retrying
    if live:
        chips.append((f" · {live:,} open", "dim"))
    if retrying:
        chips += [(" · ", "dim"), (f"{retrying:,} retrying", "retrying")]
    if failed:
        chips += [(" · ", "dim"), (f"{failed:,} failed", "failed")]
    cancelled = sum(step.state == "cancelled" for step in row.steps)
    if 0 < cancelled < len(row.steps):
        chips.append((f" · {cancelled:,} cancelled", "dim"))
    return chips


def _took(row: Row, clock: Clockwork) -> str:
    if row.first.kind not in SHOWN:
        return ""
    spans = [clock.step(step) for step in row.steps]
    return took(max(end for _, end in spans) - min(start for start, _ in spans))


def _note(row: Row, view: View) -> str:
    step = row.first
    if row.form == "area":
        ended = sorted(
            (step.ended_at - step.scheduled_at).total_seconds() for step in row.steps if step.ended_at is not None
        )
        return f"p95 {took(ended[min(int(len(ended) * 0.95), len(ended) - 1)])}" if ended else ""
    if row.form != "step" or step.ended_at is not None:
        return ""
    if step.task is not None:
        what = "claimed" if step.task.claimed_by else "waits for somebody"
        return f"{what}, overdue" if step.task.overdue else what
    if step.retry_at is not None:
        wait = (step.retry_at - view.now).total_seconds()
        return f"next in {left(wait)}" if wait > 0 else "next now"
    if step.due_at is not None:
        wait = (step.due_at - view.now).total_seconds()
        return f"{left(wait)} left" if wait > 0 else "due"
    if step.state == "scheduled":
        return f"waits for a worker of {clean(step.queue)}" if step.queue else "no slot yet"
    if step.attempts and step.attempts[-1].state == "deferred":
        return "waits for its token"
    if step.state == "running" and step.heartbeat_details is not None:
        return f"says {clip(compact(step.heartbeat_details), SAID_CELLS)}"
    return "held" if step.state == "held" else ""


def _unserved(run: RunDescription, view: View) -> list[tuple[str, str]]:
    """Activities that wait in a queue that nobody empties."""
    waiting = {(step.queue, step.name) for step in run.steps if step.queue and step.state == "scheduled"}
    return sorted(waiting - view.served) if view.served is not None and run.block is None else []


def _footer(run: RunDescription, view: View) -> list[Line]:
    lines: list[Line] = []
    if run.error is not None:
        lines += error_lines(run.error)
    if run.block is not None:
        lines += block_lines(run)
    for steps in _troubled(run):
        lines.append(_trouble(steps))
    if run.block is None:
        lines += [_remedy(fact, f"perdure retry {clean(run.id)}") for fact in _held(run)]
    lines += [
        line((f"no worker of queue {clean(queue)} knows {clean(name)}", "failed"),
             ("  → ", "dim"), f"perdure worker MODULE --queue {clean(queue)}")
        for queue, name in _unserved(run, view)[:ERRORS]
    ]  # fmt: skip
    asked = [step for step in run.steps if step.task is not None and step.ended_at is None]
    lines += [
        _remedy(f"people are asked: {clean(step.name)}", f"perdure task show {clean(run.id)}/{step.id}")
        for step in asked[:ERRORS]
    ]
    lines += [_remedy(clean(told(row)), f"perdure show {clean(row.id)}") for row in view.stuck]
    if run.status == "waiting" and run.note == MESSAGE:
        lines.append(hearing.wait_line(run, view.hears))
    if run.status == "queued" and run.wake_at is not None and run.wake_at > view.now:
        lines.append(line(("starts in ", "dim"), left((run.wake_at - view.now).total_seconds())))
    if run.expires_at is not None and run.status not in CLOSED:
        lines.append(line(("times out in ", "dim"), left((run.expires_at - view.now).total_seconds())))
    if run.parent is not None:
        parent = f"perdure show {clean(run.parent.id)} --run-id {run.parent.run_id[:8]}"
        lines.append(line(("child of: ", "dim"), parent))
    if run.previous_run_id is not None:
        lines.append(_link(run, "before", run.previous_run_id))
    if run.next_run_id is not None:
        lines.append(_link(run, "tried again", run.next_run_id))
    if run.reason and run.status in ("cancelled", "terminated", "timed out"):
        lines.append(line((f"{run.status}: ", "dim"), clean(run.reason)))
    if run.status == "completed" and view.result:
        result = compact(run.result)
        lines.append(line(("result ", "dim"), result if view.whole else clip(result, max(view.width - 7, 1))))
    if run.status not in (*CLOSED, "blocked", "quarantined") and not view.owned:
        lines.append(_remedy("no engine holds this database: the run sleeps until one starts", "start your program"))
    return lines


def _link(run: RunDescription, word: str, run_id: str) -> Line:
    return line((f"{word}: ", "dim"), f"perdure show {clean(run.id)} --run-id {run_id[:8]}")


def _held(run: RunDescription) -> list[str]:
    """What held attempts wait for."""
    facts: dict[str, None] = {}
    for step in run.steps:
        if step.state == "held":
            by_bug = step.error is None or step.error.is_bug
            kind = "compensation" if step.compensation else "activity"
            fact = (
                "the attempt waits for mended code"
                if by_bug
                else f"{kind} {clean(step.name)} waits until it can succeed"
            )
            facts[fact] = None
    return list(facts)[:ERRORS]


def _remedy(fact: str, command: str) -> Line:
    return line((fact, "held"), ("  → ", "dim"), command)


def _troubled(run: RunDescription) -> list[list[StepView]]:
    """Steps whose error a person should see, those with the same error together: what is stuck now in an open run,
    what a completed one has got over. A failed run has an error of its own."""
    if run.status in CLOSED and run.status != "completed":
        return []
    is_open = run.status != "completed"
    alike: dict[tuple[str, str, str], list[StepView]] = {}
    for step in run.steps:
        told = step.compensation and run.block is not None  # by the block
        if step.error is not None and (step.ended_at is None) == is_open and not told:
            alike.setdefault((step.name, step.error.type, step.error.message), []).append(step)
    return sorted(alike.values(), key=len, reverse=True)[:ERRORS]


def _trouble(steps: list[StepView]) -> Line:
    step = steps[0]
    assert step.error is not None
    tries = "1 attempt" if step.attempts_total == 1 else f"{step.attempts_total:,} attempts"
    what = f"{clean(step.name)}, {tries}" if len(steps) == 1 else f"{len(steps):,} steps {clean(step.name)}"
    facts = " · ".join(fact for fact in (clean(source_of(step.error)), what) if fact)
    return [*_error_line(step.error), (f"  {facts}", "dim")]


def _error_line(error: ErrorView, cause: ErrorView | None = None) -> Line:
    """Class and message; without the end that repeats its cause, if that follows."""
    name = clean(error.type.rpartition(".")[2])
    message = clean(error.message.partition("\n")[0])
    if cause is not None:
        message = message.removesuffix(f": {plain(_error_line(cause))}")
    return line((name, "failed"), f": {message}" if message else "")


def error_lines(error: ErrorView) -> list[Line]:
    """A failure and what caused it, one line each, with the source line it was raised at."""
    lines: list[Line] = []
    cause: ErrorView | None = error
    while cause is not None:
        where = clean(source_of(cause))
        lead = [("  caused by ", "dim")] if lines else []
        lines.append([*lead, *_error_line(cause, cause.cause), (f"  {where}" if where else "", "dim")])
        for leaf in cause.leaves:
            lines.append([("  | ", "dim"), *_error_line(leaf)])
        cause = cause.cause
    return lines


def block_lines(run: RunDescription) -> list[Line]:
    """Why the run is blocked: the reason, what differs, what caused it, and the way on."""
    block = run.block
    assert block is not None
    lead = run.status if run.status == block.kind else f"{run.status} ({block.kind})"
    reason, *facts = block_facts(block)
    lines = [
        line((f"{lead}: ", "held"), (reason, ""), (f"  {clean(short(block.source))}" if block.source else "", "dim"))
    ]
    facts += [f"not ended:  {clean(attempt)}: other code gets the run after that" for attempt in unended(run)]
    lines += [line((f"  {fact}", "dim")) for fact in facts]
    lines += [line(("  → ", "dim"), clean(hint)) for hint in block_hint(run).splitlines()]
    return lines


def block_facts(block: BlockView) -> list[str]:
    """The reason of a block in one line, then what there is to know beside it."""
    reason, *further = block.message.splitlines() or [""]
    facts = [clean(reason.removesuffix(f": recorded {block.recorded}, produced {block.produced}"))]
    if block.recorded or block.produced:
        facts.append(f"history:  {clean(block.recorded)}    code:  {clean(block.produced)}")
    facts += [clean(text) for text in further if text.strip()]
    if block.failure is not None:
        first, *causes = [plain(entry).strip() for entry in error_lines(block.failure)]
        if not first.startswith(facts[0]):
            facts.append(first)
        facts += causes
    return facts


def block_hint(run: RunDescription) -> str:
    """What to do about a block."""
    hint = run.block.hint.strip() if run.block is not None else ""
    return hint or f"mend the code and start it, or: perdure retry {clean(run.id)}"

"""What was said to a run and what it shows, drawn for a terminal: marks on the time axis, and a line for each. Pure."""

from collections.abc import Sequence
from typing import Any

from perdure.cli import timeline
from perdure.cli.lines import clean, clip, compact, line, plain, width
from perdure.cli.times import took
from perdure.cli.tokens import Line, Style
from perdure.client.axis import Axis, Clockwork
from perdure.client.description import RunDescription
from perdure.client.lanes import Lane, lanes
from perdure.client.spoken import MessageView
from perdure.kernel.notes import MESSAGE

LANES = 6
"""Rows of marks; the names beyond are counted."""

LAST = 5
"""So many messages, the newest, have a line in the picture."""

NAMES = 8
"""So many names of signals are told of a run that waits for one."""

SIGNS: dict[str, str] = {"signal": "◆", "update": "⌂"}
STYLES: dict[str, Style] = {
    "received": "completed",
    "accepted": "running",
    "completed": "completed",
    "failed": "failed",
    "no answer": "retrying",
    "in the mail": "queued",
}


def lane_rows(run: RunDescription) -> tuple[list[Lane], int]:
    """The rows of marks, and how many names have none."""
    found = lanes(message for message in run.messages if message.received_at is not None)
    return found[:LANES], max(len(found) - LANES, 0)


def lane_label(lane: Lane) -> Line:
    many = (f" ×{len(lane.messages):,}", "dim") if len(lane.messages) > 1 else ""
    return line((SIGNS[lane.kind], STYLES[lane.state]), " ", clean(lane.name), many)


def lane_bar(axis: Axis, clock: Clockwork, lane: Lane) -> timeline.Bar:
    """A mark where a message came in; of an update a bar to its answer."""
    bar = timeline.Bar(axis)
    for each in lane.messages:
        if each.kind == "update" and each.state != "no answer":
            bar.fill((clock.at(each.received_at), clock.at(each.ended_at)), "─", STYLES[each.state])
    for each in lane.messages:
        bar.mark(clock.at(each.received_at), SIGNS[each.kind], STYLES[each.state])
    return bar


def newest(run: RunDescription, room: int, whole: bool = False) -> list[Line]:
    """A line for each of the newest messages, and one for what is published."""
    lines = message_lines(run, run.messages[-LAST:], room, whole)
    hidden = len(run.messages) - LAST
    if hidden > 0:
        many = f"{hidden:,} earlier {'message' if hidden == 1 else 'messages'}: "
        lines.insert(0, line((many, "dim"), f"perdure show {clean(run.id)} --messages"))
    return lines + published_lines(run, room, whole)


def message_lines(run: RunDescription, messages: Sequence[MessageView], room: int, whole: bool = False) -> list[Line]:
    """When, what, with which arguments, and what became of it."""
    clock = Clockwork(run)
    names = max((width(clean(each.name)) for each in messages), default=0)
    return [_message_line(clock, each, min(names, 24), room, whole) for each in messages]


def _message_line(clock: Clockwork, message: MessageView, names: int, room: int, whole: bool) -> Line:
    style = STYLES[message.state]
    name = clip(clean(message.name), 24) if not whole else clean(message.name)
    moment = "" if message.received_at is None else f"+{took(clock.at(message.received_at))}"
    pieces = line(
        (f"{SIGNS[message.kind]} ", style), (name + " " * (names - width(name)), "bold"), (f"  {moment:>7}  ", "dim")
    )
    said, became = arguments(message.input), _became(clock, message)
    if not said and became:
        became[0] = (became[0][0].lstrip(), became[0][1])
    left = max(room - sum(width(text) for text, _ in pieces), 16)
    if not whole and width(said) + sum(width(text) for text, _ in became) > left:
        said = clip(said, max(left - sum(width(text) for text, _ in became), left // 3))
    pieces += [(said, "dim"), *became]
    return pieces


def _became(clock: Clockwork, message: MessageView) -> Line:
    match message.state:
        case "received":
            return []
        case "completed":
            return line(("  → ", "dim"), compact(message.result), (_after(clock, message), "dim"))
        case "failed" if message.error is not None:
            name = clean(message.error.type.rpartition(".")[2])
            why = clean(message.error.message.partition("\n")[0])
            return line(("  → ", "dim"), (name, "failed"), f": {why}" if why else "", (_after(clock, message), "dim"))
        case "accepted":
            return line(("  no answer yet", "running"))
        case "no answer":
            return line(("  the run ended without an answer", "retrying"))
        case _:
            return line(("  in the mail, not taken yet", "queued"))


def _after(clock: Clockwork, message: MessageView) -> str:
    seconds = clock.at(message.ended_at) - clock.at(message.received_at)
    return f"  after {took(seconds)}" if seconds >= 0.05 else ""


def published_lines(run: RunDescription, room: int, whole: bool = False) -> list[Line]:
    """What the run shows by name, as many names to a line as fit."""
    lines: list[Line] = []
    left = 0
    for name, shown in run.published.items():
        value = compact(shown.value)
        value = value if whole else clip(value, max(room // 2, 16))
        pieces = line((clean(name), "bold"), f" {value}")
        size = width(plain(pieces))
        if size + 3 > left:
            lead = "published  " if not lines else " " * 11
            lines.append([(lead, "dim"), *pieces])
            left = room - 11 - size
        else:
            lines[-1] += [(" · ", "dim"), *pieces]
            left -= size + 3
    return lines


def wait_line(run: RunDescription, hears: Sequence[str]) -> Line:
    """That only a message moves the run, which it may be, and the command that sends it."""
    names = [clean(name) for name in hears]
    said = (
        f"waits for a message: {', '.join(names[:NAMES])}" + (" …" if len(names) > NAMES else "") if names else MESSAGE
    )
    name = names[0] if len(names) == 1 and " " not in names[0] else "NAME"
    return line((said, "waiting"), ("  → ", "dim"), f"perdure signal {clean(run.id)} {name}")


def arguments(value: Any) -> str:
    """What a message brought, without the brackets that its encoding has."""
    if isinstance(value, list):
        return ", ".join(compact(each) for each in value)
    return compact(value)

"""What was said to a run: a row of marks for each name in its timeline, and a line for each message on a page of its own."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from perdure.client.axis import Clockwork
from perdure.client.description import RunDescription
from perdure.client.lanes import Lane, lanes
from perdure.client.spoken import MessageView
from perdure.durations import took
from perdure.web.drawing import Shape, drawn
from perdure.web.markup import flat
from perdure.web.records import Page

if TYPE_CHECKING:
    from perdure.web.timeline import Scale

LANES = 8
"""Rows of marks; of further names the number is told."""

APART = 0.25
"""Percent between two marks that are drawn: of those that are nearer the one that says more."""

PAGE = 100
"""Messages on a page."""

LEAST_S = 0.05
"""So long an answer takes at least before it is worth a word."""

HUES: dict[str, str] = {
    "received": "ok",
    "accepted": "run",
    "completed": "ok",
    "failed": "fail",
    "no answer": "retry",
    "in the mail": "queue",
}
ICONS: dict[str, str] = {"signal": "signal", "update": "update"}
_LOUD = ("fail", "retry", "run", "ok", "queue")


class Track(NamedTuple):
    """A row of marks."""

    kind: str
    name: str
    hue: str
    icon: str
    many: int
    svg: Markup
    words: str


def tracks(run: RunDescription, scale: "Scale", clock: Clockwork) -> tuple[list[Track], int]:
    """The rows of marks, and how many names have none."""
    found = lanes(message for message in run.messages if message.received_at is not None)
    return [_track(lane, scale, clock) for lane in found[:LANES]], max(len(found) - LANES, 0)


def _track(lane: Lane, scale: "Scale", clock: Clockwork) -> Track:
    counts: dict[str, int] = {}
    for message in lane.messages:
        counts[message.state] = counts.get(message.state, 0) + 1
    words = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    svg = drawn([*_answers(lane, scale, clock), *_marks(lane, scale, clock)])
    return Track(lane.kind, lane.name, HUES[lane.state], ICONS[lane.kind], len(lane.messages), svg, words)


def _answers(lane: Lane, scale: "Scale", clock: Clockwork) -> Iterator[Shape]:
    """Thin bars from updates to their answers; those that overlap are one."""
    reached = -1.0
    for message in lane.messages if lane.kind == "update" else ():
        if message.state == "no answer":
            continue
        start, end = scale.at(clock.at(message.received_at)), scale.at(clock.at(message.ended_at))
        is_open = message.ended_at is None
        if end - start >= APART and (end > reached or is_open):
            yield Shape(f"say-{HUES[message.state]}", start, end - start, is_open)
            reached = end


def _marks(lane: Lane, scale: "Scale", clock: Clockwork) -> Iterable[Shape]:
    by_place: dict[int, tuple[float, str]] = {}
    for message in lane.messages:
        x, hue = scale.at(clock.at(message.received_at)), HUES[message.state]
        place = int(x / APART)
        known = by_place.get(place)
        if known is None or _LOUD.index(hue) < _LOUD.index(known[1]):
            by_place[place] = (x, hue)
    return [Shape(f"{lane.kind}-{hue}", x) for x, hue in by_place.values()]


class Said(NamedTuple):
    """A line about a message. `fields` is all there is of it."""

    number: int
    message: MessageView
    hue: str
    icon: str
    state: str
    values: str
    fields: dict[str, Any]


def said(messages: Sequence[MessageView], page: Page) -> list[Said]:
    """The lines of a page."""
    return [_said(number, messages[number - 1]) for number in range(page.first, page.last + 1)]


def _said(number: int, message: MessageView) -> Said:
    after = ""
    if message.received_at is not None and message.ended_at is not None:
        seconds = (message.ended_at - message.received_at).total_seconds()
        after = f" after {took(seconds)}" if seconds >= LEAST_S else ""
    fields: dict[str, Any] = {"id": message.id} if message.id else {}
    fields["arguments"] = message.input
    if message.state == "completed":
        fields["answer"] = message.result
    return Said(
        number, message, HUES[message.state], ICONS[message.kind], f"{message.state}{after}", _values(message), fields
    )


def _values(message: MessageView) -> str:
    """Arguments, and what came of them."""
    given = message.input
    text = ", ".join(flat(each, 80) for each in given[:8]) if isinstance(given, list) else flat(given, 120)
    if message.state == "completed":
        return f"{text} → {flat(message.result, 80)}".strip()
    if message.error is not None:
        name = message.error.type.rpartition(".")[2]
        return f"{text} → {name}: {message.error.message}".strip()
    return text

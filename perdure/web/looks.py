"""How states look. Colour is never alone: each has an icon of its own shape and a word. A new state is one line here."""

from typing import NamedTuple


class Look(NamedTuple):
    """`icon` is a symbol of the sprite, `hue` a family of colour tokens in the style sheet."""

    icon: str
    hue: str


LOOKS: dict[str, Look] = {
    "queued": Look("dotted", "queue"),
    "scheduled": Look("dotted", "queue"),
    "running": Look("arc", "run"),
    "deferred": Look("hourglass", "wait"),
    "waiting": Look("hourglass", "wait"),
    "retrying": Look("again", "retry"),
    "held": Look("wrench", "held"),
    "blocked": Look("wrench", "held"),
    "quarantined": Look("wrench", "held"),
    "completed": Look("tick", "ok"),
    "continued as new": Look("flow", "ok"),
    "failed": Look("octagon", "fail"),
    "timed out": Look("clock", "fail"),
    "lost": Look("bolt", "fail"),
    "cancelled": Look("slash", "cancel"),
    "terminated": Look("square", "term"),
}
UNKNOWN = Look("dotted", "queue")
"""Of a state that this version has not heard of."""

KINDS: dict[str, str] = {
    "activity": "box",
    "timer": "timer",
    "human task": "person",
    "side effect": "dice",
    "patch": "flag",
    "child": "fan",
    "request": "flow",
}
"""Icons of what a workflow asks for."""

EVENT_HUES: dict[str, str] = {
    "Completed": "ok",
    "Fired": "ok",
    "Failed": "fail",
    "TimedOut": "fail",
    "Cancelled": "cancel",
    "CancelRequested": "cancel",
    "Terminated": "term",
    "ContinuedAsNew": "ok",
    "TimerStarted": "wait",
    "TaskOpened": "wait",
    "Expired": "fail",
    "Withdrawn": "cancel",
    "SignalReceived": "wait",
    "UpdateAccepted": "run",
    "Scheduled": "run",
    "Started": "run",
}
"""Colours of events, by how their names end; the first that fits."""


def look(state: str) -> Look:
    return LOOKS.get(state, UNKNOWN)


def event_hue(type: str) -> str:
    return next((hue for ending, hue in EVENT_HUES.items() if type.endswith(ending)), "queue")


class Tab(NamedTuple):
    """A selection of runs by their states, above the list."""

    word: str
    states: tuple[str, ...]
    hue: str = ""


TABS = (
    Tab("All", ()),
    Tab("Running", ("queued", "running")),
    Tab("Waiting", ("waiting",)),
    Tab("Needs attention", ("retrying", "held", "blocked", "quarantined"), "retry"),
    Tab("Failed", ("failed", "timed out"), "fail"),
    Tab("Completed", ("completed", "continued as new")),
    Tab("Stopped", ("cancelled", "terminated")),
)
"""Every state is in exactly one of them; a number above 0 in one with a hue is painted."""

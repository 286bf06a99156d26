"""A run's parent and its children, and what it has asked of others, while its history is told."""

from collections.abc import Mapping
from typing import Any

import msgspec

from perdure.kernel import events as ev
from perdure.kernel.family import ABANDON, TERMINATE
from perdure.kernel.terms import RunTerms


class RunLink(msgspec.Struct, frozen=True):
    """Another run: its id and its number, in hexadecimal."""

    id: str
    run_id: str


class ChildView(msgspec.Struct, frozen=True):
    """A run that this one has started. `run_id` is that of its first run, `step` where it is awaited.

    `state` as this run knows it: running, completed, failed, cancelled, terminated, timed out, or "not started".
    `parent_close`: what becomes of it if this run ends before it: "terminate", "cancel" or "abandon".
    """

    id: str
    run_id: str
    workflow: str
    step: str
    state: str
    parent_close: str


class Family:
    """Told the events about others, beside those that make steps of them."""

    def __init__(self) -> None:
        self._scheduled: dict[str, ev.ChildScheduled] = {}
        self._states: dict[str, str] = {}

    def step_of(self, event: ev.HistoryEvent) -> tuple[str, str, str] | None:
        """The kind, the name and the state of a step that begins with the event; None if none does."""
        if isinstance(event, ev.ChildScheduled):
            self._scheduled[event.id] = event
            self._states[event.id] = "running"
            return "child", event.workflow, "running"
        if isinstance(event, ev.ExternalCancelRequested):
            return "request", f"cancel {event.target}", "waiting"
        if isinstance(event, ev.ExternalSignalSent):
            return "request", f"signal {event.name} to {event.target}", "waiting"
        return None

    def end_of(self, event: ev.HistoryEvent) -> str | None:
        """The state in which the event leaves its step; None if it does not end one."""
        match event:
            case ev.ChildCompleted():
                state = "completed"
            case ev.ChildFailed():
                state = event.how
            case ev.ChildStartFailed():
                self._states[event.id] = "not started"
                return "failed"
            case ev.ExternalAnswered():
                return "failed" if event.code else "completed"
            case _:
                return None
        self._states[event.id] = state
        return state

    def children(self) -> list[ChildView]:
        return [
            ChildView(
                event.child_id,
                event.run_id.hex(),
                event.workflow,
                step,
                self._states[step],
                TERMINATE if event.terms is None else event.terms.parent_close,
            )
            for step, event in self._scheduled.items()
        ]

    def lives_on(self, step: str) -> bool:
        """Whether the step is a child that was not to end with this run."""
        event = self._scheduled.get(step)
        return event is not None and event.terms is not None and event.terms.parent_close == ABANDON


def above(terms: RunTerms | None) -> Mapping[str, Any]:
    """The parent and the root of a run, as fields of its description."""
    parent = None if terms is None else terms.parent
    if parent is None:
        return {}
    return {
        "parent": RunLink(parent.id, parent.run_id.hex()),
        "root": RunLink(parent.root_id, parent.root_run_id.hex()),
    }

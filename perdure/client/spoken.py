"""What was said to a run, what it has answered, and what it shows, while its history is told."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from perdure.client.moments import moment
from perdure.client.views import ErrorView, error_view
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.stores.base import MailRow


class MessageView(msgspec.Struct, frozen=True):
    """A signal or an update. `id` is its sender's: an update's own, or the request_id of a signal, "" without one.

    `state`: of a signal "received"; of an update "accepted", then "completed" or "failed", or "no answer" if the run has
    ended before. "in the mail": the run has not taken it yet. `received_at` is None only of those.
    """

    kind: str
    name: str
    id: str
    state: str
    received_at: datetime | None = None
    ended_at: datetime | None = None
    input: Any = None
    result: Any = None
    error: ErrorView | None = None


class PublishedView(msgspec.Struct, frozen=True):
    """The newest value that a run shows under a name, and since when."""

    value: Any
    at: datetime


class _Draft:
    """A message while its story is told."""

    __slots__ = ("ended_at", "error", "event", "result", "state")

    def __init__(self, event: ev.SignalReceived | ev.UpdateAccepted, state: str) -> None:
        self.event = event
        self.state = state
        self.ended_at: int | None = None
        self.result: Any = None
        self.error: ErrorView | None = None

    def view(self, show: Callable[[ev.Payload], Any], closed_at: int | None) -> MessageView:
        event = self.event
        kind, id = ("signal", event.request_id) if isinstance(event, ev.SignalReceived) else ("update", event.id)
        state = "no answer" if self.state == "accepted" and closed_at is not None else self.state
        ended = None if self.ended_at is None else moment(self.ended_at)
        return MessageView(
            kind, event.name, id, state, moment(event.at), ended, show(event.input), self.result, self.error
        )


class Spoken:
    """Told the events about messages. `show` gives the value of a payload."""

    def __init__(self, show: Callable[[ev.Payload], Any]) -> None:
        self._show = show
        self._drafts: list[_Draft] = []
        self._updates: dict[str, _Draft] = {}
        self._published: dict[str, ev.Published] = {}

    def tell(self, event: ev.HistoryEvent) -> None:
        match event:
            case ev.SignalReceived():
                self._drafts.append(_Draft(event, "received"))
            case ev.UpdateAccepted():
                draft = self._updates[event.id] = _Draft(event, "accepted")
                self._drafts.append(draft)
            case ev.UpdateCompleted() if event.id in self._updates:
                draft = self._updates[event.id]
                draft.state, draft.ended_at, draft.result = "completed", event.at, self._show(event.result)
            case ev.UpdateFailed() if event.id in self._updates:
                draft = self._updates[event.id]
                draft.state, draft.ended_at, draft.error = "failed", event.at, error_view(event.failure)
            case ev.Published():
                self._published[event.name] = event
            case _:
                pass  # of something else

    def messages(self, mail: Iterable[MailRow], closed_at: int | None) -> list[MessageView]:
        """In the order in which they came; last those that the run has not taken yet."""
        taken = [draft.view(self._show, closed_at) for draft in self._drafts]
        return taken if closed_at is not None else [*taken, *self._unread(mail)]

    def _unread(self, mail: Iterable[MailRow]) -> Iterator[MessageView]:
        for row in mail:
            said = row.message
            if isinstance(said, msg.Signal):
                yield MessageView("signal", said.name, said.request_id, "in the mail", input=self._show(said.input))
            elif isinstance(said, msg.Update):
                yield MessageView("update", said.name, said.id, "in the mail", input=self._show(said.input))

    def published(self) -> dict[str, PublishedView]:
        """By name, in the order of their first values."""
        return {
            name: PublishedView(self._show(event.value), moment(event.at)) for name, event in self._published.items()
        }

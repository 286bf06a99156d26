"""Messages of a run by what they are called: one row of marks for each name. Pure."""

from collections.abc import Iterable
from typing import NamedTuple

from perdure.client.spoken import MessageView

_LOUD = ("accepted", "in the mail", "no answer")
"""States of one message that speak for all of its name."""


class Lane(NamedTuple):
    """All messages of a kind and a name, in their order."""

    kind: str
    name: str
    messages: list[MessageView]

    @property
    def state(self) -> str:
        """What is still to come, or was not to be had; else how the newest ended."""
        states = {message.state for message in self.messages}
        return next((state for state in _LOUD if state in states), self.messages[-1].state)


def lanes(messages: Iterable[MessageView]) -> list[Lane]:
    """In the order of their first messages."""
    found: dict[tuple[str, str], Lane] = {}
    for message in messages:
        lane = found.setdefault((message.kind, message.name), Lane(message.kind, message.name, []))
        lane.messages.append(message)
    return list(found.values())

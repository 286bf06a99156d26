"""Which processes took part in a run: those its history, its attempts and its tasks tell of."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import TypeAlias

from perdure.kernel import events as ev
from perdure.stores.base import MemberRow, Stored

Members: TypeAlias = Callable[[Iterable[int]], Mapping[int, MemberRow]]
"""Finds rows of members by their numbers, such as `views.members` of a store."""


def members_of(stored: Stored, history: Iterable[ev.HistoryEvent]) -> set[int]:
    """The numbers of the members; `history` is that of the run, decoded."""
    told = {getattr(event, name, 0) for event in history for name in ("member", "claimed_by")}
    found = told.union(row.member for row in chain(stored.attempts, stored.tasks))
    return {member for member in found if member > 0}


def nobody(members: Iterable[int]) -> dict[int, MemberRow]:
    """For whoever does not tell who did what."""
    return {}

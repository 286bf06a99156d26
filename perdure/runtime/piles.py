"""What waits until others had their turn: a run that was said very much hears it in parts, and the rest of what is for it comes later."""

from collections.abc import Mapping, Sequence
from typing import TypeGuard

from perdure.kernel import messages as msg
from perdure.runtime.culprits import Item
from perdure.runtime.letters import Letter, StartRequest
from perdure.runtime.talks import SPOKEN

BLOCKING = frozenset({msg.BlockRun, msg.Strike})
"""What blocks a run comes at once: it hears nothing more."""


class Piled(Exception):
    """More lies in the mailboxes of a batch than is delivered at once: these letters come before the rest of it. `hearing`: the runs
    that hear a part of their mailboxes, by their keys, and their ids."""

    def __init__(self, letters: Sequence[Letter], hearing: Mapping[int, str]) -> None:
        super().__init__()
        self.letters = letters
        self.hearing = hearing


class PutOff:
    """Of one batch.

    A run that hears its mailbox in parts hears one of them in a batch. What else is for it comes in the next one, before what arrives
    then, or is found again in the mailbox; so everybody else has a turn in between. What was said to a run that it continues lies in
    the mailbox of that one, which is not looked into for it: such letters are delivered in the same batch, after all of the mailbox.
    """

    def __init__(self) -> None:
        self._hearing: dict[int, str] = {}
        self._first: dict[int, int] = {}
        self._before: dict[int, int] = {}

    def begin(self) -> None:
        self._hearing.clear()
        self._before, self._first = self._first, {}

    def parts(self, piled: Piled, part: Sequence[Item], later: list[Item]) -> list[Sequence[Item]]:
        """A part as it is delivered now, the first last; `later` gets the rest."""
        first = {letter.key: letter.mail_id for letter in reversed(piled.letters)}
        for key, run in piled.hearing.items():
            if self._before.get(key) != first[key]:  # else nothing was heard: putting it off is of no use
                self._hearing[key], self._first[key] = run, first[key]
        here = {id(letter) for letter in piled.letters}
        left = [item for item in part if id(item) not in here]
        further = [item for item in left if isinstance(item, Letter) and item.moved and item.key in piled.hearing]
        there = {id(item) for item in further}
        others = [
            item for item in left if id(item) not in there and not (is_spoken_mail(item) and item.key in piled.hearing)
        ]
        return [each for each in (further, self.without(others, later), piled.letters) if each]

    def without(self, part: Sequence[Item], later: list[Item]) -> Sequence[Item]:
        """The same of a part that comes after such a one: a run hears what was said to it in order."""
        if not self._hearing:
            return part
        left: list[Item] = []
        for item in part:
            if not self._is_for_one(item) or is_spoken_mail(item):
                left.append(item)
            elif not (isinstance(item, Letter) and item.mail_id):  # else it is found again
                later.append(item)
        return left

    def _is_for_one(self, item: Item) -> bool:
        if isinstance(item, StartRequest):
            return item.id in self._hearing.values()
        return item.key in self._hearing and type(item.message) not in BLOCKING


def is_spoken_mail(item: Item) -> TypeGuard[Letter]:
    return isinstance(item, Letter) and bool(item.mail_id) and type(item.message) in SPOKEN


def without_read(read: set[int], parts: list[tuple[Sequence[Item], int]]) -> list[tuple[Sequence[Item], int]]:
    """What is left to deliver: a part takes letters of others with it that were in the mailbox of one of its runs."""
    left = [
        ([item for item in part if not (isinstance(item, Letter) and item.mail_id in read)], tries)
        for part, tries in parts
    ]
    return [(part, tries) for part, tries in left if part]

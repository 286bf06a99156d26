"""The part of the contract that is about human tasks: how those that are open are found."""

from typing import Protocol

import msgspec

from perdure.kernel.human_rows import HumanTaskRow


class HumanFilter(msgspec.Struct, frozen=True):
    """Which human tasks to list: all conditions hold. The oldest first.

    `people`: any of them is an assignee, or has claimed it. `run`: the key of its run. `due_by`: due then at the latest.
    """

    people: tuple[str, ...] = ()
    run: int | None = None
    due_by: int | None = None
    limit: int = 100


class HumanViews(Protocol):
    """Open human tasks, read as `Views` are."""

    def find(self, wanted: HumanFilter) -> list[HumanTaskRow]:
        """Those that are wanted, without their bodies."""
        ...

    def one(self, run: int, step: str) -> HumanTaskRow | None:
        """That of a step, with its body."""
        ...

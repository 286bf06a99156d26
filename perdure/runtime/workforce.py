"""Who serves queues, with which code: whom to tell of a task, and when there is other code for an attempt that is held."""

from collections.abc import Collection, Iterable

from perdure.kernel.messages import Code, NewCode
from perdure.stores.base import Views, WorkerRow


class Workforce:
    """What the owner knows of the workers that live. It is looked up only when another one is among them, or one is gone."""

    def __init__(self, views: Views) -> None:
        self._views = views
        self._rows: dict[int, WorkerRow] = {}
        self._codes: dict[Code, None] = {}
        self._serving: dict[tuple[str, str], list[int]] = {}

    def look(self, members: Collection[int]) -> list[NewCode]:
        """These live now: what that means for attempts that are held.

        Raises:
            errors.StoreUnreachable: the store does not answer; the next look begins where this one did.
        """
        if members == self._rows.keys():
            return []
        known = {row.member: row for row in self._views.workers()}
        self._rows = {member: known[member] for member in members if member in known}
        self._serving = {}
        for row in self._rows.values():
            for pair in ((queue, name) for queue in row.queues for name in row.names):
                self._serving.setdefault(pair, []).append(row.member)
        before, self._codes = self._codes, dict.fromkeys(map(_code, self._rows.values()))
        return [*self._joined(before), *self._departed(before)]

    def _joined(self, before: Collection[Code]) -> list[NewCode]:
        new = tuple(code for code in self._codes if code not in before)
        return [NewCode(new)] if new else []

    def _departed(self, before: Iterable[Code]) -> list[NewCode]:
        """What the last worker of a build held is now sure to be given to others."""
        gone = dict.fromkeys(code.build for code in before if not self.has_build(code.build))
        return [NewCode(tuple(self._codes), build) for build in gone if self._codes]

    def has_build(self, build: str) -> bool:
        """Whether some worker has this code."""
        return any(code.build == build for code in self._codes)

    @property
    def code(self) -> NewCode | None:
        """All there is, for a run that may have missed its coming."""
        return NewCode(tuple(self._codes)) if self._codes else None

    def serving(self, tasks: Iterable[tuple[str, str]]) -> set[int]:
        """The workers that could take one of these (queue, activity)."""
        return {member for pair in tasks for member in self._serving.get(pair, ())}


def _code(row: WorkerRow) -> Code:
    return Code(row.build, row.queues, row.names)

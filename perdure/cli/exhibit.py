"""An exported run, in the place of a database that holds it: for commands that show one."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from perdure.cli.problems import ERROR, NOT_FOUND, Problem
from perdure.client.export import ExportedRun
from perdure.client.export_files import runs_in
from perdure.errors import ExportUnreadable
from perdure.stores.base import DefinitionRow, MemberRow


class Exhibit:
    """What a `Connection` has, as far as showing a run asks for it.

    Raises:
        Problem: the file holds no run, or several.
    """

    def __init__(self, path: str) -> None:
        try:
            found = [run for _, run in runs_in(Path(path))]
        except ExportUnreadable as error:
            raise Problem(str(error), NOT_FOUND) from error
        if len(found) != 1:
            raise Problem(
                f"{path} holds {len(found):,} runs, and one is shown", ERROR, [], "export it into its own file"
            )
        (run,) = found
        if isinstance(run, ExportUnreadable):
            raise Problem(str(run), ERROR) from run
        self.stored = run.stored()
        self.store = self
        self.views = _Views(run)


class _Views:
    def __init__(self, run: ExportedRun) -> None:
        self._members = {row.id: row for row in run.members}
        self._find = run.finder()

    def members(self, ids: Iterable[int]) -> dict[int, MemberRow]:
        return self._members

    def blob(self, key: int, digest: bytes) -> bytes | None:
        return self._find(digest)

    def definitions(self) -> list[DefinitionRow]:
        return []

    def owner(self) -> Any:
        """Somebody: whether an engine runs elsewhere is not known, so that nothing is said about it."""
        return MemberRow(0, "", 0, "", 0)

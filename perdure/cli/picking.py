"""Runs for commands that go through many: those that are named, or all that a filter keeps, one by one."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click

from perdure.cli import filters
from perdure.cli.options import Settings
from perdure.cli.problems import USAGE, Problem

PAGE = 200


class Pick(NamedTuple):
    """What was typed. `all`: every run, though no filter narrows it down."""

    runs: Sequence[str]
    state: tuple[str, ...] = ()
    workflow: str | None = None
    since: str | None = None
    all: bool = False
    attributes: tuple[str, ...] = ()

    @property
    def filters(self) -> bool:
        return bool(self.state or self.workflow or self.since or self.all or self.attributes)

    def demand(self, example: str) -> None:
        """Raises Problem unless either runs are named or a filter is given."""
        if self.runs and self.filters:
            raise Problem("runs are named, and a filter is given", USAGE, [], "give either")
        if not self.runs and not self.filters:
            raise Problem(
                "which runs?", USAGE, [], f"name them, or pick them:  {example} --state failed  (--all for all of them)"
            )


EVERY = click.option("--all", "all_", is_flag=True, help="All runs of the database.")


def is_path(source: str) -> bool:
    """Whether a file with exported runs is meant, or a folder: it is there, or is written like one."""
    from perdure.client.export_files import SUFFIXES

    written = source.endswith((*SUFFIXES, "/")) or source.startswith(("./", "../", "/"))
    return source != "-" and (written or Path(source).exists())


def count(settings: Settings, client: Any, pick: Pick) -> int | None:
    """How many runs there will be, None if they are too many to count."""
    from perdure.cli.listing import COUNTED

    if pick.runs:
        return None if "-" in pick.runs else len(pick.runs)
    total = client.store.views.count(_wanted(settings, pick), COUNTED + 1)
    return None if total > COUNTED else int(total)


def rows(settings: Settings, client: Any, pick: Pick) -> Iterator[Any]:
    """The rows of the runs: as they were named, or newest first."""
    import msgspec

    from perdure.cli import selection

    views = client.store.views
    if pick.runs:
        found = (views.row(id) for id in selection.many(client, settings, pick.runs))
        yield from (row for row in found if row is not None)
        return
    wanted, met = _wanted(settings, pick), False
    while page := views.search(wanted):
        met = True
        yield from page
        wanted = msgspec.structs.replace(wanted, before_key=page[-1].key)
    if not met:
        filters.demand_workflow(client, pick.workflow)


def _wanted(settings: Settings, pick: Pick) -> Any:
    return filters.wanted(pick.state, pick.workflow, pick.since, pick.attributes, settings.now(), limit=PAGE)

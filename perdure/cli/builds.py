"""`perdure builds`: which builds of the code have begun runs, and which of them are drained."""

from collections.abc import Collection
from typing import Any

import click

from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import OK

FIELDS = ("build", "open", "pinned", "runs", "last_started_at", "drained", "owner")


@click.command(cls=Command)
@options(json=True, quiet="Names of builds with open runs only.", times=True)
@click.pass_obj
def builds(settings: Settings) -> int:
    """Builds that have begun runs, the latest first: how many of their runs are open, and how many wait for just that build.

    A build without open runs is drained: nobody needs its code any more. Those of the engines that are there,
    with which runs begin now, are shown in any case. Looks at every run of the database.

    Example: perdure builds
    """
    from perdure.cli import output
    from perdure.cli.database import opened

    chosen = output.fields(settings.json, FIELDS)
    with opened(settings) as client:
        living = {owner.build for owner in client.store.views.owners()}
        records = records_of(client.store.admin.builds(), living)
    if settings.json:
        output.write_json([output.selected(_plain(record), chosen) for record in records])
    elif settings.quiet:
        for record in records:
            if not record["drained"]:
                click.echo(record["build"])
    elif not records:
        settings.narrate("no run has begun yet")
    else:
        _table(settings, records)
    return OK


def records_of(rows: Any, living: Collection[str]) -> list[dict[str, Any]]:
    """One for each build; `pinned` are those of its open runs that no other build may go on with. `living`: of engines that are
    there."""
    begun = {row.build for row in rows}
    found = {build: _nothing_of(build, True) for build in sorted(living) if build and build not in begun}
    for row in rows:
        record = found.setdefault(row.build, _nothing_of(row.build, row.build in living))
        record["open"] += row.open
        record["pinned"] += row.open if row.pinned else 0
        record["runs"] += row.runs
        record["last_started_at"] = max(record["last_started_at"], row.last_started_at)
    for record in found.values():
        record["drained"] = not record["open"] and not record["owner"]
    return list(found.values())


def _nothing_of(build: str, owner: bool) -> dict[str, Any]:
    return dict.fromkeys(FIELDS, 0) | {"build": build, "owner": owner}


def _plain(record: dict[str, Any]) -> dict[str, Any]:
    from perdure.client.moments import rfc3339

    began = record["last_started_at"]
    return {**record, "last_started_at": rfc3339(began) if began else None}


def _table(settings: Settings, records: list[dict[str, Any]]) -> None:
    import sys

    from perdure.cli.lines import clean

    lively = sys.stdout.isatty()
    now = settings.now()
    rows = [["BUILD", "OPEN", "PINNED", "RUNS", "LAST BEGAN", "STATE"]]
    for each in records:
        says = "an engine's" if each["owner"] else ("drained" if each["drained"] else "open")
        began = _when(settings, each["last_started_at"], now) if each["last_started_at"] else "never"
        rows.append([clean(each["build"]), *(f"{each[name]:,}" for name in ("open", "pinned", "runs")), began, says])
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    for row in rows:
        padded = [
            cell.rjust(w) if 1 <= n <= 3 else cell.ljust(w) for n, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        style = "dim" if row[-1] == "drained" and lively else ""
        settings.write([("  ".join(padded).rstrip() if lively else "\t".join(row), style)])


def _when(settings: Settings, at: int, now: Any) -> str:
    import sys
    from datetime import UTC, datetime, timedelta

    from perdure.cli.times import rfc3339, shown

    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at // 1000)
    if not sys.stdout.isatty() and not settings.time:
        return rfc3339(moment)
    return shown(moment, now, settings.time or "rel", settings.utc)

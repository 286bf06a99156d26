"""`perdure list`: runs, newest first."""

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from perdure.cli.completion import run_ids
from perdure.cli.filters import demand_workflow, filtered, related, wanted
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import USAGE, Problem
from perdure.cli.times import left, rfc3339, shown, took
from perdure.cli.tokens import Line, token

FIELDS = (
    "id",
    "run_id",
    "workflow",
    "status",
    "note",
    "build",
    "started_at",
    "closed_at",
    "duration",
    "wake_at",
    "events",
)
DETAILS = (
    *("input", "result", "error", "block", "cancel_requested", "reason", "steps", "attempt", "max_attempts"),
    *("first_run_id", "previous_run_id", "next_run_id", "request_id", "run_timeout", "execution_timeout", "expires_at"),
    *("attributes", "memo", "parent", "root", "children", "pinned"),
)
"""Fields of a description: selected by name, they cost a look at the whole run."""

COUNTED = 10_000
"""Runs are counted exactly up to here."""


@click.command(cls=Command, name="list")
@filtered
@related
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, help="At most so many.")
@click.option("--after", metavar="CURSOR", help="Go on after a page.")
@options(json=True, quiet="Ids only.", times=True)
@click.argument("prefix", required=False, shell_complete=run_ids)
@click.pass_obj
def list_(settings: Settings, prefix: str | None, state: tuple[str, ...], workflow: str | None, since_: str | None,
          attributes: tuple[str, ...], parent: str | None, root: str | None, limit: int, after: str | None) -> int:  # fmt: skip
    """List runs, newest first. PREFIX keeps those whose id begins so.

    Example: perdure list --state retrying,waiting,failed --since 24h
    """
    from perdure.cli import output
    from perdure.cli.database import opened

    chosen = output.fields(settings.json, FIELDS + DETAILS) if settings.json else None
    now = settings.now()
    if after is not None and not after.isdecimal():
        raise Problem(f"--after {after!r} is no cursor", USAGE, [], "take it from the last line of the page before")
    before = None if after is None else int(after)
    page = wanted(
        state, workflow, since_, attributes, now,
        id_prefix=prefix, parent=parent, root=root, before_key=before, limit=limit,
    )  # fmt: skip
    with opened(settings) as client:
        rows = client.store.views.search(page)
        if not rows:
            demand_workflow(client, workflow)
        if settings.quiet:
            for row in rows:
                click.echo(row.id)
        elif settings.json:
            output.write_json([output.selected(_record(settings, client, row, chosen), chosen) for row in rows])
        else:
            _table(settings, client, rows, now)
        _footnote(settings, client, rows, page)
    return 0


def summary(row: Any, now: datetime) -> dict[str, Any]:
    """A row of the list as JSON; the names are those of a description."""
    from perdure.client.moments import rfc3339 as exact
    from perdure.kernel.run import Status

    end = row.closed_at if row.closed_at is not None else int(now.timestamp() * 1e9)
    return {
        "id": row.id,
        "run_id": row.run_id.hex(),
        "workflow": row.workflow,
        "status": Status(row.status).word,
        "note": row.note,
        "build": row.build,
        "started_at": exact(row.started_at) if row.started_at else None,
        "closed_at": None if row.closed_at is None else exact(row.closed_at),
        "duration": max(end - row.started_at, 0) / 1e9 if row.started_at else 0.0,
        "wake_at": None if row.wake_at is None else exact(row.wake_at),
        "events": row.seq,
    }


def _record(settings: Settings, client: Any, row: Any, chosen: list[str] | None) -> dict[str, Any]:
    record = summary(row, settings.now())
    if chosen and any(path.partition(".")[0] in DETAILS for path in chosen):
        import msgspec

        from perdure.cli.database import description, stored_run

        record.update(msgspec.to_builtins(description(settings, client, stored_run(client, row.id, row.run_id.hex()))))
    return record


def _table(settings: Settings, client: Any, rows: list[Any], now: datetime) -> None:
    import sys

    from perdure.kernel.run import Status

    owned, served = bool(client.store.views.owners()), _served(client, rows)
    entries = [(Status(row.status).word, row) for row in rows]
    if not sys.stdout.isatty():
        click.echo("\t".join(HEADS))
        for state, row in entries:
            cells = (
                state,
                row.id,
                row.workflow,
                _doing(row, state, now, owned, served),
                _at(row, now, settings, True),
                _age(row, now),
            )
            click.echo("\t".join(_flat(cell) for cell in cells))
        return
    table = [
        (state, row, _doing(row, state, now, owned, served), _at(row, now, settings, False)) for state, row in entries
    ]
    for line in layout(settings, table, now):
        settings.write(line)


def _served(client: Any, rows: list[Any]) -> frozenset[str]:
    """The queues that some worker empties, if a run waits in one."""
    if not any(ON_QUEUE in row.note for row in rows):
        return frozenset()
    return frozenset(queue for worker in client.store.views.workers() for queue in worker.queues)


def _flat(text: str) -> str:
    from perdure.cli.lines import clean

    return clean(text)


HEADS = ("STATE", "RUN", "WORKFLOW", "DOING NOW", "STARTED", "AGE")
ON_QUEUE = " on queue "
TASK_NOTE = 'task "'
RUN, WORKFLOW, DOING, STARTED, AGE = range(1, 6)
DOING_LEAST = 16
"""Cells for what a run does, before columns that say less are left out."""


def layout(settings: Settings, table: list[tuple[str, Any, str, str]], now: datetime) -> list[Line]:
    """The rows in columns as wide as they need; what a run does takes the room that is left."""
    from perdure.cli.lines import clean, clip, clip_line, pad, width

    if not table:
        return []
    rows = [
        (f"{token(state).icon} {state}", clean(row.id), clean(row.workflow), doing, at, _age(row, now))
        for state, row, doing, at in table
    ]
    sizes = [max(width(text) for text in column) for column in zip(HEADS, *rows, strict=True)]
    sizes[RUN] = min(sizes[RUN], max(settings.width // 3, 12))
    sizes[WORKFLOW] = min(sizes[WORKFLOW], max(settings.width // 4, 10))
    columns, room = _columns(sizes, settings.width)
    sizes[DOING] = max(min(sizes[DOING], room), 9)

    def laid(texts: tuple[str, ...], styles: dict[int, str]) -> Line:
        cells = [(pad(clip(texts[each], sizes[each]), sizes[each]), styles.get(each, "")) for each in columns]
        spaced = [piece for cell in cells for piece in (("  ", ""), cell)][1:]
        return clip_line(spaced, settings.width)

    lines = [laid(HEADS, dict.fromkeys(columns, "dim"))]
    for (state, *_), texts in zip(table, rows, strict=True):
        lines.append(laid(texts, {0: token(state).style, DOING: _doing_style(state, texts[DOING])}))
    return lines


def _columns(sizes: list[int], cells: int) -> tuple[list[int], int]:
    """The columns there is room for, and the cells that are left for what a run does."""
    columns = list(range(len(HEADS)))
    spare = [STARTED, AGE, WORKFLOW]
    while True:
        room = cells - sum(sizes[each] + 2 for each in columns if each != DOING)
        if room >= min(sizes[DOING], DOING_LEAST) or not spare:
            return columns, room
        columns.remove(spare.pop(0))


NO_WORKER = "no worker of queue "


def _doing_style(state: str, text: str) -> str:
    if text.startswith(NO_WORKER) and state == "waiting":
        return "failed"
    return {"failed": "failed", "blocked": "held", "quarantined": "held", "held": "held"}.get(state, "")


def _doing(row: Any, state: str, now: datetime, owned: bool, served: frozenset[str]) -> str:
    from perdure.cli.lines import clean

    note = clean(row.note)
    name, _, queue = row.note.rpartition(ON_QUEUE)
    if state == "waiting" and name and queue not in served:
        note = clean(f"{NO_WORKER}{queue} for {name}")
    wait = None if row.wake_at is None else row.wake_at / 1e9 - now.timestamp()
    if state == "queued":
        if wait is not None and wait > 0:
            return f"starts in {left(wait)}"
        return "waits for its turn" if owned else "no engine holds this database"
    if wait is None or note.startswith(TASK_NOTE):
        return note  # of a human task the clock only reminds, as a rule
    if row.wake_at == row.expires_at:
        return f"{note}, times out in {left(wait)}" if note else f"times out in {left(wait)}"
    if wait <= 0:
        return f"{note} due" if owned else f"{note} due, no engine"
    return f"{note} in {left(wait)}" if state == "retrying" else f"{note} {left(wait)} left"


def _at(row: Any, now: datetime, settings: Settings, machine: bool) -> str:
    if not row.started_at:
        return ""
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row.started_at // 1000)
    if machine and not settings.time:
        return rfc3339(at)
    return shown(at, now, settings.time or "clock", settings.utc)


def _age(row: Any, now: datetime) -> str:
    end = row.closed_at / 1e9 if row.closed_at is not None else now.timestamp()
    return took(max(end - row.started_at / 1e9, 0)) if row.started_at else ""


def _footnote(settings: Settings, client: Any, rows: list[Any], page: Any) -> None:
    """On stderr: how many there are, and how to get the next page. Into a pipe only if something is missing."""
    import sys

    if not rows:
        if not (settings.quiet or settings.json):
            _nothing(settings, client, page)
        return
    total = client.store.views.count(page, COUNTED + 1)
    shown = many(total)
    if len(rows) == page.limit and total > len(rows):
        settings.narrate([(f"{len(rows):,} of {shown} · next page: --after {rows[-1].key}", "dim")])
    elif sys.stdout.isatty() and not (settings.quiet or settings.json):
        whole = "1 run" if total == 1 else f"{shown} runs"
        settings.narrate([(whole if total == len(rows) else f"{len(rows):,} of {shown}", "dim")])
        if not client.store.views.owners() and any(row.closed_at is None for row in rows):
            settings.narrate([("no engine holds this database: open runs sleep until one starts", "held")])


def _nothing(settings: Settings, client: Any, page: Any) -> None:
    from perdure.stores.base import RunFilter

    everything = client.store.views.count(RunFilter(), COUNTED + 1)
    if not everything:
        settings.narrate("no runs yet; start one:  perdure run MODULE:WORKFLOW --arg name=value")
    elif page.before_key is not None:
        settings.narrate([("no more runs", "dim")])
    else:
        settings.narrate(
            f"no run fits; without the filter there {'is 1' if everything == 1 else f'are {everything:,}'}"
        )


def many(total: int) -> str:
    """How many runs, of a count that went one beyond what is exact."""
    return f"{COUNTED:,}+" if total > COUNTED else f"{total:,}"

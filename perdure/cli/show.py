"""`perdure show`: one run as a picture, as events, as logs, as JSON; once or followed."""

from typing import Any

import click

from perdure.cli.completion import run_ids
from perdure.cli.options import ALL, Command, Settings, options
from perdure.cli.problems import NOT_COMPLETED, OK, USAGE, Problem
from perdure.cli.tokens import CLOSED, Line

POLL_S = 0.25


@click.command(cls=Command)
@click.argument("run", shell_complete=run_ids)
@click.option("--events", "form", flag_value="events", help="The history, event by event.")
@click.option("--logs", "form", flag_value="logs", help="What the attempts logged.")
@click.option("--messages", "form", flag_value="messages", help="All that was said to it, and its answers.")
@click.option("--details", is_flag=True, help="Side effects and patches too.")
@click.option("--all", "all_", is_flag=True, help="Every row, however many.")
@click.option("--run-id", metavar="HEX", help="An earlier run of the id, by the beginning of its run_id.")
@click.option("-w", "--follow", is_flag=True, help="Stay until the run ends; NDJSON if not on a terminal.")
@options(json=True, times=True)
@click.pass_obj
def show(settings: Settings, run: str, form: str | None, details: bool, all_: bool, run_id: str | None,
         follow: bool) -> int:  # fmt: skip
    """Show one run: its steps on one time axis, the last error, and why it does not go on.

    RUN is an id, the beginning of one that is unique, @last, or a file that  perdure export  has written.

    Example: perdure show order-1 --follow
    """
    import sys

    from perdure.cli import database, picking, selection

    if picking.is_path(run):
        from perdure.cli.exhibit import Exhibit

        if follow or run_id is not None:
            raise Problem("a file does not go on, and holds one run", USAGE, [], "leave out --follow and --run-id")
        exhibit = Exhibit(run)
        _shown(settings, exhibit, exhibit.stored, form, details, all_)
        return OK
    with database.opened(settings) as client:
        id = selection.one(client, settings, run)
        if follow:
            if run_id is not None:
                raise Problem("an earlier run does not go on", USAGE, [], "leave out --follow, or --run-id")
            from perdure.cli import follow as following

            if settings.lively(sys.stdout) and not settings.json:
                return following.live(settings, client, id, form or "tree", details)
            return following.lines(settings, client, id, form or "events")
        _shown(settings, client, database.stored_run(client, id, run_id), form, details, all_)
    return OK


def _shown(settings: Settings, client: Any, stored: Any, form: str | None, details: bool, all: bool) -> None:
    import sys

    if settings.json:
        _json(settings, client, stored, form)
        return
    whole = not sys.stdout.isatty()
    for line in picture(settings, client, stored, form or "tree", details=details, all=all, whole=whole):
        settings.write(line)


def picture(settings: Settings, client: Any, stored: Any, form: str, **how: Any) -> list[Line]:
    """The run in one of its forms, as lines for the terminal; `how` is of a `portrait.View`."""
    from perdure.cli import portrait
    from perdure.cli.database import description
    from perdure.client.kin import stuck_below

    run = description(settings, client, stored)
    owned = run.status in CLOSED or bool(client.store.views.owners())
    stuck = stuck_below(client.store.views, stored.run)
    view = portrait.View(
        settings.width,
        settings.now(),
        owned,
        hears=_hears(client, run),
        stuck=stuck,
        served=_served(client, run),
        **how,
    )
    if form == "events":
        from perdure.cli.records import event_lines

        blob = _blobs(client, stored)
        return [portrait.headline(run, view), *event_lines(settings, stored, blob, run.started_at, view.whole)]
    if form == "messages":
        from perdure.cli import hearing

        said = hearing.message_lines(run, run.messages, view.width, view.whole)
        return [portrait.headline(run, view), *(said or [[("nothing was said to it", "dim")]])]
    if form == "logs":
        from perdure.cli.records import log_lines

        return [portrait.headline(run, view), *log_lines(settings, run)]
    return portrait.portrait(run, view)


def _hears(client: Any, run: Any) -> list[str]:
    """Signals of a run that may wait for one."""
    from perdure.client.known import heard_by
    from perdure.kernel.notes import MESSAGE

    heard = heard_by(client.store.views.definitions(), run.workflow) if run.note == MESSAGE else None
    return [] if heard is None else heard.names("signal")


def _served(client: Any, run: Any) -> Any:
    """Which activities of queues some worker makes; None if the run waits for none."""
    if not any(step.queue and step.state == "scheduled" for step in run.steps):
        return None
    workers = client.store.views.workers()
    return frozenset((queue, name) for worker in workers for queue in worker.queues for name in worker.names)


def _blobs(client: Any, stored: Any) -> Any:
    return lambda digest: client.store.views.blob(stored.run.key, digest)


def _json(settings: Settings, client: Any, stored: Any, form: str | None) -> None:
    import msgspec

    from perdure.cli import output
    from perdure.cli.database import description
    from perdure.cli.records import log_records
    from perdure.client.description import RunDescription, history_entries

    if form == "events":
        entries = history_entries(stored, _blobs(client, stored))
        output.write_json([output.selected(entry, _paths(settings, entries)) for entry in entries])
        return
    run = description(settings, client, stored)
    if form in ("logs", "messages"):
        records = log_records(run) if form == "logs" else msgspec.to_builtins(run.messages)
        output.write_json([output.selected(record, _paths(settings, records)) for record in records])
        return
    chosen = output.fields(settings.json, RunDescription.__struct_fields__)
    output.write_json(output.selected(msgspec.to_builtins(run), chosen))


def _paths(settings: Settings, records: list[dict[str, Any]]) -> list[str] | None:
    from perdure.cli import output

    if settings.json in (None, ALL) or not records:
        return None
    return output.fields(settings.json, sorted({field for record in records for field in record}))


def ended(status: str) -> int:
    """The exit code of a command that waited for a run."""
    return OK if status == "completed" else NOT_COMPLETED

"""`perdure cancel`, `terminate` and `retry`: what an operator may do to runs."""

import sys
from typing import Any, NamedTuple

import click

from perdure.cli.completion import run_ids
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import ERROR, OK, REFUSED, Problem, of_error
from perdure.cli.tokens import CLOSED, Line

SAMPLE = 3

DONE = {"cancel": "cancellation requested", "terminate": "terminated", "retry": "released", "move": "moved"}


class Outcome(NamedTuple):
    """What became of one run. `kind`: done, already, failed, or would (nothing was done)."""

    id: str
    kind: str
    text: str

    @property
    def line(self) -> Line:
        icon, style = {"done": ("✓", "completed"), "already": ("·", "dim"), "failed": ("✗", "failed")}[self.kind]
        return [(f"{icon} ", style), (self.id, ""), (f"  {self.text}", "dim" if self.kind == "already" else "")]


def _verb(name: str, help: str, reason: bool) -> click.Command:
    def callback(settings: Settings, runs: tuple[str, ...], yes: bool, dry_run: bool, reason: str = "") -> int:
        return _steer(settings, name, runs, reason, yes, dry_run)

    function: Any = click.pass_obj(callback)
    function = options(json=True, quiet="Ids only.")(function)
    function = click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")(function)
    function = click.option("-y", "--yes", is_flag=True, help="Do not ask, however many runs it is.")(function)
    if reason:
        function = click.option("--reason", default="", metavar="TEXT", help="Kept in the history.")(function)
    function = click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=run_ids)(function)
    return click.command(name, cls=Command, help=help)(function)


cancel = _verb(
    "cancel",
    "Ask runs to stop: the workflow sees a cancellation and may clean up.\n\n"
    "RUN is an id, the unique beginning of one, @last, or - to read ids from standard input.\n\n"
    'Example: perdure list -q --workflow process_order | perdure cancel - --reason "test data" --yes',
    reason=True,
)
terminate = _verb(
    "terminate",
    "End runs at once, without their cleanup.\n\nExample: perdure terminate order-1 --reason stuck",
    reason=True,
)
retry = _verb(
    "retry",
    "Release blocked and quarantined runs, and start held and waiting attempts now.\n\n"
    "Example: perdure list -q --state blocked | perdure retry -",
    reason=False,
)
move = _verb(
    "move",
    "Let runs that are pinned to another build go on with the code of the engine.\n\n"
    "It is shown their histories first; a run that it does not fit stays where it is, and is told.\n\n"
    "Example: perdure list -q --state blocked | perdure move - --yes",
    reason=False,
)


def _steer(settings: Settings, verb: str, given: tuple[str, ...], reason: str, yes: bool, dry_run: bool) -> int:
    from perdure.cli import database, output, selection

    with database.opened(settings) as client:
        ids = selection.many(client, settings, given)
        if not ids:
            settings.narrate("no runs given, nothing done")
            return OK
        if dry_run:
            _tell_wish(settings, verb, ids)
            return OK
        if len(ids) > 1 and not yes:
            _ask(settings, verb, ids, "-" in given)
        outcomes = [_reported(settings, steer_one(client, id, verb, reason)) for id in ids]
    if settings.json:
        chosen = output.fields(settings.json, Outcome._fields)
        output.write_json([output.selected(outcome._asdict(), chosen) for outcome in outcomes])
    if len(ids) > 1:
        kinds = [outcome.kind for outcome in outcomes]
        done, already, failed = (kinds.count(kind) for kind in ("done", "already", "failed"))
        settings.narrate([(f"{verb}: {done} done, {already} already so, {failed} failed", "dim")])
    return ERROR if any(outcome.kind == "failed" for outcome in outcomes) else OK


def _tell_wish(settings: Settings, verb: str, ids: list[str]) -> None:
    from perdure.cli import output

    settings.narrate(f"would {verb} {_sample(ids)}")
    if settings.json:
        chosen = output.fields(settings.json, Outcome._fields)
        outcomes = [Outcome(id, "would", f"would {verb}") for id in ids]
        output.write_json([output.selected(outcome._asdict(), chosen) for outcome in outcomes])
    for id in ids if settings.quiet else ():
        click.echo(id)


def _reported(settings: Settings, outcome: Outcome) -> Outcome:
    if settings.quiet:
        if outcome.kind == "done":
            click.echo(outcome.id)
    elif settings.json:
        pass
    elif sys.stdout.isatty():
        settings.write(outcome.line)
    else:
        click.echo("\t".join(outcome))
    return outcome


def _sample(ids: list[str]) -> str:
    if len(ids) == 1:
        return ids[0]
    more = f" … and {len(ids) - SAMPLE:,} more" if len(ids) > SAMPLE else ""
    return f"{len(ids):,} runs: {' '.join(ids[:SAMPLE])}{more}"


def _ask(settings: Settings, verb: str, ids: list[str], stdin_used: bool) -> None:
    """Let a person decide; without one, refuse."""
    settings.narrate(f"  {_sample(ids)}")
    if stdin_used or not sys.stdin.isatty():
        raise Problem(f"{len(ids):,} runs, and nobody to ask", REFUSED, [], "add --yes, or look first with --dry-run")
    sys.stderr.write(f"{verb.capitalize()} {len(ids):,} runs? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Problem("nothing done", REFUSED)


def steer_one(client: Any, id: str, verb: str, reason: str) -> Outcome:
    """Do one thing to one run; asking for what is so already is no error."""
    from perdure import errors
    from perdure.cli.follow import status_of

    row = client.store.views.row(id)
    state = status_of(row)
    if state in CLOSED:
        return _closed(id, verb, state)
    if verb == "retry" and (state == "waiting" or (state == "queued" and row.wake_at is None)):
        return Outcome(id, "already", f"is {state}: there is nothing to release")
    if verb == "move":
        there = {owner.build for owner in client.store.views.owners()}
        if not row.pinned or there == {row.pinned}:
            why = (
                f"is pinned to build {row.pinned} already"
                if row.pinned
                else "is not pinned: any code that fits goes on"
            )
            return Outcome(id, "already", why)
    handle = client.verbs.handle(id)
    try:
        if verb in ("retry", "move"):
            getattr(handle, verb)().wait()
        else:
            getattr(handle, verb)(reason=reason).wait()
    except errors.RunClosed:
        return _closed(id, verb, status_of(client.store.views.row(id)))
    except errors.PerdureError as error:
        problem = of_error(error)
        return Outcome(id, "failed", " ".join([problem.message, *problem.facts]))
    return Outcome(id, "done", _said(client, id, verb, state))


def _said(client: Any, id: str, verb: str, state: str) -> str:
    """What was done; or that it was asked for, and what it waits for."""
    from perdure.cli.follow import status_of

    asked = {
        "cancel": "cancellation requested",
        "terminate": "termination requested",
        "retry": "release requested",
        "move": "move requested",
    }
    if not client.store.views.owners():
        return f"{asked[verb]}; takes effect when an engine starts"
    if verb == "cancel" and state in ("blocked", "quarantined"):
        return f"{asked[verb]}; the run sees it when it is released, and perdure terminate ends it at once"
    if verb == "terminate" and status_of(client.store.views.row(id)) not in CLOSED:
        return f"{asked[verb]}; the engine has not answered yet"
    return DONE[verb]


def _closed(id: str, verb: str, state: str) -> Outcome:
    if verb == "retry" and state != "completed":
        return Outcome(id, "failed", f"is {state}, which is final; start it afresh under another id")
    return Outcome(id, "already", f"is {state} already")

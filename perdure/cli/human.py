"""`perdure task`: what runs ask people, and what people do with it."""

from collections.abc import Sequence
from typing import Any

import click

from perdure.cli.completion import run_ids, task_ids
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import OK, USAGE, Problem, guess
from perdure.cli.tokens import Line

HEADS = ("STATE", "TASK", "TITLE", "FOR", "HAS IT", "DUE", "AGE")
TASK, TITLE, FOR, HOLDER, DUE, AGE = range(1, 7)
FORM_FIELDS = 20


class Verbs(click.Group):
    """Says which verb may have been meant."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            meant = guess(args[0], self.commands)
            known = ", ".join(self.commands)
            hint = f"did you mean  perdure task {meant}" if meant else "perdure task --help"
            raise Problem(f"there is no command {'task ' + args[0]!r}", USAGE, [f"commands: {known}"], hint)
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@options()
@click.pass_context
def task(context: click.Context) -> None:
    """What runs ask people: list it, take it, answer it.

    TASK is the id of the run and its step, like loan-17/0:3; the run alone will do if it has one open task.

    Example: perdure task complete loan-17 --field approved=true --by ann
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


_BY = click.option("--by", metavar="NAME", help="Who does it; by default the name you are logged in with.")
_GROUPS = click.option("--group", "groups", multiple=True, metavar="NAME", help="A group that person belongs to.")
_FORCE = click.option("--force", is_flag=True, help="Whoever it is for, and whoever has it.")


@task.command(cls=Command, name="list")
@click.option("--assignee", multiple=True, metavar="NAME", help='For whom, or who has it; a group is "group:NAME".')
@click.option("--run", metavar="RUN", shell_complete=run_ids, help="Only those of a run.")
@click.option("--overdue", is_flag=True, help="Only those whose due time has passed.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@options(json=True, quiet="Ids only.", times=True)
@click.pass_obj
def list_(settings: Settings, assignee: tuple[str, ...], run: str | None, overdue: bool, limit: int) -> int:
    """List open tasks, the oldest first.

    Example: perdure task list --assignee ann --assignee group:credit
    """
    import msgspec

    from perdure.cli import database, output, selection
    from perdure.client.human_view import TaskSummary

    chosen = output.fields(settings.json, (*TaskSummary.__struct_fields__, "status")) if settings.json else None
    with database.opened(settings) as client:
        id = None if run is None else selection.one(client, settings, run)
        found = client.verbs.tasks.list(assignee=assignee or None, run=id, overdue=overdue, limit=limit + 1).wait()
    found, more = found[:limit], len(found) > limit
    if settings.quiet:
        for each in found:
            click.echo(each.id)
    elif settings.json:
        records = [{**msgspec.to_builtins(each), "status": each.state} for each in found]
        output.write_json([output.selected(record, chosen) for record in records])
    else:
        _table(settings, found)
    if more:
        settings.narrate([(f"the oldest {limit:,}: --limit shows more", "dim")])
    elif not found and not settings.json and not settings.quiet:
        settings.narrate("nobody is asked anything" + (" that fits" if assignee or run or overdue else ""))
    return OK


def _table(settings: Settings, found: Sequence[Any]) -> None:
    import sys

    from perdure.cli.lines import clean, clip, clip_line, pad, width

    rows = [tuple(clean(text) for text in _cells(settings, each)) for each in found]
    if not sys.stdout.isatty():
        click.echo("\t".join(HEADS))
        for row in rows:
            click.echo("\t".join(row))
        return
    if not rows:
        return
    sizes = [max(width(text) for text in column) for column in zip(HEADS, *rows, strict=True)]
    for each, share in ((TASK, 3), (FOR, 5), (TITLE, 4)):
        sizes[each] = min(sizes[each], max(settings.width // share, 10))
    lines: list[Line] = [[(pad(head, size) + "  ", "dim") for head, size in zip(HEADS, sizes, strict=True)]]
    for each, row in zip(found, rows, strict=True):
        styles = {0: "waiting", DUE: "failed" if each.overdue else ""}
        lines.append(
            [(pad(clip(t, s), s) + "  ", styles.get(n, "")) for n, (t, s) in enumerate(zip(row, sizes, strict=True))]
        )
    for line in lines:
        settings.write(clip_line(line, settings.width))


def _cells(settings: Settings, each: Any) -> tuple[str, ...]:
    from perdure.cli.times import took

    now = settings.now()
    who = ", ".join(each.assignees) or "anybody"
    state = f"{each.state}, overdue" if each.overdue else each.state
    age = took(max((now - each.opened_at).total_seconds(), 0))
    return (state, each.id, each.title, who, each.claimed_by or "", _due(settings, each), age)


def _due(settings: Settings, each: Any) -> str:
    from perdure.cli.times import shown

    if each.due_at is None:
        return ""
    return shown(each.due_at, settings.now(), settings.time or "rel", settings.utc)


@task.command(cls=Command)
@click.argument("id", metavar="TASK", shell_complete=task_ids)
@options(json=True, times=True)
@click.pass_obj
def show(settings: Settings, id: str) -> int:
    """Show a task: what is asked, of whom, and the fields of its form.

    Example: perdure task show loan-17
    """
    from perdure.cli import database

    with database.opened(settings) as client:
        found = client.verbs.tasks.get(id).wait()
    _shown(settings, found)
    return OK


def _shown(settings: Settings, found: Any) -> None:
    import msgspec

    from perdure.cli import output
    from perdure.cli.lines import clean
    from perdure.cli.portrait import compact
    from perdure.cli.times import shown
    from perdure.client.human_view import TaskDetails

    if settings.json:
        chosen = output.fields(settings.json, (*TaskDetails.__struct_fields__, "status"))
        output.write_json(output.selected({**msgspec.to_builtins(found), "status": found.state}, chosen))
        return
    style = {"completed": "completed", "expired": "failed", "cancelled": "cancelled"}.get(found.state, "waiting")
    settings.write([(found.state, style), ("  ", ""), (clean(found.title), "bold"), (f"  {clean(found.id)}", "dim")])
    facts: list[tuple[str, Any]] = [
        ("for", ", ".join(found.assignees) or "anybody"),
        ("claimed by", found.claimed_by),
        ("opened", found.opened_at),
        ("overdue since" if found.overdue else "due", found.due_at),
        ("reminders", found.reminders or None),
        ("next reminder", found.next_reminder_at),
        ("expires", found.expires_at if found.closed_at is None else None),
        ("completed by", f"{found.completed_by} (by force)" if found.forced else found.completed_by),
        ("closed", found.closed_at),
        ("answer", None if found.completed_by is None else compact(found.answer)),
        ("data", None if found.data is None else compact(found.data)),
    ]
    for name, value in facts:
        if value is not None:
            at = (
                shown(value, settings.now(), settings.time or "rel", settings.utc)
                if hasattr(value, "tzinfo")
                else value
            )
            settings.write([(f"  {name:<14}", "dim"), (clean(str(at)), "")])
    if found.closed_at is None:
        for line in form_lines(found.form):
            settings.write([("  ", ""), (line, "")])
        settings.narrate([(_how(found), "hint")])


def _how(found: Any) -> str:
    """The command that answers a task."""
    return " ".join(filter(None, ["perdure task complete", found.id, example(found.form), "--by NAME"]))


def _said(value: Any) -> str:
    """What stands for a field that is left out."""
    from perdure.cli.portrait import compact

    return f"  ({compact(value)} if it is left out)" if value not in (None, "", [], {}) else ""


def form_lines(form: dict[str, Any]) -> list[str]:
    """The fields of a form, one a line: name, what goes into it, whether it has to."""
    from perdure.cli.lines import clean
    from perdure.payload.forms import fields_of, words_in

    fields = fields_of(form)
    if not fields:
        words = "nothing but that it is done" if form.get("type") == "null" else clean(words_in(form))
        return [f"{'answer':<14}{words}"]
    lines = [
        f"{'--field ' + clean(each.name):<22}{clean(each.expected)}"
        + ("  (required)" if each.required else clean(_said(each.default)))
        for each in fields[:FORM_FIELDS]
    ]
    return lines + [f"… and {len(fields) - FORM_FIELDS} more"] * (len(fields) > FORM_FIELDS)


def example(form: dict[str, Any]) -> str:
    """What to type to answer a form."""
    from perdure.payload.forms import fields_of

    fields = fields_of(form)
    if fields:
        wanted = [each for each in fields if each.required] or fields[:1]
        return " ".join(f"--field {each.name}=..." for each in wanted)
    return "" if form.get("type") == "null" else f"--json-value {_VALUES.get(form.get('type', ''), '...')}"


_VALUES = {"boolean": "true", "string": "'\"a text\"'", "integer": "3", "number": "1.5"}
"""What an answer looks like, on a command line, to a form without fields."""


@task.command(cls=Command)
@click.argument("id", metavar="TASK", shell_complete=task_ids)
@_BY
@_GROUPS
@_FORCE
@options(json=True)
@click.pass_obj
def claim(settings: Settings, id: str, by: str | None, groups: tuple[str, ...], force: bool) -> int:
    """Take a task, so that nobody else completes it.

    Example: perdure task claim loan-17 --by ann
    """
    name = _name(by)
    return _done(settings, id, f"claimed by {name}", lambda tasks: tasks.claim(id, by=name, groups=groups, force=force))


@task.command(cls=Command)
@click.argument("id", metavar="TASK", shell_complete=task_ids)
@_BY
@_FORCE
@options(json=True)
@click.pass_obj
def release(settings: Settings, id: str, by: str | None, force: bool) -> int:
    """Give a task back.

    Example: perdure task release loan-17 --by ann
    """
    name = _name(by)
    return _done(settings, id, f"released by {name}", lambda tasks: tasks.release(id, by=name, force=force))


@task.command(cls=Command)
@click.argument("id", metavar="TASK", shell_complete=task_ids)
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="A field of the form; JSON or text.")
@click.option("--json-value", metavar="JSON|@FILE|-", help="The whole answer.")
@_BY
@_GROUPS
@_FORCE
@click.option("--request-id", metavar="ID", help="Names the request: made again it does nothing.")
@options(json=True)
@click.pass_obj
def complete(settings: Settings, id: str, fields: tuple[str, ...], json_value: str | None, by: str | None,
             groups: tuple[str, ...], force: bool, request_id: str | None) -> int:  # fmt: skip
    """Answer a task. The answer is checked against its form before anything happens.

    Example: perdure task complete loan-17 --field approved=true --field note="as discussed" --by ann
    """
    from perdure import errors

    name = _name(by)
    if fields and json_value is not None:
        raise Problem("--field and --json-value are two ways to give the answer", USAGE, [], "give either")

    def answered(tasks: Any) -> Any:
        found = tasks.get(id).wait()
        answer = _answer(found, fields, json_value)
        try:
            tasks.complete(
                found.id, answer, by=name, groups=groups, force=force, request_id=request_id, run_id=found.run_id
            ).wait()
        except errors.AnswerMisfit as misfit:
            raise _misfit(found, misfit) from misfit

    return _done(settings, id, f"completed by {name}", answered)


def _answer(found: Any, fields: tuple[str, ...], json_value: str | None) -> Any:
    from perdure.cli import arguments
    from perdure.payload.forms import fields_of, texts_in

    if json_value is not None:
        try:
            return arguments.json_given(json_value, "--json-value")
        except Problem as problem:
            raise Problem(problem.message, problem.exit, problem.facts, _how(found)) from problem
    if not fields:
        return {} if fields_of(found.form) else None
    if found.closed_at is None and not fields_of(found.form):
        what = "it asks for nothing" if found.form.get("type") == "null" else "its form has no fields"
        raise Problem(f"task {found.title!r} takes no --field: {what}", USAGE, form_lines(found.form), _how(found))
    return arguments.named_values(fields, "--field", texts_in(found.form))


def _misfit(found: Any, misfit: Any) -> Problem:
    """Field by field what was expected and what was found; then the form."""
    wrong = [str(each) for each in misfit.wrong] or [str(misfit).partition("its form: ")[2] or str(misfit)]
    return Problem(
        f"the answer to task {found.title!r} does not fit its form",
        USAGE,
        [*wrong, "the form:", *(f"  {line}" for line in form_lines(found.form))],
        _how(found),
    )


def _name(by: str | None) -> str:
    if by is not None:
        return by
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError) as error:
        raise Problem(
            "who are you? this system has no name for you", USAGE, [str(error)], "say it:  --by NAME"
        ) from error


def _whose(found: Any, refused: Any) -> tuple[str, int, list[str], str]:
    """That a task is not that person's, and what to type if it is all the same."""
    from perdure import errors
    from perdure.cli.problems import exit_code

    groups = [each.removeprefix("group:") for each in found.assignees if each.startswith("group:")]
    member = isinstance(refused, errors.TaskNotAssigned) and groups
    way = f"--group {groups[0]}  for a member of that group, or  --force" if member else "--force  passes over that"
    return str(refused).partition("; ")[0], exit_code(refused), [], way


def _done(settings: Settings, id: str, what: str, act: Any) -> int:
    """Do it, and say what was done; with --json what has become of the task."""
    from perdure import errors
    from perdure.cli import database
    from perdure.cli.lines import clean

    with database.opened(settings) as client:
        tasks = client.verbs.tasks
        found = tasks.get(id).wait()
        if found.closed_at is None:
            id = found.id  # one that is named by its run alone is closed afterwards
        try:
            answer = act(tasks)
            if answer is not None:
                answer.wait()
        except (errors.TaskNotAssigned, errors.TaskClaimed) as refused:
            raise Problem(*_whose(found, refused)) from refused
        if settings.json:
            _shown(settings, tasks.get(id, run_id=found.run_id).wait())
        else:
            settings.write([("✓ ", "completed"), (clean(found.id), ""), (f"  {what}", "dim")])
        if not client.store.views.owners():
            settings.narrate([("no engine holds this database: it takes effect when one starts", "held")])
    return OK

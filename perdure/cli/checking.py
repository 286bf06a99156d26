"""`perdure check`: before a deploy, would the open runs of a database go on with the code at hand?"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from perdure.cli.options import CODEC, Command, Settings, options
from perdure.cli.problems import DIVERGED, NOT_FOUND, OK, UNREACHABLE, USAGE, Problem
from perdure.cli.progress import Progress
from perdure.cli.times import took
from perdure.cli.tokens import Line


@click.command(cls=Command)
@click.argument("modules", nargs=-1, required=True, metavar="MODULE...")
@click.option("--against", metavar="URL", help="The database; the same as --db.")
@click.option("--closed", type=click.IntRange(min=0), default=100, show_default=True, metavar="N",
              help="Look at the newest N closed runs, too.")  # fmt: skip
@click.option("--build", metavar="NAME", help="What the code will be called, if builds are named; else a fingerprint.")
@CODEC
@options(json=True, quiet="Ids of runs that would not go on only, the first of each kind.")
@click.pass_obj
def check(settings: Settings, modules: tuple[str, ...], against: str | None, closed: int,
          build: str | None, codec: str | None) -> int:  # fmt: skip
    """Show every open run of a database to the code at hand, and say which would not go on, where, and what to write.

    Nothing is run and nothing is written; an engine may own the database meanwhile. Looked at is all that the code will be
    shown: histories, arguments of steps without a result, mail, starts of queued runs. Closed runs are a sample: they are
    over, so what does not fit them is told and does not count; nor does what does not fit runs that are pinned to another
    build.

    Exit code 0: all open runs go on; 6: some do not; 2, 4, 5: the question makes no sense.

    Example: perdure check shop.workflows --against sqlite:///orders.db
    """
    from perdure.cli import loading, output
    from perdure.cli.database import opened
    from perdure.client.checking import Checks
    from perdure.errors import SchemaTooOld

    if against is not None:
        if not against.strip():
            raise Problem("--against is empty", USAGE, [], "name the database:  --against sqlite:///orders.db")
        settings.db, settings.db_option = against, "--against"
    code = [loading.import_module(module) for module in modules]
    with ExitStack() as stack:
        try:
            client = stack.enter_context(opened(settings))
        except SchemaTooOld as error:
            copy = "ask a copy:  sqlite3 orders.db '.backup copy.db';  perdure migrate --db copy.db"
            raise Problem(
                str(error), UNREACHABLE, ["that changes the database, and this command must not"], copy
            ) from error
        spoken = None if codec is None else loading.load_codec(codec)
        checks = stack.enter_context(Checks(code, client.store, spoken, build))
        if not checks.workflows:
            raise Problem(f"{', '.join(modules)} has no workflow", NOT_FOUND, [], "name the module that has them")
        progress = stack.enter_context(Progress(settings, "checking", checks.total(closed)))
        with output.unheard():
            report = checks.all(closed, progress.step)
    if codec is None:
        _demand_codec(report)
    if settings.json:
        output.write_json(record(report))
    elif settings.quiet:
        for finding in report.blocking:
            for id in finding.ids:
                click.echo(id)
    else:
        for line in lines_of(report):
            settings.write(line)
    return DIVERGED if report.blocking else OK


def _demand_codec(report: Any) -> None:
    """Refuse to judge what nobody here can read.

    Raises:
        Problem: a codec has written it.
    """
    from perdure.payload.coding import NO_CODEC

    for finding in report.findings:
        if NO_CODEC in finding.verdict.block.message:
            facts = [
                finding.verdict.block.message.partition("; give")[0],
                f"{finding.ids[0]} is the first of such runs",
            ]
            hint = "name what Engine(codec=...) is given:  --codec MODULE:NAME"
            raise Problem("the database has values that a codec has written", USAGE, facts, hint)


def record(report: Any) -> dict[str, Any]:
    """The report as JSON has it."""
    return {
        "open": report.open,
        "closed": report.closed,
        "stuck": report.stuck,
        "pinned": report.pinned,
        "events": report.events,
        "seconds": round(report.seconds, 6),
        "findings": [_finding(each) for each in report.findings],
        "patches": [
            {
                "workflow": each.workflow,
                "id": each.id,
                "old": each.old,
                "new": each.new,
                "ahead": each.ahead,
                "deprecated": each.deprecated,
                "advice": each.advice,
            }
            for each in report.patches
        ],
    }


def _finding(finding: Any) -> dict[str, Any]:
    verdict, block = finding.verdict, finding.verdict.block
    words = {name: getattr(block, name) for name in ("message", "hint", "recorded", "produced", "source")}
    found = {"kind": verdict.kind, "workflow": verdict.workflow, "open": finding.open, "runs": finding.runs}
    found |= {"pinned": finding.pinned}
    return {**found, "ids": finding.ids, "after": verdict.after, **words}


def lines_of(report: Any) -> list[Line]:
    """The report in words: the findings, the changes that are under way, the sum."""
    lines: list[Line] = []
    for finding in report.findings:
        lines += _told(finding)
    for patch in report.patches:
        lines += _told_patch(patch)
    for build, count in report.pinned.items():
        lines.append([("  ", ""), (f"{_runs(count, 'open')} pinned to build {build}, and not moved by this code", "")])
    figures = f"{report.events:,} events, {took(report.seconds)}"
    closed = f", {_runs(report.closed, 'closed')} looked at" if report.closed else ""
    if report.blocking:
        sum_up = f"{report.stuck:,} of {_runs(report.open, 'open')} would not go on with this code{closed}; {figures}"
        return [*lines, [("✗ ", "failed"), (sum_up, "")]]
    goes = "goes" if report.open == 1 else "go"
    return [
        *lines,
        [("✓ ", "completed"), (f"{_runs(report.open, 'open')} {goes} on with this code{closed}; {figures}", "")],
    ]


def _told(finding: Any) -> list[Line]:
    """Which runs, what, where, and what to write."""
    from perdure.cli.lines import clean
    from perdure.client.replaying import one_head

    verdict = finding.verdict
    label = f"{_runs(finding.runs, 'open' if finding.open else 'closed')} of {clean(verdict.workflow)}"
    named = ", ".join(clean(id) for id in finding.ids[:3])
    more = f" and {finding.runs - 3:,} more" if finding.runs > 3 else ""
    label += f", pinned to build {clean(finding.pinned)}," if finding.pinned else ""
    sign = ("✗ ", "failed") if finding.open and not finding.pinned else ("! ", "retrying")
    head = one_head(verdict.kind) if finding.runs == 1 else _HEADS.get(verdict.kind, "cannot be replayed")
    lines: list[Line] = [[sign, (label, "bold"), (f" {head}", sign[1])]]
    after = f"; {finding.ids[0]} after event {verdict.after:,}" if verdict.after else ""
    lines.append([(f"    {named}{more}{clean(after)}", "")])
    hints = [hint for hint in verdict.block.hint.splitlines() if hint.strip()]
    facts = verdict.lines()[1:]
    for fact in facts[: len(facts) - len(hints)]:
        lines.append([(f"    {clean(fact).replace(f'at {Path.cwd()}/', 'at ')}", "")])
    for n, hint in enumerate(hints):
        lines.append([("  hint", "hint"), (f": {clean(hint)}", "")] if n == 0 else [(f"        {clean(hint)}", "")])
    return lines


def _told_patch(patch: Any) -> list[Line]:
    """How many open runs go which way."""
    from perdure.cli.lines import clean

    ways = [f"{_go(count)} the {way} way" for count, way in ((patch.old, "old"), (patch.new, "new")) if count]
    ways += [f"{patch.ahead:,} have not come to it"] if patch.ahead else []
    name = f"{clean(patch.workflow)}, change {clean(patch.id)!r}: "
    lines: list[Line] = [[("  ", ""), (name, "bold"), (", ".join(ways), "")]]
    if patch.advice:
        lines.append([("  hint", "hint"), (f": {clean(patch.advice)}", "")])
    return lines


def _go(count: int) -> str:
    return "1 open run goes" if count == 1 else f"{count:,} open runs go"


_HEADS = {
    "divergence": "diverge",
    "bug": "meet a bug",
    "stuck": "do not come to an await",
    "undecodable": "have a value that can no longer be read",
    "unknown-activity": "need an activity that is not here",
    "unknown-workflow": "are of a workflow that is not here",
    "unreadable": "cannot be replayed",
}


def _runs(number: int, kind: str) -> str:
    return f"1 {kind} run" if number == 1 else f"{number:,} {kind} runs"

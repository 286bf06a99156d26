"""`perdure count`: how many runs there are, and in which states."""

import sys
from typing import Any

import click

from perdure.cli.completion import run_ids
from perdure.cli.filters import demand_workflow, filtered, related, wanted
from perdure.cli.listing import COUNTED, many
from perdure.cli.options import Command, Settings, options
from perdure.cli.tokens import STATES, Line, token

FIELDS = ("count", "exact", "states")


@click.command(cls=Command)
@filtered
@related
@options(json=True, quiet="The number alone.")
@click.argument("prefix", required=False, shell_complete=run_ids)
@click.pass_obj
def count(
    settings: Settings,
    prefix: str | None,
    state: tuple[str, ...],
    workflow: str | None,
    since_: str | None,
    attributes: tuple[str, ...],
    parent: str | None,
    root: str | None,
) -> int:
    """Count runs; on a terminal, state by state. PREFIX keeps those whose id begins so.

    Numbers are exact up to 10,000; beyond, it is 10000+ (in JSON: "count": 10000, "exact": false).

    Example: perdure count --state open --workflow process_order
    """
    from perdure.cli import output
    from perdure.cli.database import opened

    chosen = output.fields(settings.json, FIELDS)
    asked = wanted(state, workflow, since_, attributes, settings.now(), id_prefix=prefix, parent=parent, root=root)
    with opened(settings) as client:
        total = _counted(client, asked)
        if not total:
            demand_workflow(client, workflow)
        if settings.json:
            states = {state: min(number, COUNTED) for state, number in _by_state(client, asked, total).items()}
            record = {"count": min(total, COUNTED), "exact": total <= COUNTED, "states": states}
            output.write_json(output.selected(record, chosen))
        elif settings.quiet or not sys.stdout.isatty():
            click.echo(many(total).replace(",", ""))
        else:
            for line in _table(_by_state(client, asked, total), total):
                settings.write(line)
    return 0


def _counted(client: Any, asked: Any) -> int:
    return int(client.store.views.count(asked, COUNTED + 1))


def _by_state(client: Any, asked: Any, total: int) -> dict[str, int]:
    """How many runs are in each state that was asked for, each counted one beyond what is exact."""
    import msgspec

    from perdure.kernel.run import Status

    states = [state for state in STATES if not asked.statuses or Status.named(state) in asked.statuses]
    if len(states) == 1:
        return {states[0]: total}
    alone = {state: (int(Status.named(state)),) for state in states}
    return {state: _counted(client, msgspec.structs.replace(asked, statuses=alone[state])) for state in states}


def _table(states: dict[str, int], total: int) -> list[Line]:
    """A line for each state that has runs, and their sum."""
    shown = {state: many(count) for state, count in states.items() if count}
    cells = max(map(len, [*shown.values(), many(total)]))
    lines: list[Line] = [
        [(f"{token(state).icon} {state:<11}", token(state).style), (f"  {number:>{cells}}", "")]
        for state, number in shown.items()
    ]
    return [*lines, [(f"  {'runs':<11}  {many(total):>{cells}}", "bold")]]

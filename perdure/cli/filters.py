"""Which runs: the options that `list`, `count`, `export` and `replay` share, and the filter they make."""

from datetime import datetime
from typing import Any

import click

from perdure.cli.completion import run_ids, workflows
from perdure.cli.completion import states as state_words
from perdure.cli.problems import NOT_FOUND, USAGE, Problem, guess
from perdure.cli.times import since
from perdure.cli.tokens import CLOSED, OPEN, TYPED

_OPTIONS = (
    click.option(
        "--state",
        multiple=True,
        shell_complete=state_words,
        metavar="STATE[,...]",
        help=f"{', '.join(TYPED)}; open, closed.",
    ),
    click.option("--workflow", shell_complete=workflows, metavar="NAME", help="Only runs of this workflow."),
    click.option("--since", "since_", metavar="AGE|TIME", help="Started in the last 24h, 7d, ... or since 2026-11-22."),
    click.option(
        "--attr",
        "attributes",
        multiple=True,
        metavar="CONDITION",
        help="An attribute: region=eu, 'amount>100', day=2026-11-01..2026-11-30; may be repeated.",
    ),
)


def filtered(function: Any) -> Any:
    """Give a command the options of a filter: `state`, `workflow`, `since_` and `attributes`, for `wanted`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def related(function: Any) -> Any:
    """Give a command the options `parent` and `root`."""
    root = click.option("--root", metavar="ID", shell_complete=run_ids, help="Only this run and all its descendants.")
    parent = click.option("--parent", metavar="ID", shell_complete=run_ids, help="Only children of this run.")
    return parent(root(function))


def wanted(
    state: tuple[str, ...],
    workflow: str | None,
    since_: str | None,
    attributes: tuple[str, ...],
    now: datetime,
    **more: Any,
) -> Any:
    """The filter that was typed; `more` are further fields of a `RunFilter`.

    Raises:
        Problem: a state, a time or a condition makes no sense.
    """
    from perdure.cli.attributes import conditions
    from perdure.kernel.run import Status
    from perdure.stores.base import RunFilter

    started = None
    if since_ is not None:
        started = since(since_, now)
        if started is None:
            raise Problem(
                f"--since {since_!r} is no age and no time", USAGE, [], "write 90s, 24h, 7d or 2026-11-22T14:00"
            )
    return RunFilter(
        statuses=tuple(int(Status.named(word)) for word in states(state)),
        workflow=workflow,
        attributes=conditions(attributes),
        started_since=None if started is None else int(started.timestamp() * 1e6) * 1000,
        **more,
    )


def states(given: tuple[str, ...]) -> tuple[str, ...]:
    """The states meant by `--state a,b --state c`, each once.

    Raises:
        Problem: there is no such state.
    """
    meant: list[str] = []
    for word in ",".join(given).replace(" ", "").split(","):
        if word in ("open", "closed"):
            meant += OPEN if word == "open" else CLOSED
        elif word in TYPED:
            meant.append(TYPED[word])
        elif word:
            near = guess(word, (*TYPED, "open", "closed"))
            raise Problem(
                f"there is no state {word!r}",
                USAGE,
                [f"states: {', '.join(TYPED)}; open and closed stand for several"],
                f"did you mean  --state {near}" if near else "",
            )
    return tuple(dict.fromkeys(meant))


def demand_workflow(client: Any, name: str | None) -> None:
    """Of what was not found: a workflow nobody ever heard of is a slip of the pen; one without runs is not.

    Raises:
        Problem: nobody ever heard of it.
    """
    from perdure.stores.base import RunFilter

    if name is None:
        return
    known = {row.name for row in client.store.views.definitions() if row.kind == "workflow"}
    known |= {row.workflow for row in client.store.views.search(RunFilter(limit=500))}
    if name not in known:
        near = guess(name, known)
        raise Problem(
            f"no run of a workflow {name!r}",
            NOT_FOUND,
            [f"workflows here: {', '.join(sorted(known)[:20])}"] if known else [],
            f"did you mean  --workflow {near}" if near else "",
        )

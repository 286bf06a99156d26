"""`perdure start`: start a run through the database; the engine that holds it takes it."""

import json
from typing import Any

import click

from perdure.cli.completion import workflows
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import NOT_FOUND, OK, USAGE, Problem, guess


@click.command(cls=Command)
@click.argument("workflow", shell_complete=workflows)
@click.option("--id", "id_", metavar="ID", help="Id of the run; if it has one of the same input, that is attached to.")
@click.option("--input", "input_", metavar="JSON|@FILE|-", help="Arguments: an object by name, an array by position.")
@click.option("--arg", "args", multiple=True, metavar="NAME=VALUE", help="One argument; may be repeated.")
@click.option(
    "--id-conflict",
    metavar="POLICY",
    help="If the run of that id is open: use-existing, fail or terminate-existing.",
)
@click.option(
    "--id-reuse",
    metavar="POLICY",
    help="If it has ended: allow-duplicate, allow-duplicate-failed-only or reject-duplicate.",
)
@click.option("--request-id", metavar="TEXT", help="Names this request: made again, it finds the run it has made.")
@click.option("--delay", "start_delay", metavar="DURATION", help="Begin after 30s, 3d, ...")
@click.option("--run-timeout", metavar="DURATION", help="End it if it takes longer from its begin.")
@click.option("--execution-timeout", metavar="DURATION", help="The same of all its attempts together.")
@click.option("--retry", type=click.IntRange(1), metavar="ATTEMPTS", help="Run it again if it fails, so often in all.")
@click.option("--attr", "attributes", multiple=True, metavar="NAME=VALUE", help="What lists find it by; repeatable.")
@click.option("--memo", multiple=True, metavar="NAME=VALUE", help="A fact for people; repeatable.")
@click.option("--wait", is_flag=True, help="Wait for the result, like  perdure result.")
@click.option("--timeout", metavar="DURATION", help="With --wait: give up after 30s, 5m, ...")
@options(json=True, quiet="Ids only.")
@click.pass_obj
def start(settings: Settings, workflow: str, id_: str | None, input_: str | None, args: tuple[str, ...], wait: bool,
          timeout: str | None, **wishes: Any) -> int:  # fmt: skip
    """Start a run of WORKFLOW and print its id. An engine on the same database runs it.

    Example: perdure start process_order --id order-1 --arg amount=10 --arg account=acct-7
    """
    from perdure.cli import arguments, database, output
    from perdure.cli.result import await_result, timeout_seconds

    limit = timeout_seconds(timeout)
    chosen_options = start_options(wishes)
    with database.opened(settings) as client:
        names, texts = parameters(client, workflow)
        positional, named = arguments.parse(input_, args, names, texts)
        handle = client.verbs.start(workflow, positional, named, id=id_, **chosen_options).wait()
        if wait:
            settings.narrate(handle.id)
            return await_result(settings, client, handle.id, limit)
        if settings.json:
            chosen = output.fields(settings.json, ("id", "run_id", "workflow"))
            started = {"id": handle.id, "run_id": handle.run_id, "workflow": workflow}
            output.write_json(output.selected(started, chosen))
        else:
            click.echo(handle.id)
        if not client.store.views.owners() and not settings.quiet:
            settings.narrate([("no engine holds this database; the run waits until one starts", "held")])
    return OK


def start_options(wishes: dict[str, Any]) -> dict[str, Any]:
    """The options of a start as the client takes them.

    Raises:
        Problem: one makes no sense.
    """
    from perdure.cli import arguments, attributes
    from perdure.client.starting import wishes_of
    from perdure.errors import DefinitionError

    policies = ("id_conflict", "id_reuse")
    options = {name: value for name, value in wishes.items() if value not in (None, ())}
    if "attributes" in options:
        options["attributes"] = attributes.given(options["attributes"])
    if "memo" in options:
        options["memo"] = arguments.named_values(options["memo"], "--memo")
    options |= {name: options[name].replace("-", "_") for name in policies if name in options}
    try:
        wishes_of(options)
    except DefinitionError as error:
        raise Problem(str(error), USAGE) from error
    return options


def parameters(client: Any, workflow: str) -> tuple[list[str] | None, frozenset[str]]:
    """The names of a workflow's parameters and those that take text, as its engine published them.

    Raises:
        Problem: engines published workflows, but none of this name.
    """
    known = {row.name: row.parameters for row in client.store.views.definitions() if row.kind == "workflow"}
    if not known:
        return None, frozenset()
    if workflow not in known:
        meant = guess(workflow.rpartition(":")[2], known)  # `run` takes a module before the name
        raise Problem(
            f"there is no workflow {workflow!r}",
            NOT_FOUND,
            [f"the engines of this database know: {', '.join(sorted(known)[:20])}"],
            f"did you mean  perdure start {meant}" if meant else "",
        )
    return signature(json.loads(known[workflow]))


def signature(published: dict[str, Any]) -> tuple[list[str] | None, frozenset[str]]:
    """The names of parameters and those that take text, of what is published of a workflow; no names if it takes others,
    too (`*args`, `**kwargs`)."""
    names, schema = published["names"], published["schema"]
    kinds = schema["properties"]
    open_ended = "additionalProperties" in schema or len(kinds) > len(names)
    return None if open_ended else names, frozenset(name for name in kinds if kinds[name].get("type") == "string")

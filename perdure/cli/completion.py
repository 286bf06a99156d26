"""`perdure completion`: the shell's side, and what it is offered: run ids and workflows from the store."""

from collections.abc import Callable
from typing import Any

import click
from click.shell_completion import CompletionItem

from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import Problem

OFFERED = 50


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@options()
@click.pass_obj
def completion(settings: Settings, shell: str) -> None:
    """Print the completion script of a shell.

    bash and zsh:  eval "$(perdure completion bash)"    fish:  perdure completion fish | source
    """
    from click.shell_completion import get_completion_class

    from perdure.cli.main import cli

    kind = get_completion_class(shell)
    if kind is None:
        raise Problem(f"no completion for {shell}")
    script = kind(cli, {}, "perdure", "_PERDURE_COMPLETE")
    click.echo(script.source_template % script.source_vars())


def run_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids that begin as typed, newest first, with what each is doing."""
    from perdure.cli.follow import status_of

    def offered(client: Any) -> list[CompletionItem]:
        views = client.store.views
        rows = [views.row(id) for id in views.prefixed(incomplete, OFFERED)]
        items = [CompletionItem(row.id, help=f"{status_of(row)} {row.workflow}") for row in rows if row is not None]
        return items + [CompletionItem("@last", help="the newest run")] * "@last".startswith(incomplete or "-")

    return _from_store(ctx, offered)


def files_and_run_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids first; the shell adds the files."""
    return [*run_ids(ctx, param, incomplete), CompletionItem(incomplete, type="file")]


def workflows(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Workflows the engine of the database knows."""

    def offered(client: Any) -> list[CompletionItem]:
        rows = client.store.views.definitions()
        return [CompletionItem(r.name) for r in rows if r.kind == "workflow" and r.name.startswith(incomplete)]

    return _from_store(ctx, offered)


def task_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Open human tasks, the oldest first, with their titles."""

    def offered(client: Any) -> list[CompletionItem]:
        from perdure.stores.human import HumanFilter

        views = client.store.views
        rows = views.human.find(HumanFilter(limit=10 * OFFERED))
        runs = views.rows_by_key([row.run for row in rows])
        named = [(f"{runs[row.run].id}/{row.step}", row.title) for row in rows if row.run in runs]
        return [CompletionItem(id, help=title) for id, title in named if id.startswith(incomplete)][:OFFERED]

    return _from_store(ctx, offered)


def message_names(kind: str) -> Callable[..., list[CompletionItem]]:
    """Completes what the workflow of the run that was typed before hears of a kind, with its parameters."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        def offered(client: Any) -> list[CompletionItem]:
            from perdure.cli import selection
            from perdure.client.known import heard_by

            views = client.store.views
            row = views.row(selection.one(client, Settings(), ctx.params.get("run") or ""))
            heard = None if row is None else heard_by(views.definitions(), row.workflow)
            names = [] if heard is None else heard.names(kind)
            return [
                CompletionItem(name, help=", ".join(heard.by_name[kind, name]["names"]))  # type: ignore[union-attr]
                for name in names
                if name.startswith(incomplete)
            ]

        return _from_store(ctx, offered)

    return complete


def states(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from perdure.cli.tokens import TYPED

    done, comma, word = incomplete.rpartition(",")
    return [CompletionItem(done + comma + state) for state in (*TYPED, "open", "closed") if state.startswith(word)]


def _from_store(ctx: click.Context, offered: Any) -> list[CompletionItem]:
    """What a question to the store gives; nothing at all if it cannot be asked: this runs at a press of Tab."""
    from perdure.cli.database import opened

    settings = ctx.find_object(Settings) or Settings()
    settings.db = settings.db or ctx.params.get("db")
    settings.verbose = False
    try:
        with opened(settings) as client:
            return list(offered(client))
    except Exception:  # noqa: BLE001 - a message here would land in the middle of the line being typed
        return []

"""The entry: finds the command, runs it, and turns whatever goes wrong into one line, facts, a hint and an exit code.

Each command lives in a file of its own that is imported when it is called; `perdure --help` imports none.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import click

from perdure.cli.options import Settings
from perdure.cli.problems import ERROR, INTERRUPTED, OK, USAGE, Problem, guess, of_error


class Entry(NamedTuple):
    """Where a command is found, what it does, and a line to try."""

    module: str
    summary: str
    example: str


COMMANDS: dict[str, Entry] = {
    "run": Entry(
        "run", "Run a workflow to its end in this process", "perdure run shop.py:process_order --arg amount=10"
    ),
    "dev": Entry("dev", "An engine with a dashboard, started anew when code changes", "perdure dev shop.py"),
    "start": Entry(
        "start", "Start a run; an engine takes it", "perdure start process_order --id order-1 --input @in.json"
    ),
    "list": Entry("listing", "List runs, newest first", "perdure list --state failed,blocked --since 24h"),
    "show": Entry("show", "One run: steps, times, errors", "perdure show order-1 --follow"),
    "result": Entry("result", "Wait for a run and print its result", "perdure result order-1 --timeout 30s"),
    "signal": Entry("speaking", "Tell a run something", "perdure signal loan-7 decide approved=true by=maria"),
    "cancel": Entry("steer", "Ask runs to stop, with their cleanup", 'perdure cancel order-1 --reason "test data"'),
    "retry": Entry("steer", "Go on at once with what is blocked, held or waiting to retry", "perdure retry order-1"),
    "task": Entry("human", "What runs ask people: list, show, claim, release, complete", "perdure task list --overdue"),
    "doctor": Entry("doctor", "Check the database and what stands still", "perdure doctor"),
    "query": Entry("speaking", "Ask the code of a run something", "perdure query loan-7 state"),
    "update": Entry("speaking", "Have a run do something, and print its answer", "perdure update loan-7 raise_by 50"),
    "count": Entry("counting", "How many runs there are, by state", "perdure count --state open"),
    "stream": Entry(
        "streaming", "What a run shows while it goes on: tokens, progress", "perdure stream chat-1 tokens --follow"
    ),
    "move": Entry("steer", "Let runs pinned to another build go on with this one", "perdure move order-1"),
    "builds": Entry("builds", "Which builds of the code still have open runs", "perdure builds"),
    "terminate": Entry("steer", "End runs at once, without cleanup", "perdure terminate order-1"),
    "prune": Entry("pruning", "Delete runs that have ended long ago", "perdure prune --older-than 30d --dry-run"),
    "export": Entry(
        "exporting", "Runs as JSON files, to replay or look at elsewhere", "perdure export order-1 -o order-1.json"
    ),
    "replay": Entry(
        "replaying", "Check that the code at hand does what histories have", "perdure replay histories/ --module shop"
    ),
    "import": Entry("importing", "Exported runs back into a database", "perdure import order-1.json --store copy.db"),
    "check": Entry(
        "checking",
        "Before a deploy: would the open runs go on with this code",
        "perdure check shop --against orders.db",
    ),
    "init": Entry("scaffolding", "Begin a project: a workflow, an activity, their tests", "perdure init shop"),
    "migrate": Entry("migrating", "Make a database, or bring its schema up to date", "perdure migrate --check"),
    "worker": Entry(
        "worker", "Work for others: the activities of a queue, or whole runs", "perdure worker shop.images --queue gpu"
    ),
    "dashboard": Entry(
        "dashboard",
        "The runs of a database in a browser, without an engine",
        "perdure dashboard --db postgresql://reader@host/name",
    ),
    "version": Entry("version", "Versions of Perdure, Python and SQLite", "perdure version"),
    "completion": Entry("completion", "Completion for bash, zsh or fish", 'eval "$(perdure completion bash)"'),
}
OTHER_WORDS = {
    "logs": ("show", "--logs"),
    "events": ("show", "--events"),
    "history": ("show", "--events"),
    "describe": ("show", ""),
    "status": ("show", ""),
    "ls": ("list", ""),
    "ps": ("list", ""),
    "ui": ("dashboard", ""),
    "engines": ("doctor", ""),
    "members": ("doctor", ""),
    "queues": ("doctor", ""),
}
"""What other programs call some of them."""

_FUNCTIONS = {"list": "list_", "import": "import_"}
"""What commands are called that cannot have their own name in Python."""

EVERYDAY = 11
"""The first so many are shown with an example each."""


class Root(click.Group):
    """`perdure`: loads commands when they are called and speaks of problems in one way."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        return getattr(import_module(f"perdure.cli.{entry.module}"), _FUNCTIONS.get(cmd_name, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            command, option = OTHER_WORDS.get(args[0]) or (guess(args[0], COMMANDS), "")
            meant = " ".join(filter(None, [command, *args[1:], option])) if command else ""
            raise Problem(
                f"there is no command {args[0]!r}",
                USAGE,
                [] if meant else [f"commands: {', '.join(COMMANDS)}"],
                f"did you mean  perdure {meant}" if meant else "perdure --help",
            )
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a reader that has seen enough (`perdure list | head`) is no error."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            _silence()
            return OK

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        everyday, further = list(COMMANDS.items())[:EVERYDAY], list(COMMANDS.items())[EVERYDAY:]
        with formatter.section("Everyday"):
            for name, entry in everyday:
                formatter.write(f"  {name:<9} {entry.summary}\n  {'':<9}   $ {entry.example}\n")
        with formatter.section("Further"):
            for name, entry in further:
                formatter.write(f"  {name:<11} {entry.summary}\n")
        formatter.write(
            "\nExit codes: 0 ok, 1 error, 2 usage, 3 the run did not complete, 4 not found,\n"
            "5 no database, 6 replay failed, 7 needs --yes, 124 --timeout, 130 Ctrl-C.\n"
            "perdure COMMAND --help tells more.\n"
        )

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, complete_var: str | None = None,
             standalone_mode: bool = True, windows_expand_args: bool = True, **extra: Any) -> Any:  # fmt: skip
        """Run a command and leave the process with its exit code. `obj`: settings to begin with."""
        settings = extra.pop("obj", None) or Settings()
        extra["obj"] = settings
        arguments = list(sys.argv[1:] if args is None else args)
        settings.debug = "--debug" in arguments
        try:
            code = super().main(arguments, "perdure", complete_var, standalone_mode=False, **extra)
        except BaseException as error:  # noqa: BLE001 - this is the edge: whatever it was, a person reads one line
            code = _told(settings, error)
        _flush()
        sys.exit(code if isinstance(code, int) else OK)


def _told(settings: Settings, error: BaseException) -> int:
    """Say what went wrong, and the exit code that says it to a script."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else ERROR
    if settings.debug and not isinstance(error, Problem | click.ClickException | click.Abort | KeyboardInterrupt):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return INTERRUPTED
    problem = _problem(error)
    settings.narrate([("error", "failed.bold"), (f": {problem.message}", "")])
    for fact in problem.facts:
        settings.narrate([(f"  {fact}", "dim")])
    if problem.hint:
        settings.narrate([("  hint", "hint"), (f": {problem.hint}", "")])
    return problem.exit


def _problem(error: BaseException) -> Problem:
    if isinstance(error, Problem):
        return error
    if isinstance(error, click.NoSuchOption):
        meant = guess(error.option_name, error.possibilities or (), 0.7)
        hint = f"did you mean  {meant}" if meant else _help(error)
        if error.option_name[1:].isdecimal():
            hint = "a value that begins with - comes after --, and so does what follows it:  -- -5"
        return Problem(f"there is no option {error.option_name}", USAGE, [], hint)
    if isinstance(error, click.ClickException):
        text = error.format_message()
        return Problem(text[:1].lower() + text[1:].rstrip("."), USAGE, [], _help(error))
    return of_error(error)


def _help(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context is not None else 'perdure'} --help"


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _silence()


def _silence() -> None:
    """Nobody reads what is still to be written; do not complain about it when the process ends."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from perdure.cli.version import perdure_version

        click.echo(f"perdure {perdure_version()}")
        ctx.exit()


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]}, invoke_without_command=True)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="The version.")
@click.pass_context
def cli(context: click.Context) -> None:
    """Durable workflows: list, watch and steer runs, directly on their database."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main() -> None:
    cli.main()


if __name__ == "__main__":
    main()

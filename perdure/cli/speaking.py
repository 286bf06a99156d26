"""`perdure signal`, `query` and `update`: what is said to a run, through the database, without its code."""

import time
from collections.abc import Sequence
from typing import Any

import click

from perdure.cli.completion import message_names, run_ids, workflows
from perdure.cli.options import Command, Settings, options
from perdure.cli.problems import NOT_FOUND, OK, TIMED_OUT, UNREACHABLE, USAGE, Problem, guess

POLL_S = 0.05
POLL_MOST_S = 0.5

FORMS = "JSON or text by position, NAME=VALUE by name; fields of the one parameter, too"


def _spoken(name: str, help: str, *further: Any) -> Any:
    """A command that sends a message of a kind; the function gets the run, the name and the arguments."""

    def decorate(function: Any) -> click.Command:
        for option in reversed(further):
            function = option(function)
        function = click.option("--input", "input_", metavar="JSON|@FILE|-",
                                help="Arguments: an object by name, an array by position.")(function)  # fmt: skip
        function = click.argument("args", nargs=-1, metavar="[ARGS]...")(function)
        function = click.argument("name", shell_complete=message_names(name))(function)
        function = click.argument("run", shell_complete=run_ids)(function)
        return click.command(name, cls=Command, help=help)(function)

    return decorate


_REQUEST_ID = click.option("--request-id", metavar="TEXT", help="Names this request: made again, it is taken once.")
_START = (
    click.option("--start", metavar="WORKFLOW", shell_complete=workflows,
                 help="Unless there is an open run of the id RUN, begin one that hears this first."),
    click.option("--start-input", metavar="JSON|@FILE|-", help="With --start: arguments of the workflow."),
    click.option("--start-arg", "start_args", multiple=True, metavar="NAME=VALUE", help="One of them; may be repeated."),
)  # fmt: skip


@_spoken(
    "signal",
    f"Tell a run something: NAME is a signal of its workflow, or a channel.\n\nARGS are {FORMS}.\n\n"
    "Example: perdure signal loan-7 decide approved=true by=maria",
    _REQUEST_ID,
    *_START,
    options(json=True, quiet="Say nothing if it went well."),
    click.pass_obj,
)
def signal(settings: Settings, run: str, name: str, args: tuple[str, ...], input_: str | None,
           request_id: str | None, **start: Any) -> int:  # fmt: skip
    from perdure.cli import database, output

    beginning = Beginning.asked(**start)
    with database.opened(settings) as client:
        talk = Talk(settings, client, run, "signal", name, beginning)
        talk.send(args, input_, request_id)
        state, told = talk.signal_state()
        if settings.json:
            record = {"id": talk.id, "name": name, "request_id": request_id or "", "state": state}
            output.write_json(output.selected(record, output.fields(settings.json, tuple(record))))
        elif not settings.quiet:
            settings.write([("✓ ", "completed"), (talk.id, ""), (f"  {name}: {told}", "")])
    return OK


@_spoken(
    "query",
    f"Ask the code of a run something, and print its answer as JSON. Runs that have ended answer, too.\n\n"
    f"ARGS are {FORMS}. An engine that has the code must hold the database.\n\n"
    "Example: perdure query loan-7 state",
    options(json=True),
    click.pass_obj,
)
def query(settings: Settings, run: str, name: str, args: tuple[str, ...], input_: str | None) -> int:
    from perdure.cli import database

    with database.opened(settings) as client:
        _print(settings, Talk(settings, client, run, "query", name).send(args, input_))
    return OK


@_spoken(
    "update",
    f"Have a run do something, wait for its answer, and print that as JSON.\n\nARGS are {FORMS}.\n\n"
    "Example: perdure update loan-7 raise_by 50 --timeout 30s",
    _REQUEST_ID,
    *_START,
    click.option(
        "--wait",
        type=click.Choice(["accepted", "completed"]),
        default="completed",
        help="Until it is accepted, and print its id; or (without this) for its answer.",
    ),
    click.option(
        "--timeout", metavar="DURATION", help="Wait for the answer no longer than 30s, 5m, ... (exit code 124)."
    ),
    options(json=True),
    click.pass_obj,
)
def update(settings: Settings, run: str, name: str, args: tuple[str, ...], input_: str | None, request_id: str | None,
           wait: str, timeout: str | None, **start: Any) -> int:  # fmt: skip
    from perdure.cli import database
    from perdure.cli.result import timeout_seconds

    limit = timeout_seconds(timeout)
    beginning = Beginning.asked(**start)
    with database.opened(settings) as client:
        talk = Talk(settings, client, run, "update", name, beginning)
        accepted = talk.send(args, input_, request_id)
        if wait == "accepted":
            _print_accepted(settings, talk, accepted)
        else:
            talk.await_answer(accepted, limit)
            _print(settings, accepted.result().wait())
    return OK


class Beginning:
    """What `--start` asks for: a workflow, and its arguments as they were typed."""

    def __init__(self, workflow: str, input: str | None, args: Sequence[str]) -> None:
        self.workflow = workflow
        self.input = input
        self.args = args

    @staticmethod
    def asked(start: str | None, start_input: str | None, start_args: Sequence[str]) -> "Beginning | None":
        """None without.

        Raises:
            Problem: there are arguments, and no workflow.
        """
        if start is not None:
            return Beginning(start, start_input, start_args)
        if start_input is not None or start_args:
            raise Problem("arguments of a workflow need one: --start WORKFLOW", USAGE)
        return None

    def send(self, talk: "Talk", message: Any, request_id: str | None) -> Any:
        """Say the message to the open run of the id, or begin one; of an update its handle.

        Raises:
            Problem: there is no such workflow, or its arguments cannot be read.
        """
        from perdure.cli import arguments
        from perdure.cli.start import parameters

        names, texts = parameters(talk.client, self.workflow)
        positional, named = arguments.parse(self.input, self.args, names, texts)
        verbs = talk.client.verbs
        if talk.kind == "update":
            options = {"id": talk.id, "update_id": request_id, "request_id": request_id}
            return verbs.update_with_start(self.workflow, message, positional, named, **options).wait()
        options = {"id": talk.id, "signal": message, "request_id": request_id}
        return verbs.start(self.workflow, positional, named, **options).wait()


class Talk:
    """One message to one run, with what the database knows of its workflow. `beginning`: unless that is open, it begins."""

    def __init__(
        self, settings: Settings, client: Any, run: str, kind: str, name: str, beginning: Beginning | None = None
    ) -> None:
        from perdure.cli import selection
        from perdure.client.known import heard_by

        self.settings = settings
        self.client = client
        self.kind = kind
        self.name = name
        self.beginning = beginning
        self.id = selection.one(client, settings, run) if beginning is None else run
        self.workflow = client.store.views.row(self.id).workflow if beginning is None else beginning.workflow
        self.heard = heard_by(client.store.views.definitions(), self.workflow)

    @property
    def owned(self) -> bool:
        return bool(self.client.store.views.owners())

    def send(self, args: Sequence[str], input: str | None, request_id: str | None = None) -> Any:
        """Say it, and wait until it is taken (of a query: for the answer).

        Raises:
            Problem: nobody hears that name, or the arguments do not fit.
        """
        from perdure import errors
        from perdure.cli.message_arguments import spoken
        from perdure.handlers import Message

        published = None if self.heard is None else self.heard.by_name.get((self.kind, self.name))
        self._demand_heard()
        positional, named = spoken(input, args, published)
        message = Message(self.name, positional, named)
        try:
            if self.beginning is not None:
                return self.beginning.send(self, message, request_id)
            handle = self.client.verbs.handle(self.id)
            if request_id is not None:
                handle = handle.as_request(request_id)
            send = handle.start_update if self.kind == "update" else getattr(handle, self.kind)
            return send(message).wait()
        except errors.UnknownMessage as error:
            raise (self._unknown() or error) from error

    def _demand_heard(self) -> None:
        """Without an engine to ask, what it has published before it went is believed: but a channel that a workflow makes
        while it runs is not among that."""
        if self.owned or self.heard is None or self.heard.all_names(self.kind):
            return
        unknown = self._unknown()
        if unknown is None:
            return
        if self.kind != "signal":
            raise unknown
        self.settings.narrate([(f"{unknown.message}; {', '.join(unknown.facts)}", "retrying")])

    def _unknown(self) -> Problem | None:
        """That nobody hears it, if that is known."""
        if self.heard is None or (self.kind, self.name) in self.heard.by_name:
            return None
        names = self.heard.names(self.kind)
        facts = [f"it hears: {', '.join(names)}" if names else f"it hears no {self.kind} at all"]
        others = [kind for kind in ("signal", "query", "update") if (kind, self.name) in self.heard.by_name]
        meant = guess(self.name, names)
        hint = ""
        if others:
            facts.append(f"{self.name!r} is a name of another kind: {', '.join(others)}")
            hint = f"perdure {others[0]} {self.id} {self.name}"
        elif meant is not None:
            hint = f"did you mean  perdure {self.kind} {self.id} {meant}"
        return Problem(f"workflow {self.workflow} hears no {self.kind} {self.name!r}", NOT_FOUND, facts, hint)

    def signal_state(self) -> tuple[str, str]:
        """Where the signal is now: for scripts, and in words."""
        from perdure.cli.follow import status_of

        state = status_of(self.client.store.views.row(self.id))
        if not self.owned:
            return "in the mail", "in the mail; the run hears it when an engine starts"
        if state in ("blocked", "quarantined"):
            return "in the mail", f"in the mail; the run is {state}, and hears it when it is released"
        return "received", "received"

    def await_answer(self, update: Any, limit: float | None) -> None:
        """Wait until there is an answer, or none can come any more.

        Raises:
            Problem: it takes too long, or the engine has gone.
        """
        deadline = None if limit is None else time.monotonic() + limit
        pause = POLL_S
        while not update.is_settled():
            left = None if deadline is None else deadline - time.monotonic()
            hint = f"perdure show {self.id} --messages"
            if left is not None and left <= 0:
                raise Problem(
                    f"update {self.name} is accepted and has no answer yet", TIMED_OUT, [f"its id: {update.id}"], hint
                )
            if pause >= POLL_MOST_S and not self.owned:
                facts = [f"it is accepted, and its id is {update.id}", "the run goes on when an engine starts"]
                raise Problem("the engine has gone before the answer was there", UNREACHABLE, facts, hint)
            time.sleep(pause if left is None else min(pause, left))
            pause = min(pause * 1.5, POLL_MOST_S)


def _print_accepted(settings: Settings, talk: Talk, update: Any) -> None:
    from perdure.cli import output

    if settings.json:
        record = {"id": talk.id, "name": talk.name, "update_id": update.id, "state": "accepted"}
        output.write_json(output.selected(record, output.fields(settings.json, tuple(record))))
        return
    click.echo(update.id)
    settings.narrate([(f"accepted; its answer:  perdure show {talk.id} --messages", "dim")])


def _print(settings: Settings, answer: Any) -> None:
    """An answer, or some fields of it."""
    from perdure.cli import output
    from perdure.cli.options import ALL

    if settings.json not in (None, ALL) and isinstance(answer, dict):
        answer = output.selected(answer, output.fields(settings.json, tuple(answer)))
    output.write_json(answer)

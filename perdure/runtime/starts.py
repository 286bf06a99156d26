"""Starting a run, or attaching to the one that has the id already."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from perdure import errors
from perdure.failures import failure_of
from perdure.kernel import commands as cmd
from perdure.kernel import messages as msg
from perdure.kernel.decide import decide, decide_command
from perdure.kernel.events import Payload
from perdure.kernel.project import RunRow
from perdure.kernel.run import Run
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.attaching import Begun, demand_same, input_of, unknown_workflow
from perdure.runtime.draft import Draft
from perdure.runtime.letters import Letter, Started, StartRequest
from perdure.runtime.turn import Turns
from perdure.runtime.waiters import Waiters
from perdure.runtime.world import World
from perdure.stores.base import Store

if TYPE_CHECKING:
    from perdure.workflows import WorkflowDefinition


class Starts:
    """Answers start requests. Keys are even, and above every key there was."""

    def __init__(
        self,
        store: Store,
        roster: Roster,
        turns: Turns,
        workflows: "Mapping[str, WorkflowDefinition[Any, Any]]",
        waiters: Waiters,
        build: str,
        world: World,
    ) -> None:
        self._store = store
        self._waiters = waiters
        self._roster = roster
        self._turns = turns
        self._workflows = workflows
        self._build = build
        self._world = world
        self._last_key = store.work.last_key()
        self._found: dict[str, RunRow] = {}

    def look_up(self, requests: Iterable[StartRequest]) -> None:
        """Find in one go which of the ids exist."""
        self._found = self._store.work.find([request.id for request in requests])

    def deliver(self, draft: Draft, request: StartRequest) -> None:
        """Begin a run, or attach; the answer goes out when the batch is durable."""
        try:
            draft.answers.append((request, self._answer(draft, request), None))
        except errors.PerdureError as error:
            draft.answers.append((request, None, error))

    def _answer(self, draft: Draft, request: StartRequest) -> Started:
        if request.id in draft.started:
            actor, start = draft.started[request.id]
            self._demand_same(request, start.workflow, start.input, actor)
            return Started(actor.run.key, actor.run.run_id, attached=True)
        row = self._found.get(request.id)
        if row is not None:
            self._bump(row.key)
            self._demand_same(
                request, row.workflow, input_of(self._store, row.key), Actor(Run(row.key, row.id), self._store)
            )
            return Started(row.key, row.run_id, attached=True, at_rest=self._waiters.rests(row))
        if request.workflow not in self._workflows:
            raise unknown_workflow(request.workflow, self._workflows)
        return self._begin(draft, request)

    def _begin(self, draft: Draft, request: StartRequest) -> Started:
        self._last_key = (self._last_key + 2) & ~1
        actor = self._roster.add(Actor(Run(self._last_key, request.id), self._store, is_new=True))
        actor.blobs = dict(request.blobs) if request.blobs else None
        start = msg.Start(request.workflow, request.input, self._world.new_id(), self._build)
        draft.actors[self._last_key] = actor
        draft.started[request.id] = (actor, start)
        self._turns.take(actor, start, draft.now)
        return Started(self._last_key, start.run_id)

    def _bump(self, key: int) -> None:
        self._last_key = max(self._last_key, key)

    def take_mail(self, draft: Draft, actor: Actor, letter: Letter) -> None:
        """A start that a client has queued: its arguments are checked here, since the client had no code."""
        start = letter.message
        assert type(start) is msg.Start
        self._bump(letter.key)
        if actor.run.seq:  # begun already; only its letter was left over
            draft.consume(letter)
            return
        error = self._fault(actor, start)
        if error is not None and start.refuse_by_reply and letter.reply_to:
            draft.withdraw(letter, error.code, str(error))
            return
        begun = msg.Start(start.workflow, actor.set_apart(start.input), start.run_id, self._build)
        if error is None or isinstance(error, errors.UnknownWorkflow):
            self._turns.take(actor, begun, draft.now)  # an unknown one waits, blocked, for code that knows it
        else:
            for event in decide(actor.run, begun, draft.now):
                actor.fold(event)
            actor.fold(decide_command(actor.run, cmd.FailRun(failure_of(error)), draft.now))
        draft.consume(letter)

    def _fault(self, actor: Actor, start: msg.Start) -> errors.PerdureError | None:
        if start.workflow not in self._workflows:
            return unknown_workflow(start.workflow, self._workflows)
        try:
            self._turns.programs.check(actor, start.input)
        except errors.PayloadNotDecodable as error:
            return errors.InvalidArguments(str(error))
        except errors.PerdureError as error:
            return error
        return None

    def _demand_same(self, request: StartRequest, workflow: str, input: Payload | None, theirs: Actor) -> None:
        blobs = request.blobs or {}
        demand_same(
            request.id,
            Begun(request.workflow, request.input, blobs.__getitem__),
            Begun(workflow, input, lambda digest: theirs.get(b"", digest)),
            self._workflows.get(workflow),
        )

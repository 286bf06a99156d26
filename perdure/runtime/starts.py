"""Starting a run, or attaching to the one that has the id already, or ending that one first."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from perdure import errors
from perdure.failures import failure_of
from perdure.kernel import commands as cmd
from perdure.kernel import messages as msg
from perdure.kernel.decide import decide, decide_command
from perdure.kernel.events import Payload
from perdure.kernel.ids import TERMINATE_EXISTING, Claim, claim
from perdure.kernel.project import RunRow
from perdure.kernel.run import Run, Status
from perdure.runtime.actors import Actor, Roster, actor_of
from perdure.runtime.attaching import Begun, demand_same, demand_workflow, input_of, taken, unknown_workflow
from perdure.runtime.draft import Draft
from perdure.runtime.letters import Letter, Started, StartRequest
from perdure.runtime.turn import Turns
from perdure.runtime.waiters import Waiters
from perdure.runtime.world import World
from perdure.stores.base import Store
from perdure.stores.health import told_as_damage

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
        newest = self._newest(draft, request.id)
        if newest is None:
            return self._begin(draft, request, None)
        wishes = request.wishes
        made = self._made(draft, request.id, wishes.request_id) if wishes.request_id else None
        if made is not None:
            return made
        match claim(newest.status, wishes.id_conflict, wishes.id_reuse):
            case Claim.FOLLOW:
                return self._begin(draft, request, newest)
            case Claim.REPLACE:
                self._demand_known(request.workflow)
                self._end(draft, newest)
                return self._begin(draft, request, newest)
            case Claim.REFUSE:
                raise taken(request.id, newest.status, wishes.id_reuse)
            case Claim.ATTACH:
                demand_workflow(request.id, request.workflow, newest.workflow)
            case Claim.ATTACH_IF_SAME:
                self._demand_same(request, newest)
        return Started(newest.key, newest.run_id, attached=True, at_rest=newest.rests)

    def _newest(self, draft: Draft, id: str) -> "Standing | None":
        """The newest run of an id as it stands now: in this batch, else in the store."""
        if id in draft.begun:
            actor, start = draft.begun[id]
            return Standing(
                actor.run.key, actor.run.run_id, start.workflow, actor.run.status, False, actor, start.input
            )
        row = self._found.get(id)
        if row is None or row.key in draft.withdrawn:
            return None
        self._bump(row.key)
        actor = draft.actors.get(row.key)
        status = row.status if actor is None else actor.run.status
        return Standing(row.key, row.run_id, row.workflow, status, self._waiters.rests(row), actor)

    def _made(self, draft: Draft, id: str, request_id: str) -> Started | None:
        """The run that the same request has made before."""
        actor = draft.made.get((id, request_id))
        if actor is not None:
            return Started(actor.run.key, actor.run.run_id, attached=True)
        row = self._store.views.row_by_request(id, request_id)
        end = None if row is None else self._store.views.end_of_chain(row.key)
        if row is None or end is None:
            return None
        return Started(end.key, row.run_id, attached=True, at_rest=self._waiters.rests(end))

    def _begin(self, draft: Draft, request: StartRequest, newest: "Standing | None") -> Started:
        self._demand_known(request.workflow)
        self._last_key = (self._last_key + 2) & ~1
        actor = self._roster.add(Actor(Run(self._last_key, request.id), self._store, is_new=True))
        actor.blobs = dict(request.blobs) if request.blobs else None
        terms = request.wishes.terms
        start = msg.Start(request.workflow, request.input, self._world.new_id(), self._build, False, terms)
        draft.actors[self._last_key] = actor
        draft.begun[request.id] = (actor, start)
        if terms is not None and terms.request_id:
            draft.made[request.id, terms.request_id] = actor
        if newest is not None:
            draft.followers[newest.key] = actor.run.key
        self._turns.take(actor, start, draft.now)
        return Started(self._last_key, start.run_id)

    def _end(self, draft: Draft, newest: "Standing") -> None:
        """A new run of the id ends the one that is open."""
        actor = newest.actor or self._roster.get(newest.key) or self._loaded(newest.key)
        draft.actors[newest.key] = actor
        if not actor.run.seq:
            self.begin_silently(draft, actor)
        self._turns.take(actor, msg.Terminate(REPLACED), draft.now)

    def _loaded(self, key: int) -> Actor:
        stored = self._store.work.load([key])[key]
        with told_as_damage(stored.run.id):
            return self._roster.add(actor_of(stored, self._store))

    def begin_silently(self, draft: Draft, actor: Actor) -> None:
        """A run that is ended before it has begun: its history says what it was to be, its code does not see it."""
        stored = self._store.work.load([actor.run.key]).get(actor.run.key)
        start = next(
            (mail.message for mail in (stored.mail if stored else ()) if type(mail.message) is msg.Start), None
        )
        if start is not None:
            for event in decide(actor.run, self._begun(start, actor), draft.now):
                actor.fold(event)

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
        begun = self._begun(start, actor)
        if error is None or isinstance(error, errors.UnknownWorkflow):
            if start.id_conflict == TERMINATE_EXISTING:
                self._replace(draft, actor, begun)
            self._turns.take(actor, begun, draft.now)  # an unknown one waits, blocked, for code that knows it
        else:
            for event in decide(actor.run, begun, draft.now):
                actor.fold(event)
            actor.fold(decide_command(actor.run, cmd.FailRun(failure_of(error)), draft.now))
        draft.consume(letter)

    def _replace(self, draft: Draft, actor: Actor, start: msg.Start) -> None:
        """A queued start takes the place of the newest run, which it ends, unless it got its place at once."""
        id = actor.run.id
        self._found.update(self._store.work.find([id]))
        newest = self._newest(draft, id)
        if newest is None or newest.key == actor.run.key:
            return
        if newest.status < Status.COMPLETED:
            self._end(draft, newest)
        draft.followers[newest.key] = actor.run.key
        draft.begun[id] = (actor, start)

    def _begun(self, start: msg.Start, actor: Actor) -> msg.Start:
        return msgspec.structs.replace(start, input=actor.set_apart(start.input), build=self._build)

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

    def _demand_known(self, workflow: str) -> None:
        if workflow not in self._workflows:
            raise unknown_workflow(workflow, self._workflows)

    def _demand_same(self, request: StartRequest, newest: "Standing") -> None:
        theirs = newest.actor or Actor(Run(newest.key, request.id), self._store)
        input = newest.input or input_of(self._store, newest.key)
        blobs = request.blobs or {}
        demand_same(
            request.id,
            Begun(request.workflow, request.input, lambda payload: self._roster.plain(payload, blobs.__getitem__)),
            Begun(newest.workflow, input, lambda payload: self._roster.plain(payload, theirs.blob)),
            self._workflows.get(newest.workflow),
        )


class Standing(msgspec.Struct):
    """The newest run of an id. `actor`: it is in this batch; `input`: it has begun in it."""

    key: int
    run_id: bytes
    workflow: str
    status: int
    rests: bool
    actor: Actor | None = None
    input: Payload | None = None


REPLACED = "a new run of the same id was started in its stead"

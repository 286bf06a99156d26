"""Starting a run, or attaching to the one that has the id already, or ending that one first."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perdure import errors
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.ids import Claim, claim
from perdure.kernel.limits import END_OF_TIME
from perdure.kernel.run import Run
from perdure.kernel.terms import with_own
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.attaching import Begun, begin_of, demand_same, demand_workflow, taken, unknown_workflow
from perdure.runtime.draft import Draft
from perdure.runtime.families import Families
from perdure.runtime.holders import Holder, Holders
from perdure.runtime.letters import Heard, Letter, Started, StartRequest
from perdure.runtime.membership import Foreign
from perdure.runtime.queued import Queued
from perdure.runtime.refusals import error_of
from perdure.runtime.turn import Turns
from perdure.runtime.waiters import Waiters
from perdure.runtime.world import World
from perdure.stores.base import Store

if TYPE_CHECKING:
    from perdure.workflows import WorkflowDefinition


class Starts:
    """Answers start requests. `holders` knows who has which id, `queued` lets begin what lies in the mailbox,
    `families` has what runs want of each other."""

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
        self._roster = roster
        self._turns = turns
        self._workflows = workflows
        self._build = build
        self._world = world
        self.holders = Holders(store, roster, waiters)
        self.queued = Queued(store, roster, turns, workflows, self.holders, build)
        self.families = Families(store, roster, self.holders, self.queued)

    def look_up(self, requests: Sequence[StartRequest]) -> list[int]:
        """Find in one go which of the ids exist; the keys of those that something is to be said to. One that was just drawn, and comes
        alone, is taken for new: if it is not, the store says so, and it is looked up then."""
        self.holders.forget()
        if len(requests) == 1 and requests[0].is_drawn:
            return []
        self.holders.look_up([request.id for request in requests])
        return self.holders.open_among(request.id for request in requests if request.wishes.first is not None)

    def deliver(self, draft: Draft, request: StartRequest) -> None:
        """Begin a run, or attach; the answer goes out when the batch is durable."""
        try:
            draft.answers.append((request, self._answer(draft, request), None))
        except errors.PerdureError as error:
            draft.answers.append((request, None, error))
        except Foreign:
            draft.send_elsewhere(request)

    def _answer(self, draft: Draft, request: StartRequest) -> Started:
        if request.wishes.first is not None:
            self._demand_heard(request, request.wishes.first)
        newest = self.holders.newest(draft, request.id)
        if newest is None:
            return self._begin(draft, request, None)
        wishes = request.wishes
        made = self.holders.made(draft, request.id, wishes.request_id) if wishes.request_id else None
        if made is not None:
            return made
        match claim(newest.status, wishes.id_conflict, wishes.id_reuse):
            case Claim.FOLLOW:
                return self._begin(draft, request, newest)
            case Claim.REPLACE:
                self._demand_known(request.workflow)
                self.queued.end(draft, newest)
                return self._begin(draft, request, newest)
            case Claim.REFUSE:
                raise taken(request.id, newest.status, wishes.id_reuse)
            case Claim.ATTACH:
                demand_workflow(request.id, self._today(request.workflow), self._today(newest.workflow))
            case Claim.ATTACH_IF_SAME:
                self._demand_same(draft, request, newest)
        if wishes.first is not None:
            actor = newest.actor or self._roster.get(newest.key)
            if actor is None and self._roster.is_foreign(newest.key):
                raise Foreign(newest.key)
            if actor is None:
                raise errors.RunClosed(f"run {request.id!r} has ended just now; start it again")
            draft.actors[newest.key] = actor
            self._demand_taken(self.queued.say(draft, actor, wishes.first))
        return Started(newest.key, newest.run_id, attached=True, at_rest=newest.rests)

    def _demand_taken(self, heard: Heard) -> None:
        if heard.code:
            raise error_of(heard)

    def _begin(self, draft: Draft, request: StartRequest, newest: Holder | None) -> Started:
        self._demand_known(request.workflow)
        wishes = request.wishes
        terms = with_own(self._workflows[request.workflow].terms, wishes.terms, wishes.chosen)
        run_id = self._world.new_id()
        start = msg.Start(
            self._today(request.workflow),
            request.input,
            run_id,
            self._build,
            False,
            terms,
            memo=wishes.memo,
            first=wishes.first,
        )
        actor = self.holders.add(draft, request.id, start, alone=request.is_drawn)
        actor.blobs = dict(request.blobs) if request.blobs else None
        if terms is not None and terms.request_id:
            draft.made[request.id, terms.request_id] = actor
        if newest is not None:
            draft.followers[newest.key] = actor.run.key
        if wishes.delay_ns:
            draft.queue(actor, start, min(draft.now + wishes.delay_ns, END_OF_TIME))
        else:
            self._demand_taken(self.queued.begin(draft, actor, start))
        return Started(actor.run.key, start.run_id)

    def _demand_heard(self, request: StartRequest, first: msg.Signal | msg.Update) -> None:
        """Before the run is there: without the message it is not to begin."""
        asked = Actor(Run(0, request.id), self._store)
        asked.run.workflow = self._today(request.workflow)
        asked.coding = self._roster.coding
        self._turns.programs.check_message(asked, first)

    def _today(self, workflow: str) -> str:
        """The name of a workflow that may be called by one it had before."""
        definition = self._workflows.get(workflow)
        return workflow if definition is None else definition.name

    def _demand_known(self, workflow: str) -> None:
        if workflow not in self._workflows:
            raise unknown_workflow(workflow, self._workflows)

    def _demand_same(self, draft: Draft, request: StartRequest, newest: Holder) -> None:
        """What a run goes on as may have other arguments: it is the first of them that the same start has made."""
        theirs = draft.actors.get(newest.first) or Actor(Run(newest.first, request.id), self._store)
        begin = _begin_here(draft, theirs) or begin_of(self._store, newest.first)
        input, workflow = (None, newest.workflow) if begin is None else (begin.input, begin.workflow)
        blobs = request.blobs or {}
        demand_same(
            request.id,
            Begun(
                self._today(request.workflow),
                request.input,
                lambda payload: self._roster.plain(payload, blobs.__getitem__),
            ),
            Begun(self._today(workflow), input, lambda payload: self._roster.plain(payload, theirs.blob)),
            self._workflows.get(workflow),
        )


def look_up_all(items: Iterable[StartRequest | Letter]) -> None:
    """They were refused: somebody may have an id that was drawn."""
    for item in items:
        if isinstance(item, StartRequest):
            item.is_drawn = False


def _begin_here(draft: Draft, actor: Actor) -> ev.RunStarted | msg.Start | None:
    """What a run was started with that has come in this batch."""
    if not actor.is_new:
        return None
    for event in actor.events:
        if isinstance(event, ev.RunStarted):
            return event
    kept = (mail.message for mail in draft.kept if mail.run == actor.run.key)
    return next((message for message in kept if isinstance(message, msg.Start)), None)

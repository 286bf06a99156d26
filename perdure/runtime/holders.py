"""Who has an id: the newest of its runs, as it stands in the batch in the making; and how another one comes after it."""

from collections.abc import Iterable

import msgspec

from perdure.kernel import messages as msg
from perdure.kernel.attributes import Attribute, merged
from perdure.kernel.continuing import Continuation, continuation, left_of, renewal
from perdure.kernel.decide import demand_same
from perdure.kernel.events import MemoSet, Payload, RunContinuedAsNew, RunStarted
from perdure.kernel.project import RunRow, attributes_in
from perdure.kernel.run import Run, Status
from perdure.payload.memo import merged_memo
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.draft import Draft
from perdure.runtime.letters import Started
from perdure.runtime.waiters import Waiters
from perdure.stores.base import Store


class Holder(msgspec.Struct):
    """The newest run of an id. `actor`: it is in this batch; `parent`: the key of its parent; `first`: that of the run which
    it continues, by way of any others, or its own."""

    key: int
    run_id: bytes
    workflow: str
    status: int
    rests: bool
    actor: Actor | None = None
    parent: int = 0
    first: int = 0


class Holders:
    """Knows the ids that were looked up."""

    def __init__(self, store: Store, roster: Roster, waiters: Waiters) -> None:
        self._store = store
        self._roster = roster
        self._waiters = waiters
        self._found: dict[str, RunRow] = {}

    def look_up(self, ids: Iterable[str]) -> None:
        """Find in one go which of the ids exist."""
        ids = list(ids)
        found = self._roster.holdings.find(ids)
        for id in ids:
            self._found.pop(id, None)
        self._found |= found

    def open_among(self, ids: Iterable[str]) -> list[int]:
        """Keys of those runs of these ids that were found to be open."""
        found = (self._found.get(id) for id in ids)
        return [row.key for row in found if row is not None and row.status < Status.COMPLETED]

    def forget(self) -> None:
        """A new batch: what was found may not hold any more."""
        self._found = {}

    def saw(self, key: int) -> None:
        """Somebody else has handed out a key."""
        self._roster.holdings.saw(key)

    def newest(self, draft: Draft, id: str) -> Holder | None:
        """The newest run of an id as it stands now: in this batch, else in the store."""
        if id not in draft.begun:
            row = self._found.get(id)
            if row is None or row.key in draft.withdrawn:
                return None
            self.saw(row.key)
            actor = draft.actors.get(row.key)
            if actor is None or not self.continued(draft, actor):
                status = row.status if actor is None else actor.run.status
                rests = self._waiters.rests(row)
                return Holder(row.key, row.run_id, row.workflow, status, rests, actor, row.parent, row.chain or row.key)
        while self.continued(draft, draft.begun[id][0]):
            pass
        actor, start = draft.begun[id]
        run = actor.run
        first = run.chain or run.key
        parent = 0 if run.terms is None or run.terms.parent is None else run.terms.parent.key
        return Holder(run.key, run.run_id, start.workflow, run.status, False, actor, parent, first)

    def made(self, draft: Draft, id: str, request_id: str) -> Started | None:
        """The run that the same request has made before."""
        actor = draft.made.get((id, request_id))
        if actor is not None:
            return Started(actor.run.key, actor.run.run_id, attached=True)
        row = self._store.views.row_by_request(id, request_id)
        end = None if row is None else self._store.views.end_of_chain(row.key)
        if row is None or end is None:
            return None
        actor = draft.actors.get(end.key)
        if actor is not None and self.continued(draft, actor):
            return Started(draft.followers[end.key], row.run_id, attached=True)
        return Started(end.key, row.run_id, attached=True, at_rest=self._waiters.rests(end))

    def _earlier_update(self, draft: Draft, run: Run, id: str) -> str | None:
        """The name of the update of that id which a run has accepted that this one continues; None without."""
        if not run.chain:
            return None
        for actor in draft.actors.values():
            updates = actor.run.updates
            if updates and id in updates and run.chain in (actor.run.key, actor.run.chain):
                return updates[id][0]
        row = self._store.messages.update(run.key, id)
        return None if row is None else row.name

    def heard_earlier(self, draft: Draft, run: Run, update: msg.Update) -> bool:
        """Whether such a run has accepted the update: its answer stands.

        Raises:
            Refused: it was another one.
        """
        name = self._earlier_update(draft, run, update.id)
        if name is not None:
            demand_same(run, update, name)
        return name is not None

    def follow(self, message: msg.Message, key: int, further: int) -> None:
        """A message for a run is heard by the one it goes on as: who waits for the answer waits for that one's."""
        if isinstance(message, msg.Update):
            self._waiters.answers.move(key, message.id, further)

    def add(self, draft: Draft, id: str, start: msg.Start, chain: int = 0, alone: bool = False) -> Actor:
        """A run that the store does not have yet, the newest of its id."""
        key = self._roster.holdings.new_key(alone)
        actor = self._roster.add(Actor(Run(key, id, chain), self._store, is_new=True))
        draft.actors[key] = actor
        draft.begun[id] = (actor, start)
        return actor

    def continuing(self, draft: Draft) -> list[Actor]:
        """The runs of this batch that may have ended in order to go on as others."""
        return [
            actor
            for actor in draft.actors.values()
            if actor.run.terms is not None or type(actor.run.outcome) is RunContinuedAsNew
        ]

    def continued(self, draft: Draft, actor: Actor) -> bool:
        """Whether a run goes on as another one, which is queued in the same commit then."""
        run = actor.run
        if not actor.events or run.is_open:
            return False
        further = None if run.key in draft.followers else _continuation(actor)
        if further is None:
            return run.key in draft.continued
        self.saw(run.key)
        other = self.add(draft, run.id, further.start, run.chain or run.key)
        input = further.start.input
        if input.ref:
            other.put(b"", input.data, actor.blob(input.data))
        draft.followers[run.key] = draft.continued[run.key] = other.run.key
        draft.queue(other, further.start, further.begin_at)
        return True


def _continuation(actor: Actor) -> Continuation | None:
    end = actor.run.outcome
    if not isinstance(end, RunContinuedAsNew):
        return continuation(actor.run)
    attributes: dict[str, Attribute] = {}
    memos: list[Payload] = []
    history = actor.history()
    for event in history:
        attributes = merged(attributes, tuple(attributes_in(event)))
        if isinstance(event, RunStarted | MemoSet) and event.memo is not None:
            memos.append(event.memo)
    memo = merged_memo(memos, actor.plain)
    return renewal(actor.run, tuple(attributes.values()), memo, left_of(end, history))

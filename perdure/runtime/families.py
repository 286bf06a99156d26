"""What runs want of each other: children begin, are cancelled, and tell their parents of their end; a run asks another one.

All of it is mail, written in the commit of the event that causes it: nothing is sent twice, and nothing is lost.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import msgspec

from perdure.errors import RunExists
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.continuing import left_of
from perdure.kernel.family import ABANDON, TERMINATE, ChildTerms, child_run_id
from perdure.kernel.ids import ALLOW_DUPLICATE, FAIL, TERMINATE_EXISTING, Claim, claim
from perdure.kernel.limits import CHILD_DEPTH, END_OF_TIME
from perdure.kernel.notes import timeout_line
from perdure.kernel.project import unplaced
from perdure.kernel.run import Outcome, Run, Status
from perdure.kernel.terms import Parent, RunTerms
from perdure.kernel.values import Payload
from perdure.runtime import weight
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.attaching import taken
from perdure.runtime.draft import Draft
from perdure.runtime.holders import Holder, Holders
from perdure.runtime.letters import Letter
from perdure.runtime.membership import Foreign
from perdure.runtime.queued import Queued
from perdure.stores.base import BlobRow, MailRow, Store
from perdure.stores.mail import OF_A_RUN

_USUAL = ChildTerms()
_Asked: TypeAlias = ev.ExternalCancelRequested | ev.ExternalSignalSent


class Families:
    """Asked twice for each batch: to `relate` its runs when their turns are over, and to `report` their ends when what is
    stored of them is made."""

    def __init__(self, store: Store, roster: Roster, holders: Holders, queued: Queued) -> None:
        self._store = store
        self._roster = roster
        self._holders = holders
        self._queued = queued

    # what runs ask for

    def asked(self, draft: Draft) -> list[tuple[Actor, ev.Event]]:
        """What the runs of the batch want of others, which is looked up in one go."""
        found = [
            (actor, event)
            for actor in draft.actors.values()
            if actor.run.links is not None and actor.events
            for event in actor.events
            if type(event) in _ASKS
        ]
        if found:
            self._holders.look_up({id for actor, event in found for id in _ids_in(actor.run, event)})
        return found

    def grant(self, draft: Draft, actor: Actor, event: ev.Event) -> None:
        """Do what a run has asked for."""
        if isinstance(event, ev.ChildScheduled):
            self._start(draft, actor, event)
        elif isinstance(event, ev.ChildCancelRequested):
            link = (actor.run.links or {}).get(event.id)
            key = None if link is None else self._open_child(draft, actor, event.id, link.id)
            if key is not None:
                draft.post(MailRow(0, key, msg.Cancel(event.reason)))

    def _start(self, draft: Draft, actor: Actor, event: ev.ChildScheduled) -> None:
        terms = event.terms or _USUAL
        parent = _parent_for(actor.run, event.id)
        newest = self._holders.newest(draft, event.child_id)
        refused = self._refusal(draft, actor, event, parent, newest)
        waits = False
        try:
            if refused is not None and newest is not None and self._yields(draft, refused[0], newest):
                newest = self._holders.newest(draft, event.child_id)
                refused = self._refusal(draft, actor, event, parent, newest)
        except Foreign:
            refused, waits = None, True
        if refused is not None:
            draft.post(MailRow(0, actor.run.key, msg.ChildAnswered(event.id, *refused)))
            return
        own = msgspec.structs.replace(terms.terms or RunTerms(), parent=parent)
        start = msg.Start(event.workflow, event.input, event.run_id, terms=own, chosen=terms.chosen, memo=event.memo)
        if newest is not None and newest.status < Status.COMPLETED and not waits:
            try:
                self._queued.end(draft, newest)
            except Foreign:
                waits = True
        if waits:
            start = msgspec.structs.replace(start, id_conflict=TERMINATE_EXISTING)
        child = self._holders.add(draft, event.child_id, start)
        if waits:  # for its place, until the owner of the run that has it has ended that
            del draft.begun[event.child_id]
            draft.followers[child.run.key] = unplaced(child.run.key)
        elif newest is not None:
            draft.followers[newest.key] = child.run.key
        if event.input.ref:
            child.put(b"", event.input.data, actor.blob(event.input.data))
        draft.born[child.run.key] = actor.run.key
        draft.queue(child, start, min(draft.now + terms.delay_ns, END_OF_TIME) if terms.delay_ns else None)
        if terms.awaits_start:
            draft.post(MailRow(0, actor.run.key, msg.ChildAnswered(event.id)))

    def _yields(self, draft: Draft, refused: str, newest: Holder) -> bool:
        """Whether the run that has the id is about to end, and does so now: a child of a run that this one continues, say."""
        return (
            refused == RunExists.code and newest.status < Status.COMPLETED and self._queued.end_if_told(draft, newest)
        )

    def _refusal(
        self, draft: Draft, actor: Actor, event: ev.ChildScheduled, parent: Parent, newest: Holder | None
    ) -> tuple[str, str] | None:
        """Why there is no such child: the code of an error, and what it says."""
        if parent.depth > CHILD_DEPTH:
            return (
                "children-too-deep",
                f"a child of {event.workflow} would have {parent.depth} ancestors, up to {parent.root_id!r}, and at most "
                f"{CHILD_DEPTH} are allowed; let a workflow that calls itself come to an end, or continue as new",
            )
        if newest is None:
            return None
        id, terms = event.child_id, event.terms or _USUAL
        if newest.status < Status.COMPLETED and newest.key in self._ancestors(actor):
            return (
                "circular-child",
                f"the id {id!r} belongs to the run that has started this one, by way of any others, and waits for it; "
                "choose another id for the child",
            )
        reuse = terms.id_reuse or ALLOW_DUPLICATE
        if claim(newest.status, terms.id_conflict or FAIL, reuse) in (Claim.FOLLOW, Claim.REPLACE):
            return None
        error = taken(id, newest.status, reuse, child=True)
        return (error.code, str(error))

    def _ancestors(self, actor: Actor) -> Iterator[int]:
        """The keys of a run and of those it descends from."""
        yield actor.run.key
        parent = parent_of(actor.run)
        key = 0 if parent is None else parent.key
        while key:
            yield key
            row = self._store.views.rows_by_key([key]).get(key)
            key = 0 if row is None else row.parent

    def _tell(self, draft: Draft, actor: Actor, event: _Asked) -> None:
        """Send something to another run. One that is blocked takes it when it is released: nobody waits for that."""
        key, status, code, why = self._other(draft, event.target, event.run_id)
        waits = status not in (Status.BLOCKED, Status.QUARANTINED)
        if key is not None:
            if isinstance(event, ev.ExternalSignalSent):
                message: msg.Mail = msg.Signal(event.name, _whole(actor, event.input))
            else:
                message = msg.Cancel(event.reason)
            draft.post(MailRow(0, key, message, draft.answer_to(actor.run.key, event.id) if waits else ""))
        if key is None or not waits:
            draft.post(MailRow(0, actor.run.key, msg.ExternalReplied(event.id, code, why)))

    def _other(self, draft: Draft, id: str, run_id: bytes) -> tuple[int | None, Status | None, str, str]:
        """The key of a run that can be told something, and its status; else the code of an error, and what it says."""
        if run_id:
            key, status = self._certain(draft, id, run_id)
        else:
            newest = self._holders.newest(draft, id)
            key, status = (None, None) if newest is None else (newest.key, Status(newest.status))
        if key is None or status is None:
            certain = f" with run_id {run_id.hex()}" if run_id else ""
            return None, None, "run-not-found", f"there is no run {id!r}{certain}"
        if status >= Status.COMPLETED:
            return None, None, "run-closed", f"run {id!r} is {status.word} already"
        return key, status, "", ""

    def _certain(self, draft: Draft, id: str, run_id: bytes) -> tuple[int | None, Status | None]:
        """The key and the status of the run that one with this number goes on as, or its own."""
        row = self._store.views.row_of(id, run_id)
        row = None if row is None else self._store.views.end_of_chain(row.key) or row
        begun = draft.begun.get(id)
        if row is not None:
            key, status = row.key, Status(row.status)
        elif begun is not None and begun[0].run.run_id == run_id:
            key, status = begun[0].run.key, begun[0].run.status
        else:
            return None, None
        while key in draft.continued:
            key = draft.continued[key]
        actor = draft.actors.get(key)
        return key, status if actor is None else actor.run.status

    # ends

    def part(self, draft: Draft) -> None:
        """Parents that have ended in this batch: what becomes of their children is what each was started with."""
        ended = [actor for actor in draft.actors.values() if actor.run.links and has_ended(actor)]
        if not ended:
            return
        left = [
            (actor, step, link)
            for actor in ended
            for step, link in (actor.run.links or {}).items()
            if link.workflow and link.parent_close != ABANDON
        ]
        self._holders.look_up({link.id for _, _, link in left})
        for actor, step, link in left:
            key = self._open_child(draft, actor, step, link.id)
            if key is not None:
                why = f"its parent {actor.run.id!r} has ended"
                end = msg.Terminate(why) if link.parent_close == TERMINATE else msg.Cancel(why)
                draft.post(MailRow(0, key, end))

    def _open_child(self, draft: Draft, actor: Actor, step: str, id: str) -> int | None:
        """The key of a child that has not ended, be it one that goes on as another run, or waits for its place."""
        newest = self._holders.newest(draft, id)
        if newest is not None and newest.status < Status.COMPLETED and newest.parent == actor.run.key:
            return newest.key
        if not self._roster.holdings.shared:
            return None
        run_id = child_run_id(actor.run.run_id, step)
        here = (key for key, each in draft.actors.items() if each.is_new and each.run.run_id == run_id)
        row = self._store.views.row_of(id, run_id)
        key = next(here, 0 if row is None or row.followed_by >= 0 or row.status >= Status.COMPLETED else row.key)
        return key or None

    def report(self, draft: Draft) -> None:
        """What is told to others in the words that are stored: to other runs, to the run that one goes on as, to parents."""
        actors = list(draft.actors.values())
        for actor in actors:
            end = actor.run.outcome
            if type(end) is ev.RunContinuedAsNew and end.left and actor.events:
                _hand_on(draft, actor, end)
        draft.kept += draft.late
        for actor in actors:
            if actor.run.links is not None:
                for event in actor.events:
                    if isinstance(event, _Asked):
                        self._tell(draft, actor, event)
        self._excuse(draft, actors)
        self._tell_parents(draft)

    def _excuse(self, draft: Draft, actors: Iterable[Actor]) -> None:
        """Runs that are blocked in this batch leave their mail where it is: runs that have sent it are told so much."""
        keys = [
            actor.run.key
            for actor in actors
            if actor.run.block is not None and any(type(event) is ev.RunBlocked for event in actor.events)
        ]
        keys += [row.key for row in draft.marked]
        if keys:
            self._excuse_mail(draft, keys)

    def _excuse_mail(self, draft: Draft, keys: list[int]) -> None:
        after = 0
        while True:
            found = self._store.work.unread(keys, weight.BATCH_LETTERS, weight.BATCH_BYTES, after)
            for mail in found.mail:
                if mail.reply_to.startswith(OF_A_RUN) and mail.id not in draft.read:
                    draft.excuse(Letter(mail.run, mail.message, mail.id, mail.reply_to))
            after = found.last
            if not after:
                return

    def _tell_parents(self, draft: Draft) -> None:
        """Children that have ended in this batch, and do not go on: their parents are told, unless they have ended too."""
        told = [
            (actor, parent)
            for actor in draft.actors.values()
            if actor.run.terms is not None
            and (parent := actor.run.terms.parent) is not None
            and has_ended(actor)
            and actor.run.key not in draft.continued
        ]
        if told:
            open_ones = self._open_of({parent.key for _, parent in told})
            for actor, parent in told:
                if parent.key in open_ones:
                    assert actor.run.outcome is not None
                    _tell_parent(draft, actor, parent, actor.run.outcome)

    def _open_of(self, keys: Iterable[int]) -> set[int]:
        """Those of the runs that have not ended."""
        here = {key: actor.run.is_open for key in keys if (actor := self._roster.get(key)) is not None}
        rows = self._store.views.rows_by_key([key for key in keys if key not in here])
        elsewhere = {key: row.status < Status.COMPLETED for key, row in rows.items()}
        return {key for key, is_open in (here | elsewhere).items() if is_open}

    # runs that go on as others: as new ones, or because they are tried again

    def redirect(self, letters: Iterable[Letter]) -> list[int]:
        """Letters for runs that go on as others, and have done so before, are for those; the keys of these."""
        moved: list[int] = []
        for letter in letters:
            actor = self._roster.get(letter.key) if type(letter.message) in FOLLOWING else None
            if actor is not None and goes_on(actor.run) and not actor.events:
                row = self._store.views.end_of_chain(letter.key)
                if row is not None and row.key != letter.key:
                    self._holders.follow(letter.message, letter.key, row.key)
                    letter.key, letter.moved = row.key, True
                    moved.append(row.key)
        return moved

    def follow(self, draft: Draft, letter: Letter) -> Letter | None:
        """A letter for a run that goes on as another one is for that one. None: which has not begun, so that what it is told comes
        behind what is handed on to it."""
        actor, key = self._roster.get(letter.key), letter.key
        while actor is not None and goes_on(actor.run):
            try:
                actor = self._follower(draft, actor)
            except Foreign as foreign:
                draft.pass_on(letter, foreign.key)
                return None
            if actor is not None:
                draft.actors[actor.run.key] = actor
                key = actor.run.key
        if actor is None or key == letter.key:
            return letter
        self._holders.follow(letter.message, letter.key, key)
        if not actor.run.seq:
            draft.pass_on(letter, key)
            return None
        moved = Letter(key, letter.message, letter.mail_id, letter.reply_to, letter.blobs, letter.receiver)
        moved.moved = True
        return moved

    def _follower(self, draft: Draft, actor: Actor) -> Actor | None:
        if self._holders.continued(draft, actor):
            return draft.actors[draft.continued[actor.run.key]]
        row = self._store.views.end_of_chain(actor.run.key)
        if row is None or row.key == actor.run.key:
            return None
        return self._roster.fetch_one(row.key)


FOLLOWING = frozenset({msg.Cancel, msg.Terminate, msg.Signal, msg.Update})
"""Messages that are for a run whichever of its chain it is by now."""

_ASKS = frozenset({ev.ChildScheduled, ev.ChildCancelRequested, ev.ExternalCancelRequested, ev.ExternalSignalSent})


def _ids_in(run: Run, event: ev.Event) -> Sequence[str]:
    if isinstance(event, ev.ChildScheduled):
        return (event.child_id,)
    if isinstance(event, _Asked):
        return (event.target,)
    link = (run.links or {}).get(event.id)  # type: ignore[union-attr]
    return () if link is None else (link.id,)


def _whole(actor: Actor, payload: Payload) -> Payload:
    """With its bytes: large ones travel in the message, and whoever takes it sets them apart."""
    return Payload(actor.blob(payload.data), payload.encoding) if payload.ref else payload


def _hand_on(draft: Draft, actor: Actor, end: ev.RunContinuedAsNew) -> None:
    """Signals that have come and were not received are sent to the run that this one goes on as, in their order."""
    key = draft.continued[actor.run.key]
    for event in left_of(end, actor.history()):
        draft.post(MailRow(0, key, msg.Signal(event.name, _whole(actor, event.input), event.request_id)))


def goes_on(run: Run) -> bool:
    """Whether the run has ended, and goes on as another one."""
    return getattr(run.outcome, "continued_as", None) is not None


def has_ended(actor: Actor) -> bool:
    """Whether the run has come to its end in this batch."""
    return bool(actor.events) and not actor.run.is_open


def parent_of(run: Run) -> Parent | None:
    return None if run.terms is None else run.terms.parent


def _parent_for(run: Run, step: str) -> Parent:
    """What a child of a run knows of it."""
    above = parent_of(run)
    if above is None:
        return Parent(run.key, run.id, run.run_id, step, run.key, run.id, run.run_id)
    return Parent(run.key, run.id, run.run_id, step, above.root, above.root_id, above.root_run_id, above.depth + 1)


def _tell_parent(draft: Draft, actor: Actor, parent: Parent, end: Outcome) -> None:
    step = parent.step
    if isinstance(end, ev.RunCompleted):
        if end.result.ref:
            draft.blobs.append(BlobRow(parent.key, end.result.data, actor.blob(end.result.data)))
        told = msg.ChildEnded(step, end.result)
    elif isinstance(end, ev.RunFailed):
        told = msg.ChildEnded(step, None, "failed", "", end.failure)
    elif isinstance(end, ev.RunTimedOut):
        told = msg.ChildEnded(step, None, "timed out", timeout_line(end))
    else:
        assert isinstance(end, ev.RunCancelled | ev.RunTerminated)
        told = msg.ChildEnded(step, None, actor.run.status.word, end.reason)
    draft.post(MailRow(0, parent.key, told))

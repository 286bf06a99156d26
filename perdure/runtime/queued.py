"""Runs that are queued: their Start lies in the mailbox, since a client has put it there, or since they begin later."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from perdure import errors
from perdure.failures import failure_of
from perdure.kernel import commands as cmd
from perdure.kernel import messages as msg
from perdure.kernel.decide import Refused, decide, decide_command
from perdure.kernel.ids import TERMINATE_EXISTING
from perdure.kernel.program import ProgramBlocked
from perdure.kernel.run import Status
from perdure.kernel.terms import digest_of, digests_in, with_own
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.attaching import unknown_workflow
from perdure.runtime.draft import Draft
from perdure.runtime.holders import Holder, Holders
from perdure.runtime.letters import Heard, Letter
from perdure.runtime.membership import Foreign
from perdure.runtime.refusals import heard_of
from perdure.runtime.turn import Turns
from perdure.stores.base import MailRow, Store

if TYPE_CHECKING:
    from perdure.workflows import WorkflowDefinition

REPLACED = "a new run of the same id was started in its stead"
"""The reason of a termination."""


class Queued:
    """Lets queued runs begin, or end before they have begun."""

    def __init__(
        self,
        store: Store,
        roster: Roster,
        turns: Turns,
        workflows: "Mapping[str, WorkflowDefinition[Any, Any]]",
        holders: Holders,
        build: str,
    ) -> None:
        self._store = store
        self._roster = roster
        self._turns = turns
        self._workflows = workflows
        self._holders = holders
        self._build = build

    def take(
        self, draft: Draft, actor: Actor, letter: Letter, at_once: bool = False, spoken: Sequence[Letter] = ()
    ) -> Sequence[Letter]:
        """A start that a client has queued: its arguments are checked here, since the client had no code. One that is to
        begin later goes back into the mailbox, unless it is to begin `at_once`.

        Returns: what it has heard with its beginning, of what was `spoken` to it before.
        """
        start = letter.message
        assert type(start) is msg.Start
        self._holders.saw(letter.key)
        if actor.run.seq:  # begun already; only its letter was left over
            draft.consume(letter)
            return ()
        error = self._fault(actor, start)
        if error is not None and start.refuse_by_reply and letter.reply_to:
            draft.withdraw(letter, error.code, str(error))
            return ()
        begun = self._sound(start, actor)
        heard = Heard()
        hears: Sequence[Letter] = ()
        if error is None or isinstance(error, errors.UnknownWorkflow):
            if start.id_conflict == TERMINATE_EXISTING and not self._take_place(draft, actor, begun):
                return ()
            if actor.run.begin_at is not None and not at_once:
                draft.kept.append(MailRow(0, letter.key, msgspec.structs.replace(begun, id_conflict="")))
            elif error is not None or _is_over(begun, draft.now):
                self._begin_deaf(draft, actor, begun)  # an unknown one waits, blocked, for code that knows it
                heard = self.say(draft, actor, start.first)
            else:
                hears = self._heard_with(actor, begun, spoken)
                heard = self.begin(draft, actor, _with(begun, [letter.message for letter in hears]))
        else:
            self._fold_start(draft, actor, begun)
            actor.fold(decide_command(actor.run, cmd.FailRun(failure_of(error)), draft.now))
        if start.first is None and heard.code:
            heard, hears = Heard(), ()  # it is told of that in its turn
        draft.consume(letter, heard.code, heard.error, heard.data)
        for each in hears:
            draft.consume(each)
        return hears

    def begin(self, draft: Draft, actor: Actor, start: msg.Start) -> Heard:
        """Have a run begin that hears at once what comes with its start. What speaks against an update, without which it begins
        then."""
        if isinstance(start.first, msg.Update):
            try:
                self._turns.rehearse(actor, start, draft.now)
            except ProgramBlocked:
                self._turns.take(actor, _alone(start), draft.now)
                return self.say(draft, actor, start.first)
            except Refused as refused:
                actor.let_go()
                self._turns.take(actor, _alone(start), draft.now)
                return heard_of(refused)
        self._turns.take(actor, _apart(start, actor), draft.now)
        return Heard()

    def _heard_with(self, actor: Actor, start: msg.Start, spoken: Sequence[Letter]) -> Sequence[Letter]:
        """Of what was spoken to a run before it begins, what it can hear with its beginning: as far as the first that has to be
        looked at when it has begun. An update is that, unless it is the first."""
        hears: list[Letter] = []
        for letter in () if isinstance(start.first, msg.Update) else spoken:
            message: Any = letter.message
            alone = isinstance(message, msg.Update)
            if alone and (hears or start.first is not None or actor.run.chain):
                break
            try:
                self._turns.programs.check_message(actor, message)
            except errors.PerdureError:
                break
            hears.append(letter)
            if alone:
                break
        return hears

    def say(self, draft: Draft, actor: Actor, first: msg.Signal | msg.Update | None) -> Heard:
        """Have a run hear what came with its start."""
        if first is None:
            return Heard()
        if not actor.run.seq:
            letter = Letter(actor.run.key, first)
            if letter in self.begin_now(draft, actor, [letter]):
                return Heard()
        try:
            if isinstance(first, msg.Update) and self._holders.heard_earlier(draft, actor.run, first):
                return Heard()
            if not self._turns.take(actor, first, draft.now):
                draft.keep(Letter(actor.run.key, first))
        except Refused as refused:
            return heard_of(refused)
        return Heard()

    def begin_now(self, draft: Draft, actor: Actor, spoken: Sequence[Letter] = ()) -> Sequence[Letter]:
        """A run whose time to begin has come, or that is not to wait for it. What was `spoken` to it, and what it gives, are as
        of `take`."""
        letter = self._letter(draft, actor)
        return () if letter is None else self.take(draft, actor, letter, at_once=True, spoken=spoken)

    def begin_silently(self, draft: Draft, actor: Actor) -> None:
        """A run that is ended before it has begun: its history says what it was to be, its code does not see it."""
        letter = None if actor.run.seq else self._letter(draft, actor)
        if letter is not None:
            assert type(letter.message) is msg.Start
            self._fold_start(draft, actor, self._sound(letter.message, actor))

    def end(self, draft: Draft, newest: Holder) -> None:
        """A new run of the id ends the one that is open.

        Raises:
            Foreign: another owner has that.
        """
        self._terminate(draft, newest, msg.Terminate(REPLACED))

    def end_if_told(self, draft: Draft, newest: Holder) -> bool:
        """End a run now whose termination lies in its mailbox already, so that another one may have its id."""
        stored = self._store.work.load([newest.key]).get(newest.key)
        for mail in () if stored is None else stored.mail:
            if isinstance(mail.message, msg.Terminate) and mail.id not in draft.read:
                self._terminate(draft, newest, mail.message)
                draft.consume(Letter(mail.run, mail.message, mail.id, mail.reply_to))
                return True
        return False

    def _terminate(self, draft: Draft, newest: Holder, message: msg.Terminate) -> None:
        actor = newest.actor or self._roster.fetch_one(newest.key)
        draft.actors[newest.key] = actor
        self.begin_silently(draft, actor)
        self._turns.take(actor, message, draft.now)

    def _letter(self, draft: Draft, actor: Actor) -> Letter | None:
        """The Start of a run that has not begun: in its mailbox, or about to be put there."""
        key = actor.run.key
        stored = self._store.work.load([key]).get(key)
        mail = draft.kept if stored is None else stored.mail
        starts = [each for each in mail if each.run == key and type(each.message) is msg.Start]
        return Letter(key, starts[0].message, starts[0].id, starts[0].reply_to) if starts else None

    def _take_place(self, draft: Draft, actor: Actor, start: msg.Start) -> bool:
        """A queued start takes the place of the newest run, which it ends, unless it got its place at once. False: another
        owner has that run and is asked to end it, so that the place is free when this is tried again."""
        id = actor.run.id
        self._holders.look_up([id])
        newest = self._holders.newest(draft, id)
        if newest is None or newest.key == actor.run.key:
            return True
        if newest.status < Status.COMPLETED:
            try:
                self.end(draft, newest)
            except Foreign:
                draft.kept.append(MailRow(0, newest.key, msg.Terminate(REPLACED)))
                return False
        draft.followers[newest.key] = actor.run.key
        draft.begun[id] = (actor, start)
        return True

    def _begin_deaf(self, draft: Draft, actor: Actor, start: msg.Start) -> None:
        """Nobody may have been there until the time of the whole chain was over: then its code does not see it, either."""
        if not _is_over(start, draft.now):
            self._turns.take(actor, _alone(start), draft.now)
        else:
            self._fold_start(draft, actor, start)
            self._turns.take(actor, msg.Wake(), draft.now)

    def _fold_start(self, draft: Draft, actor: Actor, start: msg.Start) -> None:
        for event in decide(actor.run, _alone(start), draft.now):
            actor.fold(event)

    def _sound(self, start: msg.Start, actor: Actor) -> msg.Start:
        """The start as it is recorded: large arguments apart, and with the terms that the workflow has of its own."""
        definition = self._workflows.get(start.workflow)
        terms = start.terms if definition is None else with_own(definition.terms, start.terms, start.chosen)
        input = actor.set_apart(start.input)
        workflow = start.workflow if definition is None else definition.name
        return msgspec.structs.replace(
            start, workflow=workflow, input=input, build=self._build, refuse_by_reply=False, terms=terms
        )

    def _fault(self, actor: Actor, start: msg.Start) -> errors.PerdureError | None:
        if start.workflow not in self._workflows:
            return unknown_workflow(start.workflow, self._workflows)
        try:
            self._turns.programs.check(actor, start.input)
            if start.first is not None:
                self._turns.programs.check_message(actor, start.first)
        except errors.PayloadNotDecodable as error:
            return errors.InvalidArguments(str(error))
        except errors.PerdureError as error:
            return error
        return None


def _is_over(start: msg.Start, now: int) -> bool:
    """Whether the run that would begin now has no time left."""
    ends_at = None if start.terms is None else start.terms.expires_at(now)
    return ends_at is not None and ends_at <= now


def _alone(start: msg.Start) -> msg.Start:
    return msgspec.structs.replace(start, first=None, further=())


def _with(start: msg.Start, messages: Sequence[Any]) -> msg.Start:
    """A start and what is heard with it, each request once. An update comes first, and alone."""
    if messages and isinstance(messages[0], msg.Update):
        return msgspec.structs.replace(start, first=messages[0])
    chain = None if start.terms is None else start.terms.chain
    known = set(() if chain is None else digests_in(chain.requests))
    if isinstance(start.first, msg.Signal):
        known.add(digest_of(start.first.request_id))
    further: list[msg.Signal] = []
    for signal in messages:
        request = digest_of(signal.request_id)
        if not signal.request_id or request not in known:
            further.append(signal)
            known.add(request)
    return msgspec.structs.replace(start, further=tuple(further))


def _apart(start: msg.Start, actor: Actor) -> msg.Start:
    """The same with large arguments of messages apart."""
    if not start.spoken:
        return start
    own = [msgspec.structs.replace(message, input=actor.set_apart(message.input)) for message in start.spoken]
    return msgspec.structs.replace(start, first=own[0], further=tuple(own[1:]))

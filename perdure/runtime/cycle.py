"""The cycle: letters -> turns -> one commit -> effects. Plain calls on one thread; a simulator makes them by hand.

A batch whose commit fails is void as a whole: its runs are evicted, its letters are delivered again. A batch the store
refuses is split until the culprit is alone; so is one that is too much for one commit, and one whose commit was lost on its way.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from perdure import errors
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel import overdue, wire
from perdure.kernel.decide import Refused, knows_update
from perdure.runtime import recoding, weight
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.coding import Coding
from perdure.runtime.courtesy import Courtesy
from perdure.runtime.culprits import REQUEST_TRIES, Culprits, Item, Refusal, TurnFailed, item_of
from perdure.runtime.draft import Draft, is_empty
from perdure.runtime.effects import Effects
from perdure.runtime.equipment import Definitions
from perdure.runtime.families import FOLLOWING
from perdure.runtime.letters import Letter, StartRequest
from perdure.runtime.outage import Outage
from perdure.runtime.people import People
from perdure.runtime.piles import Piled, PutOff, without_read
from perdure.runtime.slots import Slots
from perdure.runtime.starts import Starts, look_up_all
from perdure.runtime.taken import Taken
from perdure.runtime.talks import SPOKEN
from perdure.runtime.turn import Turns
from perdure.runtime.world import World
from perdure.stores import base

UNAVAILABLE_TRIES = 60
"""How often a commit that the store does not take now is tried before the engine stops, unless several share the store: then
it is tried for as long as it takes."""

_NOT_SHOWN = (msg.Heartbeat, msg.Takeover, msg.NewBuild, msg.TaskTaken, msg.Terminate, msg.BlockRun, msg.Strike)


class Cycle:
    """Everything one batch needs, put together once per owner."""

    def __init__(
        self,
        store: base.Store,
        world: World,
        definitions: Definitions,
        roster: Roster,
        slots: Slots,
        turns: Turns,
        starts: Starts,
        effects: Effects,
        log: logging.Logger,
        closing: Callable[[], bool] = lambda: False,
        coding: Coding | None = None,
    ) -> None:
        self._store = store
        self._world = world
        self._build = build = definitions.build
        self._activities = definitions.activities
        self._roster = roster
        self._slots = slots
        self._turns = turns
        self._starts = starts
        self._effects = effects
        self._log = log
        self._outage = Outage(world, log, roster.holdings.shared, closing)
        self._courtesy = Courtesy(world)
        self._coding = coding
        self._people = People(store, roster, turns.programs, starts.holders, log)
        self.culprits = Culprits(build, world, log)
        self.taken = Taken(world)
        """What waits for ids that others are about to take, and for runs whose rows they have locked."""
        self._put_off = PutOff()
        self._items: Sequence[Item] = ()
        self._later: Sequence[Sequence[Item]] = ()
        self._apart = False
        self._unsettled = False
        self._took_ids = False
        self._granted: list[int] = []
        self._evicted: dict[int, None] = {}
        self._read: set[int] = set()
        self._told: set[int] | None = None
        """Mail that was delivered since more of it was found than is written together."""
        self.careful: set[int] = set()
        """Runs that are not to be looked after when they are loaded: the process died in them."""
        self.posted = False
        """Whether there is mail from runs for runs, which this owner looks for at once."""
        self.onward: list[Item] = []
        """What comes first, next time: of which the store knows nothing, as it is for other runs than was thought, or was put off."""
        self.unanswered: list[Item] = []
        """Starts, and messages of callers who wait, that `process` did not come to, if it raised."""

    def process(self, items: Sequence[Item]) -> list[int]:
        """Deliver letters and make durable what they cause.

        Returns:
            Keys of runs to be looked after once their mail is read: they were released, or a commit that failed has
            thrown them out of memory.

        Raises:
            base.StoreFull, base.OwnershipLost, errors.StoreError: the owner has to stop; nothing was half done.
        """
        self._items = items
        self._apart = False
        self._evicted = {}
        self._read = set()
        self._told = None
        self._put_off.begin()
        parts: list[tuple[Sequence[Item], int]] = [
            (light, 0) for part in _apart(items, self._roster, self.taken) for light in reversed(weight.light(part))
        ]
        try:
            while parts:
                self._later = [part for part, _ in parts[:-1]]
                parts[-1:] = self._tried(*parts[-1])
                parts = without_read(self._read, parts) if parts else parts
        except BaseException:
            self.unanswered = [item for part, _ in parts for item in part if waits(item)]
            raise
        return [key for key in self._evicted if self._roster.get(key) is None]

    def _tried(self, part: Sequence[Item], tries: int) -> list[tuple[Sequence[Item], int]]:
        """Deliver a part; what is to be delivered in its stead, the first last."""
        left = self._put_off.without(self.taken.without(part), self.onward)
        if part and not left:
            return []
        part = left
        try:
            self._deliver_all(part)
        except base.CommitRefused as refusal:
            look_up_all(part)
            is_taken = isinstance(refusal, base.IdTaken)
            if isinstance(refusal, base.IdTaken) and refusal.runs:
                left = self.taken.without_runs(part, refusal.runs)
                if len(left) < len(part):
                    return [(left, 0)] if left else []
            if len(part) == 1 and self._took_ids and tries < REQUEST_TRIES and not is_taken:
                return [(part, tries + 1)]  # somebody else may have taken the id of a child meanwhile
            if self._granted and not self._apart:
                # A run that was only granted a slot may be the culprit as well: it gets a letter of its own.
                self._apart = True
                return [([*part, *(Letter(key, msg.NewBuild(self._build)) for key in self._granted)], 0)]
            if is_taken and self.taken.is_one(part):
                instead = self.taken.wait(part)
                return [(instead, tries)] if instead else []
            if len(part) > 1:
                return weight.halves(part)
            return [(_instead(self._effects, part, self.culprits.refused(part[0], refusal, tries)), tries + 1)]
        except TurnFailed as failed:
            return [(_instead(self._effects, part, self.culprits.failed(part, failed)), tries)]
        except (base.StoreUnavailable, base.CommitInDoubt) as error:  # in doubt: it was found not to be durable
            if not self._outage.failed(error, UNAVAILABLE_TRIES, "take a commit"):
                raise errors.StoreUnreachable(f"{error}; given up after {tries} tries") from error
            # It may be too much for what is on the way.
            is_lost = isinstance(error, base.CommitInDoubt) and len(part) > 1
            return weight.halves(part) if is_lost else [(part, tries + 1)]
        except Piled as piled:
            self._told = self._told or set()
            parts = self._put_off.parts(piled, part, self.onward)
            return [(each, 0 if each is piled.letters else tries) for each in parts]
        except weight.TooHeavy:
            return weight.halves(part)
        if self._told is not None:
            self._told.update(item.mail_id for item in part if isinstance(item, Letter) and item.mail_id)
            self.posted = self.posted or not self._told.isdisjoint(self._read)  # there may be more where it came from
        self.taken.over(part)
        self._outage.over()
        return []

    def _deliver_all(self, items: Sequence[Item]) -> None:
        draft = Draft(self._world.now())
        self._unsettled = False
        if self._coding is not None:
            self._coding.forget()
        try:
            can_split = len(items) > 1
            self._load_for(draft, items)
            items = self._people.first(items, self._told or ())
            if self._coding is not None:
                recoding.prepare(self._coding, items, self._roster)
            for item in items:
                self._deliver(draft, item, items)
            self._grant(draft, items)
            self._relate(draft, items)
            if self._coding is not None:
                recoding.encode(self._coding, draft, items)
                recoding.encode_answers(self._coding, draft)
            self._starts.families.report(draft)
            batch = _rows(draft)
            self._took_ids = bool(draft.born)
            if can_split:
                weight.demand_light(batch)
            if self._roster.holdings.shared and (not is_empty(batch) or draft.has_to_park()):
                batch.parks = draft.park(
                    lambda key: self._slots.at_work(key) or _is_told(key, *self._later, self.taken.all(), self.onward)
                )
            if not is_empty(batch):
                self._commit(batch)
        except BaseException as error:
            self._void(draft)
            if isinstance(error, errors.StoreUnreachable) and self._roster.holdings.shared and not self._unsettled:
                raise base.StoreUnavailable(str(error)) from error  # nothing was sent to be written yet
            raise
        self.culprits.blocks.clear()
        suspects = self._roster.holdings.suspects
        for key in [part.run for part in batch.history if part.run in suspects] if suspects else ():
            del suspects[key]  # it has gone on
        self._read.update(draft.read)
        self.culprits.read(draft.read)
        self._world.crash_point("before-effects")
        self._evicted |= dict.fromkeys(self._effects.perform(draft))
        if draft.posted:
            self.posted = True
            _tell_others(self._store, self._roster, batch)
        self.onward += draft.onward

    def _relate(self, draft: Draft, items: Sequence[Item]) -> None:
        """What the runs of the batch want of others, and what those go on as that have ended."""
        families, holders = self._starts.families, self._starts.holders
        for actor, event in families.asked(draft):
            self._guarded((actor, items), families.grant, draft, actor, event)
        for actor in holders.continuing(draft):
            self._guarded((actor, items), holders.continued, draft, actor)
        families.part(draft)

    def _commit(self, batch: base.Batch) -> None:
        began = self._courtesy.begin()
        self._world.crash_point("before-commit")
        try:
            self._store.journal.commit(batch)
        except base.CommitInDoubt:
            if not self._is_durable(batch):
                raise
        finally:
            self._courtesy.end(began)
        self._world.crash_point("after-commit")

    def _is_durable(self, batch: base.Batch) -> bool:
        """Of a batch whose fate is unknown. Nothing else is written before that is known, however long it takes."""
        self._unsettled = True
        while True:
            try:
                durable = self._store.journal.settle(batch)
            except errors.StoreUnreachable as error:
                if not self._roster.holdings.shared or not self._outage.failed(error, 0, "tell what it has written"):
                    raise
            else:
                self._unsettled = False
                return durable

    # delivering

    def _load_for(self, draft: Draft, items: Sequence[Item]) -> None:
        """Bring into memory what the letters are about. A store that does not answer now is asked again, as at commits."""
        self._roster.begin_batch()
        requests = [item for item in items if type(item) is StartRequest]
        letters = [item for item in items if isinstance(item, Letter)]
        try:
            spoken_to = self._starts.look_up(requests) if requests else []
            self._load(draft, [*(letter.key for letter in letters), *spoken_to])
            moved = self._starts.families.redirect(letters)
            if moved:
                self._load(draft, moved)
            self._roster.bring_histories(letter.key for letter in letters if _is_shown(letter.message))
        except errors.StoreUnreachable as error:
            raise base.StoreUnavailable(str(error)) from error

    def _load(self, draft: Draft, keys: Sequence[int]) -> None:
        keys = self._roster.missing(keys)
        if keys:
            ended = _ended(self._items) | _ended(self.taken.all())
            for stored in self._roster.fetch(keys):
                try:
                    actor = self._roster.take_in(stored)
                except Exception as error:  # noqa: BLE001  a row may have been damaged in any way, and no other run can help it
                    draft.damage(stored.run, self._build, f"{type(error).__name__}: {error}")
                else:
                    draft.actors[actor.run.key] = actor  # so that it leaves again, be there nothing for it to do
                    self._loaded(draft, actor, ended | _ended(Letter(mail.run, mail.message) for mail in stored.mail))

    def _loaded(self, draft: Draft, actor: Actor, ended: set[tuple[int, str, int]]) -> None:
        """A run that comes into memory: what it owes is answered, what it waits for is asked for, what is lost is told.

        `ended` are attempts that are not lost: a letter that is here, or in the mailbox, tells their end.
        """
        run = actor.run
        self._roster.holdings.moves += 1
        if not run.is_open or run.block is not None or run.key in self.culprits.blocks or run.key in self.careful:
            return
        draft.actors[run.key] = actor
        if not actor.is_parked and not self._turns.fits(actor, draft.now):
            return
        if run.open_tail:
            self._turn(draft, actor, None)
        flies = self._slots.flies
        spared = {
            step.id
            for step in run.pending.values()
            if (run.key, step.id, step.attempt) in ended or flies(run.key, step.id, step.attempt)
        }
        if any(step.member and step.id not in spared for step in run.pending.values()):
            self._turn(draft, actor, Letter(run.key, msg.Takeover(frozenset(spared))))
        if run.block is None:
            for step in run.slot_wanted():
                self._slots.want(actor, step.name, step.id)

    def _deliver(self, draft: Draft, item: Item, items: Sequence[Item]) -> None:
        self._roster.holdings.moves += 1
        if isinstance(item, Refusal):
            draft.answers.append((item, None, item.error))
            return
        if isinstance(item, StartRequest):
            self._guarded(item, self._starts.deliver, draft, item)
        elif not (item.mail_id and item.mail_id in draft.read):
            follow = self._starts.families.follow
            letter = self._guarded(item, follow, draft, item) if type(item.message) in FOLLOWING else item
            if letter is not None:
                self._deliver_letter(draft, letter, items)

    def _deliver_letter(self, draft: Draft, item: Letter, items: Sequence[Item]) -> None:
        actor = self._roster.get(item.key)
        if draft.damaged and item.key in draft.damaged:
            if item.reply_to or item.receiver is not None or type(item.message) in _PASS_BLOCKS:
                draft.consume(item, errors.StoreCorrupt.code, draft.damaged[item.key])
            return
        if actor is None and self._roster.is_foreign(item.key):
            if item.mail_id and item.moved:  # it was for one of ours, which goes on as one of theirs
                draft.pass_on(item, item.key)
            elif not item.mail_id:
                draft.send_elsewhere(item)
                self._effects.forsake(item)
            return
        if actor is None:
            draft.consume(item, errors.RunNotFound.code, "there is no such run (any more)")
            return
        draft.actors[item.key] = actor
        if type(item.message) is msg.Query:
            self._answer(draft, actor, item)
            return
        if self.culprits.blocks and actor.run.block is None:
            block = self.culprits.blocks.get(item.key)
            if block is not None and block is not item.message:
                self._turns.take(actor, block, draft.now)
        if type(item.message) is msg.Start and actor.run.block is None:
            self._guarded(item, self._starts.queued.take, draft, actor, item)
        elif actor.run.seq or self._begins(draft, actor, item, items):
            self._turn(draft, actor, item)
        elif not actor.run.seq and type(item.message) in _KEPT_UNTIL_BEGUN:
            draft.keep(item)

    def _begins(self, draft: Draft, actor: Actor, item: Letter, items: Sequence[Item]) -> bool:
        """A run that was not begun yet begins when its time has come, or when somebody cannot wait for that. Whether it
        can take the letter then: it has to begin first, so that its code can see a cancellation."""
        kind, begin_at = type(item.message), actor.run.begin_at
        if kind is msg.Terminate:
            self._guarded(item, self._starts.queued.begin_silently, draft, actor)
        elif actor.run.block is not None:
            return True  # it takes the letter, or keeps it, as one does that has begun
        elif kind in SPOKEN:
            heard = self._guarded(item, self._starts.queued.begin_now, draft, actor, _spoken_from(item, items))
            if item in heard:
                return False
        elif begin_at is not None and (kind in _BEGIN or (kind is msg.Wake and begin_at <= draft.now)):
            self._guarded(item, self._starts.queued.begin_now, draft, actor)
            if kind is msg.Retry:  # it has had its way, even if the run has come to its end by that
                draft.consume(item)
                return False
        return kind not in _KEPT_UNTIL_BEGUN or bool(actor.run.seq)

    def _turn(self, draft: Draft, actor: Actor, letter: Letter | None) -> None:
        """One turn; without a letter the answer that a run owes."""
        if letter is None:
            self._guarded(Letter(actor.run.key, msg.Wake()), self._turns.resume, actor, draft.now)
            return
        if letter.blobs:
            actor.blobs = {**(actor.blobs or {}), **letter.blobs}
        message: msg.Message | None = letter.message
        blobs: frozenset[bytes] = frozenset()
        if type(message) is msg.Complete:
            message = self._readable(draft, actor, letter, message)
            if message is None:
                return
        elif type(message) is msg.CompleteTask:
            blobs = frozenset(actor.blobs or ())
            message = msgspec.structs.replace(message, result=actor.set_apart(message.result))
        known = type(message) is msg.Update and knows_update(actor.run, message.id)
        try:
            if type(message) is msg.Update and not known and self._people.heard_earlier(draft, actor, message):
                draft.consume(letter, known=True)
                return
            taken = self._guarded(letter, self._turns.take, actor, message, draft.now)
        except Refused as refused:
            if type(message) is msg.CompleteTask and message.result.data not in blobs:
                actor.drop(message.result)
            self._guarded(letter, self._people.refuse, draft, actor, letter, refused)
            return
        if taken:
            draft.consume(letter, errors.StoreError.code if letter.fault else "", letter.fault, known=known)
        else:
            if letter.moved and letter.mail_id:  # of a run that has ended, whose mailbox everybody looks into
                draft.pass_on(letter, letter.key, answered=True)
            else:
                draft.keep(letter)
            self._effects.forsake(letter)
            draft.excuse(letter)  # a blocked run may take it much later; whoever sent it need not wait for that

    def _answer(self, draft: Draft, actor: Actor, letter: Letter) -> None:
        """A question is no turn: whatever goes wrong is told to whoever asks, and is not the run's fault."""
        try:
            answer = self._guarded(letter, self._turns.answer, actor, letter.message)
        except Refused as refused:
            self._people.refuse(draft, actor, letter, refused)
        except TurnFailed as failed:
            self._log.error("a question could not be asked: %s", failed.error, exc_info=failed.error)
            text = f"run {actor.run.id!r} could not be asked: {type(failed.error).__name__}: {failed.error}"
            draft.consume(letter, errors.QueryFailed.code, text)
        else:
            if letter.reply_to:
                draft.told.append((len(draft.replies), answer))
            draft.consume(letter, data=wire.encode(answer))

    def _readable(self, draft: Draft, actor: Actor, letter: Letter, message: msg.Complete) -> msg.Complete | None:
        """Whoever brings a result from outside may have no code: it is checked here, before the run has taken it. The letter
        stays as it came, since it may have to be delivered again."""
        actor.told_outside = True
        if message.result is None or not self._turns.fits(actor, draft.now):
            return message
        try:
            self._guarded(letter, self._turns.programs.check_result, actor, message.id, message.result)
        except TurnFailed as failed:
            if not isinstance(failed.error, errors.PerdureError):
                raise
            draft.consume(letter, errors.InvalidArguments.code, str(failed.error))
            self._lose(draft, actor, message.id)
            return None
        return msgspec.structs.replace(message, result=actor.set_apart(message.result))

    def _lose(self, draft: Draft, actor: Actor, id: str) -> None:
        """An attempt was not told to be lost, as its result was in the mailbox; but that could not be taken."""
        step = actor.run.pending.get(id)
        if step is None or step.member <= 0 or step.deferred or self._slots.flies(actor.run.key, id, step.attempt):
            return
        lost = msg.AttemptEnded(id, step.attempt, step.member, step.started_at, failure=overdue.LOST_FAILURE)
        self._turn(draft, actor, Letter(actor.run.key, lost))

    def _guarded(self, item: Item | tuple[Actor, Sequence[Item]], act: Any, *args: Any) -> Any:
        """Whatever goes wrong in one run's turn is that run's: the others of the batch are delivered again without it. The
        item is what is delivered; or it is looked for then, among those of the batch."""
        try:
            return act(*args)
        except (
            Refused,
            base.OwnershipLost,
            base.StoreUnavailable,
            errors.StoreUnreachable,
            errors.StoreFull,
            errors.StoreReadOnly,
        ):
            raise
        except Exception as error:
            raise TurnFailed(item_of(*item) if isinstance(item, tuple) else item, error) from error

    def _grant(self, draft: Draft, items: Sequence[Item]) -> None:
        """Give free slots to the steps that have waited longest; while a culprit is sought, only to runs with letters."""
        only = {item.key for item in items if isinstance(item, Letter)} if self._apart else None
        self._granted = []
        for key, step, kind in self._slots.grants(only):
            actor = self._roster.get(key)
            pending = None if actor is None else actor.run.pending.get(step)
            if actor is None or pending is None or not pending.wants_slot or actor.run.block is not None:
                self._slots.give_back(kind)
                continue
            draft.actors[key] = actor
            self._granted.append(key)
            if pending.name not in self._activities:
                self._slots.give_back(kind)
                self._turns.take(actor, _unknown_activity(pending.name, self._build, draft.now), draft.now)
                continue
            self._turns.take(actor, msg.GrantSlot(step, self._slots.member), draft.now)
            self._slots.take(key, step, pending.attempt, kind)

    # after the commit

    def _void(self, draft: Draft) -> None:
        """Nothing of the batch happened: programs that are ahead of the store leave memory."""
        self._slots.void()
        for key, actor in draft.actors.items():
            self._roster.evict(key)
            if not actor.is_new:
                self._evicted[key] = None


_KEPT_UNTIL_BEGUN = frozenset({msg.Cancel}) | SPOKEN
_PASS_BLOCKS = frozenset({msg.Terminate, msg.Retry, msg.Move, msg.Update, msg.Query})
"""What a poll tells of the mail of blocked runs: left there, it would be told again and again."""
_BEGIN = frozenset({msg.Cancel, msg.Retry})
"""Messages for which a run that waits for its time begins at once."""


def _spoken_from(first: Letter, items: Sequence[Item]) -> Sequence[Letter]:
    """What the mailbox of a run has of messages, and the first of them that is at hand."""
    further = [
        item
        for item in items
        if isinstance(item, Letter) and item.mail_id and item.key == first.key and type(item.message) in SPOKEN
    ]
    return further if first in further else [first, *further]


def waits(item: Item) -> bool:
    """Whether somebody in this process waits for what becomes of it."""
    return isinstance(item, StartRequest) or item.receiver is not None


def _apart(items: Sequence[Item], roster: Roster, taken: Taken) -> list[Sequence[Item]]:
    """All at once; but what is for runs that may kill this process is delivered last, each run's alone: nobody dies with it.
    Alone is also what waits for an id that is taken, so that nobody else is refused with it. The first part comes last."""
    suspects = roster.holdings.suspects
    if not suspects and not taken:
        return [items]
    parts: dict[int | str, list[Item]] = {}
    for item in items:
        is_suspect = isinstance(item, Letter) and item.key in suspects
        parts.setdefault(item.key if is_suspect else taken.apart(item), []).append(item)
    others = parts.pop(0, [])
    struck = [key for key, strikes in suspects.items() if key in parts and (strikes or _has_strikes(roster, key))]
    return [*(parts.pop(key) for key in struck), *parts.values(), others]


def _has_strikes(roster: Roster, key: int) -> bool:
    actor = roster.get(key)
    return actor is not None and bool(actor.run.strikes)


def _instead(effects: Effects, part: Sequence[Item], others: list[Item]) -> list[Item]:
    """The others, and nothing comes of letters that are not among them."""
    for item in part:
        if isinstance(item, Letter) and not any(item is other for other in others):
            effects.forsake(item)
    return others


def _rows(draft: Draft) -> base.Batch:
    try:
        return draft.batch()
    except Exception as error:
        raise base.CommitRefused(f"it cannot be written: {error}") from error


def _is_shown(message: msg.Message) -> bool:
    """Whether it probably is to be shown to a program."""
    if type(message) is msg.AttemptEnded:
        return message.failure is None
    return type(message) not in _NOT_SHOWN


def _tell_others(store: base.Store, roster: Roster, batch: base.Batch) -> None:
    """There is mail for runs that are not here: their owners need not find it by chance."""
    if roster.holdings.shared:
        elsewhere = {mail.run for mail in batch.mail_kept if roster.get(mail.run) is None}
        if elsewhere:
            store.post.nudge(elsewhere)


def _ended(items: Iterable[Item]) -> set[tuple[int, str, int]]:
    """Attempts (run, step, attempt) whose end is told by one of these letters."""
    return {
        (item.key, item.message.id, item.message.attempt)
        for item in items
        if isinstance(item, Letter) and isinstance(item.message, msg.AttemptEnded | msg.Complete)
    }


def _is_told(key: int, *parts: Sequence[Item]) -> bool:
    """Whether the end of an attempt of the run is still to be delivered: it has no flight any more, and is not lost."""
    return any(run == key for part in parts for run, _, _ in _ended(part))


def _unknown_activity(name: str, build: str, now: int) -> msg.BlockRun:
    return msg.BlockRun(
        ev.Block(
            kind="unknown-activity",
            build=build,
            message=f"activity {name!r} is not among those the engine was given",
            hint=f'add it: Engine(..., [..., {name}]); if it has another name now: @activity(aliases=["{name}"])',
            at=now,
        )
    )

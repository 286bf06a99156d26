"""What people say to runs, in a batch: heard before runs end, answered, or passed on to the run that goes on."""

import logging
from collections.abc import Collection, Sequence

from perdure import errors
from perdure.kernel import messages as msg
from perdure.kernel.decide import Refused
from perdure.runtime import weight
from perdure.runtime.actors import Actor, Roster
from perdure.runtime.culprits import Item
from perdure.runtime.draft import Draft
from perdure.runtime.holders import Holders
from perdure.runtime.letters import Heard, Letter
from perdure.runtime.piles import BLOCKING, Piled, is_spoken_mail
from perdure.runtime.programs import Programs
from perdure.runtime.refusals import heard_of
from perdure.runtime.talks import SPOKEN
from perdure.stores import base

_MOVING = frozenset({msg.AttemptEnded, msg.Complete, msg.CompleteTask, msg.Wake})
"""What a run waits for, and may end by."""


_DONE = frozenset({msg.ClaimTask, msg.ReleaseTask, msg.CompleteTask})
"""What people do with human tasks."""
_RELEASING = frozenset({msg.Retry, msg.Move, msg.NewBuild})
"""What lets a blocked run go on: before that it takes nothing of what lies in its mailbox."""


class People:
    """Looks into the mailboxes of runs that listen."""

    def __init__(
        self, store: base.Store, roster: Roster, programs: Programs, holders: Holders, log: logging.Logger
    ) -> None:
        self._log = log
        self._store = store
        self._roster = roster
        self._programs = programs
        self._holders = holders

    def first(self, items: Sequence[Item], told: Collection[int] = ()) -> Sequence[Item]:
        """The letters of a batch, with those before them that were in the mailboxes of their runs, the oldest first; what
        runs may end by comes last: a run ends when it has heard all that was said to it by then. `told`: mail that was delivered
        already, and may have been left there.

        Raises:
            base.StoreUnavailable: the store does not answer now.
            Piled: too much was said to them.
        """
        releasing = [item for item in items if type(item) is Letter and type(item.message) in _RELEASING]
        released = {letter.key for letter in releasing}
        blocked = {item.key for item in items if type(item) is Letter and type(item.message) in BLOCKING}
        keys = [
            item.key
            for item in items
            if isinstance(item, Letter) and item.key not in blocked and self._listens(item.key, released)
        ]
        if not keys:
            return items
        unread, last = self._unread(list(dict.fromkeys(keys)), told)
        here = {item.mail_id for item in items if isinstance(item, Letter)}
        letters = [letter for letter in unread if letter.mail_id not in here]
        mine = [item for item in items if is_spoken_mail(item) and item.mail_id not in told]
        spoken = sorted([*letters, *mine], key=_turn_of)
        if last:  # what is behind that, of mail that was said to others too, comes after what there is in between
            spoken = [letter for letter in spoken if letter.mail_id <= last and not letter.moved]
        weights = [weight.of_letter(letter) for letter in spoken]
        if not last and sum(weights) <= weight.BATCH_BYTES:
            return sorted([*letters, *items], key=_turn_of)
        if releasing:
            if len(releasing) < len(items):
                raise Piled(releasing, {})
            return items  # the run hears the others when it is released
        oldest = spoken[: weight.first_of(weights)]
        ids = {letter.mail_id for letter in oldest}
        if len(mine) < len(items) or any(letter.mail_id not in ids for letter in mine):
            raise Piled(oldest, self._ids({letter.key for letter in oldest}))
        return oldest

    def _ids(self, keys: Collection[int]) -> dict[int, str]:
        return {key: actor.run.id for key in keys if (actor := self._roster.get(key)) is not None}

    def _unread(self, keys: Sequence[int], told: Collection[int]) -> tuple[list[Letter], int]:
        """The oldest that was said to these runs, and was not `told` before; and the letter behind which there may be more."""
        after = 0
        while True:
            try:
                found = self._store.work.unread(keys, weight.BATCH_LETTERS, weight.BATCH_BYTES, after)
            except errors.StoreUnreachable as error:
                raise base.StoreUnavailable(str(error)) from error
            letters = [
                Letter(mail.run, mail.message, mail.id, mail.reply_to)
                for mail in found.mail
                if mail.id not in told and type(mail.message) in SPOKEN
            ]
            after = found.last
            if letters or not after:
                return letters, after

    def _listens(self, key: int, released: Collection[int]) -> bool:
        """Whether what lies in the mailbox of a run is to be looked at: one that is blocked, or has ended, takes nothing of it."""
        actor = self._roster.get(key)
        if actor is None or not actor.run.is_open or (actor.run.block is not None and key not in released):
            return False
        return self._programs.listens(actor.run.workflow)

    def heard_earlier(self, draft: Draft, actor: Actor, update: msg.Update) -> bool:
        """Whether a run has accepted the update that this one continues: its answer stands.

        Raises:
            Refused: it was another one.
        """
        return self._holders.heard_earlier(draft, actor.run, update)

    def refuse(self, draft: Draft, actor: Actor, letter: Letter, refused: Refused) -> None:
        """Tell the sender; but a signal that comes too late for a run that goes on as another one is for that one."""
        further = self._further(draft, actor) if _is_late_signal(letter, refused) else None
        if further is not None:
            draft.pass_on(letter, further)
            return
        heard = heard_of(refused)
        if not letter.reply_to and letter.receiver is None:
            self._log_of_nobody(actor, letter, heard)
        draft.consume(letter, heard.code, heard.error, heard.data)

    def _log_of_nobody(self, actor: Actor, letter: Letter, heard: Heard) -> None:
        """Nobody waits to hear that what was left in the mailbox is refused."""
        said = letter.message
        if type(said) in _DONE:
            what = f"what {said.by} has done with a task while no engine ran"  # type: ignore[union-attr]
        elif isinstance(said, msg.Signal):
            what = f"the signal {said.name!r}, which was sent while nobody could hear it,"
        else:
            return
        self._log.warning("run %r: %s is refused: %s", actor.run.id, what, heard.error)

    def _further(self, draft: Draft, actor: Actor) -> int | None:
        """The key of the run that this one goes on as; None if it does not."""
        key = actor.run.key
        if self._holders.continued(draft, actor):  # in this batch, perhaps just now
            return draft.continued[key]
        if not getattr(actor.run.outcome, "continued_as", None):
            return None
        row = self._store.views.end_of_chain(key)
        return None if row is None or row.key == key else row.key


def _is_late_signal(letter: Letter, refused: Refused) -> bool:
    return refused.code == errors.RunClosed.code and type(letter.message) is msg.Signal


def _turn_of(item: Item) -> tuple[int, int]:
    """What lay in a mailbox was said before what has come straight, and what was said to this run, or handed on to it, before
    what was said to the one that it continues."""
    if not isinstance(item, Letter):
        return (2, 0)
    if type(item.message) in _MOVING:
        return (3, 0)
    if type(item.message) in _RELEASING:
        return (-1, 0)
    if not item.mail_id or type(item.message) not in SPOKEN:
        return (2, 0)
    return (1 if item.moved else 0, item.mail_id)

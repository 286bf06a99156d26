"""Which letter, and whose run, spoils a batch: the run is blocked, everything else in the batch goes on."""

import logging
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from perdure import errors
from perdure.failures import failure_of
from perdure.kernel import events as ev
from perdure.kernel import messages as msg
from perdure.kernel.decide import FOR_THE_PROGRAM
from perdure.runtime.actors import Actor
from perdure.runtime.letters import Letter, StartRequest
from perdure.runtime.world import World
from perdure.stores.refusing import CommitRefused

Item: TypeAlias = Letter | StartRequest

AGAIN_SECONDS = (1.0, 60.0)
"""How long a termination that nobody waits to hear of is left alone, when the store has refused it: at first, and after a while."""

REQUEST_TRIES = 3
"""How often a start is decided anew when the store refuses it: the id may have got another newest run each time."""


def item_of(actor: Actor, items: Sequence[Item]) -> Item:
    """The letter, or the request, by which a run came into a batch."""
    for item in items:
        if isinstance(item, StartRequest):
            if actor.is_new and item.id == actor.run.id:
                return item
        elif item.key == actor.run.key:
            return item
    return Letter(actor.run.key, msg.NewBuild(""))


class TurnFailed(Exception):
    """The turn of one item raised what no turn may raise."""

    def __init__(self, item: Item, error: Exception) -> None:
        super().__init__(str(error))
        self.item = item
        self.error = error


class Refusal(StartRequest):
    """A start request that is only to be told its error."""

    __slots__ = ("error",)

    def __init__(self, request: StartRequest, error: BaseException) -> None:
        super().__init__(request.id, request.workflow, request.input, None, request.receiver)
        self.error = error


class Culprits:
    """`blocks` are to be delivered, by run, before anything else is; they hold until a batch is durable."""

    def __init__(self, build: str, world: World, log: logging.Logger) -> None:
        self._build = build
        self._world = world
        self._log = log
        self.blocks: dict[int, msg.BlockRun] = {}
        self._again: dict[int, tuple[int, float]] = {}

    def failed(self, items: Sequence[Item], failed: TurnFailed) -> list[Item]:
        """The same letters again; the run whose turn failed is blocked first. If that was of no use, as the letter
        releases it, only the block is left of it."""
        self._log.error("a turn failed: %s", failed.error, exc_info=failed.error)
        culprit = failed.item
        if isinstance(culprit, StartRequest):
            instead: Item = Refusal(culprit, failed.error)
        elif culprit.key in self.blocks:
            block = self.blocks[culprit.key]
            instead = Letter(culprit.key, block) if self._comes_again(culprit) else _only_block(culprit, block)
        else:
            text = f"{type(failed.error).__name__}: {failed.error}"
            self.blocks[culprit.key] = self._block("bug", text, "report this; then: perdure retry", failed.error)
            instead = culprit
        if instead is not culprit and not any(item is culprit for item in items):
            return [instead, *items]  # it came from the mailbox
        return [instead if item is culprit else item for item in items]

    def refused(self, item: Item, refusal: CommitRefused, tries: int) -> list[Item]:
        """What becomes of the one letter whose batch the store refuses: first it waits, its run blocked. If the store refuses
        that too, only the block is written: what lies in the mailbox of a blocked run stays there, and so does a termination
        that nobody waits to hear of; anything else goes, and its attempt counts as lost."""
        why = str(refusal)
        if isinstance(item, StartRequest):
            if tries < REQUEST_TRIES:  # somebody else may have taken the id meanwhile
                return [item]
            text = f"the database refuses run {item.id!r}: {why}\n  hint: {refusal.hint}"
            return [Refusal(item, errors.StoreError(text))]
        block = self.blocks.get(item.key)
        if block is None:
            text = f"the database refuses what the run does: {why}"
            self.blocks[item.key] = self._block("refused", text, refusal.hint)
            return [item]
        if item.message is block:
            raise errors.StoreUnreachable(f"the database refuses even to block a run: {why}")
        if item.mail_id and (type(item.message) in FOR_THE_PROGRAM or self._comes_again(item)):
            return [Letter(item.key, block)]
        return [_only_block(item, block)]

    def _comes_again(self, letter: Letter) -> bool:
        """Whether a letter is to be delivered later: the one by which a child ends with its parent. If nothing came of that the child
        would go on for ever, and nobody would know."""
        if type(letter.message) is not msg.Terminate or not letter.mail_id or letter.reply_to:
            return False
        now, (first, longest) = self._world.monotonic(), AGAIN_SECONDS
        tries, _ = self._again.get(letter.mail_id, (0, 0.0))
        self._again = {
            id: each for id, each in self._again.items() if now < each[1] + 10 * longest
        }  # others may have had it
        self._again[letter.mail_id] = (tries + 1, now + min(first * 2 ** min(tries, 10), longest))
        return True

    def waits(self, mail_id: int) -> bool:
        """Whether the letter was delivered in vain, and it is too early for another try."""
        return mail_id in self._again and self._world.monotonic() < self._again[mail_id][1]

    def read(self, mail_ids: Iterable[int]) -> None:
        """These have been taken."""
        if self._again:
            for id in mail_ids:
                self._again.pop(id, None)

    def _block(self, kind: str, text: str, hint: str, error: BaseException | None = None) -> msg.BlockRun:
        failure = None if error is None else failure_of(error)
        return msg.BlockRun(ev.Block(kind, self._build, text, hint, failure, at=self._world.now()))


def _only_block(letter: Letter, block: msg.BlockRun) -> Letter:
    """Whoever sent the letter is told that nothing comes of it."""
    left = Letter(letter.key, block, letter.mail_id, letter.reply_to, receiver=letter.receiver)
    left.fault = f"nothing came of it, and the run is blocked: {block.block.message}\n  hint: {block.block.hint}"
    return left

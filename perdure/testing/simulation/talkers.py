"""Who talks to a run in a simulation: one word after the other, each again and again until somebody says that it was heard."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from perdure import errors
from perdure.kernel import messages as msg
from perdure.kernel import wire
from perdure.kernel.events import Payload
from perdure.kernel.project import UpdateState
from perdure.kernel.run import Status
from perdure.runtime.letters import Heard, Letter
from perdure.stores.base import MailRow, ReplyRow, Store
from perdure.testing.simulation.families import numbers
from perdure.testing.simulation.graves import Graves
from perdure.testing.simulation.plan import Wish, Word
from perdure.testing.simulation.world import Scene

LOOK_SECONDS = 1.0
"""How soon a talker looks whether it has an answer; later it looks less often."""

PATIENCE_SECONDS = 10.0
"""How long it waits for one before it says the same again: the second time twice as long, and so on."""

MOST_PATIENCE_SECONDS = 86_400.0
MOST_TRIES = 400


class Talker:
    """The client that talks to the run of a wish. What it says has an id, so that it counts once, however often it is said."""

    def __init__(
        self,
        wish: Wish,
        world: Scene,
        store: Store,
        ask: Callable[[Letter], None],
        fail: Callable[[str], None],
        graves: Graves,
    ) -> None:
        self._graves = graves
        self._wish = wish
        self._world = world
        self._store = store
        self._ask = ask
        self._fail = fail
        self._next = 0
        self._tries = self._looks = 0

    def speak(self, waited: float = LOOK_SECONDS) -> None:
        """Say the next word, as soon as there is somebody to hear it."""
        if self._next == len(self._wish.words):
            return
        row = self._store.views.row(self._wish.id)
        if row is None and self._graves.has(self._wish.id):  # it has heard enough
            self._next = len(self._wish.words)
            return
        if row is None:
            self._world.at(waited, lambda: self.speak(min(2 * waited, MOST_PATIENCE_SECONDS)))
            return
        self._tries += 1
        if self._tries > MOST_TRIES:
            self._fail(f"{self._wish.id} does not hear word {self._next}")
            return
        number, tries = self._next, self._tries
        word = self._wish.words[number]
        message = self._message(word)
        if word.posted:
            self._world.say("post", f"{self._wish.id} {number}: {word.n}")
            self._store.post.send(MailRow(0, row.key, message))
            self._done()
            return
        self._world.say("tell", f"{self._wish.id} {number}: {word.n}{'' if self._tries == 1 else ' again'}")
        if word.by_mail:
            token = f"{self._wish.id}-{number}-{self._tries}"
            self._store.post.send(MailRow(0, row.key, message, token))
            self._world.at(LOOK_SECONDS, lambda: self._look_for(token, number, LOOK_SECONDS))
        else:
            self._ask(Letter(row.key, message, receiver=_Ear(self, number)))
            self._world.at(self._patience, lambda: self._again(number, tries))
        if word.twice and self._tries == 1:
            self._store.post.send(MailRow(0, row.key, message))

    def heard(self, number: int, heard: Heard) -> None:
        if number != self._next:
            return
        word = self._wish.words[number]
        if heard.code in (errors.StoreError.code, errors.RunBlocked.code):  # the store has refused something
            self._world.at(LOOK_SECONDS, lambda tries=self._tries: self._again(number, tries))
            return
        if heard.code == errors.RunNotFound.code and self._graves.has(self._wish.id):
            self._next = len(self._wish.words)
            return
        if self._wish.may_be_stopped and heard.code in (errors.RunClosed.code, errors.RunNotFound.code):
            self._next = len(self._wish.words)
            return
        if word.wrong:
            refused = heard.code in (errors.UpdateRejected.code, errors.RunClosed.code)
            self._demand(refused, f"word {number} of {self._wish.id} is wrong, and was not refused: {heard}")
        else:
            self._demand(not heard.code, f"word {number} of {self._wish.id} was refused: {heard.code} {heard.error}")
            if self._wish.workflow == "Desk" and not self._is_answered(number, word):
                return
        self._done()

    def _done(self) -> None:
        self._next += 1
        self._tries = self._looks = 0
        if self._next < len(self._wish.words):
            self._world.at(self._wish.words[self._next].after, self.speak)

    def _message(self, word: Word) -> msg.Signal | msg.Update:
        id = "" if word.posted else f"{self._wish.id}-word-{self._next}"
        input = Payload(msgspec.json.encode([word.n]))
        return msg.Update(id, "put", input) if self._wish.workflow == "Desk" else msg.Signal(numbers.name, input, id)

    @property
    def _patience(self) -> float:
        return min(PATIENCE_SECONDS * 2 ** (self._tries - 1), MOST_PATIENCE_SECONDS)

    def _again(self, number: int, tries: int) -> None:
        if number == self._next and tries == self._tries:
            self.speak()

    def _look_for(self, token: str, number: int, waited: float) -> None:
        if number != self._next:
            return
        reply: ReplyRow | None = self._store.post.take_reply(token)
        if reply is not None:
            self.heard(number, Heard(reply.code, reply.error, reply.data))
        elif waited > self._patience:
            self.speak()
        else:
            self._world.at(waited, lambda: self._look_for(token, number, 2 * waited))

    def _is_answered(self, number: int, word: Word) -> bool:
        """Else it is looked again."""
        row = self._store.views.row(self._wish.id)
        if row is None and self._graves.has(self._wish.id):
            return True
        assert row is not None
        update = self._store.messages.update(row.key, f"{self._wish.id}-word-{number}")
        if update is None:
            self._fail(f"word {number} of {self._wish.id} was accepted, and the store knows nothing of it (1)")
            return True
        if update.state == UpdateState.ACCEPTED:
            if row.status >= Status.COMPLETED:
                stopped = self._wish.may_be_stopped
                self._demand(stopped, f"word {number} of {self._wish.id} was accepted, and has no answer")
                return True
            self._looks += 1
            self._world.at(
                min(LOOK_SECONDS * 2**self._looks, MOST_PATIENCE_SECONDS), lambda: self.heard(number, Heard())
            )
            return False
        state, value = UpdateState(update.state), None
        if state == UpdateState.COMPLETED and update.detail is not None:
            value = msgspec.json.decode(wire.decode_payload(update.detail).data)
        if state != UpdateState.COMPLETED and self._wish.may_be_stopped:
            return True
        self._demand(value == 2 * word.n + 1, f"word {number} of {self._wish.id} is {state.name} with {value}")
        return True

    def _demand(self, holds: bool, text: str) -> None:
        if not holds:
            self._fail(text)


class _Ear:
    def __init__(self, talker: Talker, number: int) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._talker = talker
        self._number = number

    def receive(self, value: Any, error: BaseException | None) -> None:
        if error is None:
            self._talker.heard(self._number, value)

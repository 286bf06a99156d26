"""Who starts runs in a simulation, talks to them, and cancels or terminates those that do not end by themselves."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from perdure import errors
from perdure.kernel import messages as msg
from perdure.kernel.events import Payload
from perdure.kernel.project import RunRow
from perdure.kernel.run import Status
from perdure.runtime.letters import Letter, Started, StartRequest
from perdure.stores.base import MailRow, Store
from perdure.testing.simulation.graves import Graves
from perdure.testing.simulation.operators import Operators
from perdure.testing.simulation.people import People
from perdure.testing.simulation.plan import Deed, Wish, drawn
from perdure.testing.simulation.talkers import MOST_PATIENCE_SECONDS, Talker
from perdure.testing.simulation.visitors import Visitors
from perdure.testing.simulation.world import Scene

PATIENCE_SECONDS = 1.0
"""How soon a client looks again for a run that it wants to end, and that is not there yet: the second time it waits twice as long, and so on."""


SAY_AGAIN_SECONDS = 600.0
"""How soon it says once more that a run shall end which is open still, where the store may have refused that."""

_DEEDS: dict[str, msg.Mail] = {
    "cancel": msg.Cancel("enough"),
    "terminate": msg.Terminate("enough"),
    "retry": msg.Retry(),
}


class Clients:
    """All of them. `store` is a handle that lives as long as they do; `ask` and `nudge` reach the owner of the moment."""

    def __init__(self, seed: int, world: Scene, store: Store, fail: Callable[[str], None], graves: Graves) -> None:
        self._seed = seed
        self._graves = graves
        self._world = world
        self._store = store
        self._fail = fail
        self._unanswered: dict[str, Wish] = {}
        self._mailed: Counter[str] = Counter()
        self._says_again = False
        self._operators = Operators(world, store, graves)
        self._people = People(seed, world, store, lambda letter: self.ask(letter), fail, graves)
        self._visitors = Visitors(world, store, lambda letter: self.ask(letter), fail, graves)
        self.ask: Callable[[StartRequest | Letter], None] = lambda item: None
        self.nudge: Callable[[], None] = lambda: None

    def plan(self, wishes: tuple[Wish, ...], may_refuse: bool = False) -> None:
        """What each wish needs. `may_refuse`: the store may refuse what comes of a letter, and then nothing does."""
        self._says_again = may_refuse
        if may_refuse:
            self._operators.look_after(wishes)
        self._people.look_after(wishes)
        for wish in wishes:
            self._world.at(wish.at, lambda wish=wish: self._start(wish))
            if wish.words:
                talker = Talker(
                    wish, self._world, self._store, lambda letter: self.ask(letter), self._fail, self._graves
                )
                self._world.at(wish.at, talker.speak)
            if wish.end_at is not None:
                end = Deed("terminate" if wish.terminate else "cancel", wish.end_at, by_mail=True)
                self._world.at(wish.at + wish.end_at, lambda wish=wish, end=end: self._do(wish, end))
            self._visitors.come(wish)
            for deed in wish.deeds:
                self._world.at(wish.at + deed.after, lambda wish=wish, deed=deed: self._do(wish, deed))

    def ask_again(self) -> None:
        """There is a new owner, and who has no answer from the last one does not know whether it was heard."""
        for wish in list(self._unanswered.values()):
            self._ask(wish)

    def answered(self, wish: Wish, value: Any, error: BaseException | None) -> None:
        self._unanswered.pop(wish.id, None)
        if isinstance(error, errors.StoreError):  # the store has refused it; somebody asks again
            self._unanswered[wish.id] = wish
            self._world.at(PATIENCE_SECONDS, lambda: self._ask(wish))
        elif error is not None:
            self._fail(f"the start of {wish.id} was refused: {error}")
        elif isinstance(value, Started) and self._store.views.row(wish.id) is None and not self._graves.has(wish.id):
            self._fail(f"a client was told that {wish.id} has begun, and the store knows nothing of it")

    def _start(self, wish: Wish) -> None:
        if not wish.by_mail:
            self._unanswered[wish.id] = wish
            self._ask(wish)
            return
        again = [self._mailed[wish.id]] if self._mailed[wish.id] else []
        self._mailed[wish.id] += 1
        run_id = drawn("client", self._seed, wish.id, *again).randbytes(16)
        queue_by_mail(self._store, wish.id, wish.workflow, _input(wish), run_id, self._world.now())
        self._world.say("mail", f"{wish.id} {wish.spec}")
        self._nudge(wish)

    def _ask(self, wish: Wish) -> None:
        if self._graves.has(wish.id) and not wish.is_repeatable:  # nobody asks as late as that
            self._unanswered.pop(wish.id, None)
            return
        self._world.say("ask", f"{wish.id} {wish.spec}")
        # Sometimes it is said of an id to be new that is not.
        is_drawn = drawn("drawn", self._seed, wish.id).random() < 0.5
        self.ask(StartRequest(wish.id, wish.workflow, _input(wish), None, _Receiver(self, wish), is_drawn=is_drawn))

    def _do(self, wish: Wish, deed: Deed, waited: float = PATIENCE_SECONDS) -> None:
        row = self._store.views.row(wish.id)
        if row is None and self._graves.has(wish.id):
            return
        if row is None:
            self._world.at(waited, lambda: self._do(wish, deed, min(2 * waited, MOST_PATIENCE_SECONDS)))
            return
        if self._says_again and deed.what != "retry" and row.status < Status.COMPLETED:
            self._world.at(SAY_AGAIN_SECONDS, lambda: self._do(wish, deed))
        self._world.say(deed.what, wish.id)
        message = _DEEDS[deed.what]
        if deed.by_mail:
            self._store.post.send(MailRow(0, row.key, message))
            self._nudge(wish)
        else:
            self.ask(Letter(row.key, message))

    def _nudge(self, wish: Wish) -> None:
        """Not at all, and the owner finds it when it looks next; or once, late, or twice."""
        if wish.nudged:
            for seconds in drawn("nudge", self._seed, wish.id).choice([(0.0,), (0.0,), (0.7,), (0.0, 0.3)]):
                self._world.at(seconds, lambda: self.nudge())


def queue_by_mail(store: Store, id: str, workflow: str, input: Payload, run_id: bytes, now: int) -> None:
    row = RunRow(0, id, run_id, workflow, Status.QUEUED, "", "", now, None, None, 0)
    store.post.submit(row, MailRow(0, 0, msg.Start(workflow, input, run_id)))


class _Receiver:
    def __init__(self, clients: Clients, wish: Wish) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._clients = clients
        self._wish = wish

    def receive(self, value: Any, error: BaseException | None) -> None:
        self._clients.answered(self._wish, value, error)


def _input(wish: Wish) -> Payload:
    return Payload(msgspec.json.encode([wish.input]))

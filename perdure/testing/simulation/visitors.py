"""Who has a handle of a run in a simulation and comes when it has ended, perhaps long after it has gone: it is told which of both."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from perdure import errors
from perdure.kernel import messages as msg
from perdure.kernel.events import Payload
from perdure.kernel.run import Status
from perdure.runtime.letters import Heard, Letter
from perdure.stores.base import MailRow, Store
from perdure.testing.simulation.families import numbers
from perdure.testing.simulation.graves import Graves
from perdure.testing.simulation.plan import Visit, Wish
from perdure.testing.simulation.world import Scene

PATIENCE_SECONDS = (1.0, 86_400.0)
"""How soon somebody comes again that finds the run open, at first and at last."""

LOOK_SECONDS = 1.0
LOOKS = 120
"""For an answer; where clocks differ the same is said again then, as one that is left for too long goes."""

MOST_TIMES = 10

_NOTHING = Payload(b"[]")
_WORD = Payload(msgspec.json.encode([1]))
_MESSAGES: dict[str, msg.Mail] = {
    "signal": msg.Signal(numbers.name, _WORD, "visit"),
    "update": msg.Update("visit", "put", _WORD),
    "cancel": msg.Cancel("late"),
    "terminate": msg.Terminate("late"),
    "retry": msg.Retry(),
    "query": msg.Query("nothing", _NOTHING),
}


class Visitors:
    """All who come to runs."""

    def __init__(
        self,
        world: Scene,
        store: Store,
        ask: Callable[[Letter], None],
        fail: Callable[[str], None],
        graves: Graves,
    ) -> None:
        self._world = world
        self._store = store
        self._ask = ask
        self._fail = fail
        self._graves = graves

        self._came = 0
        graves.come = self._just_in_time

    def come(self, wish: Wish) -> None:
        for visit in wish.visits:
            self._world.at(wish.at + visit.after, lambda visit=visit: self._visit(wish.id, visit))

    def _just_in_time(self, key: int) -> None:
        """Somebody has a question for a run that goes at this moment."""
        self._say(self._graves.known(key).run.id, key, Visit("query", 0.0, True))

    def _visit(self, id: str, visit: Visit, waited: float = PATIENCE_SECONDS[0]) -> None:
        newest = self._graves.newest(id)
        row = self._store.views.row(id)
        there = newest if row is None or newest is None or row.key == newest.run.key else None
        if there is None or there.run.status < Status.COMPLETED:
            self._world.at(waited, lambda: self._visit(id, visit, min(2 * waited, PATIENCE_SECONDS[1])))
        else:
            self._say(id, there.run.key, visit)

    def _say(self, id: str, key: int, visit: Visit, times: int = 1) -> None:
        message = _MESSAGES[visit.what]
        was_gone = self._graves.has_key(key)
        self._world.say("visit", f"{id} {visit.what}{', which has gone' if was_gone else ''}")
        if not visit.by_mail:
            self._ask(Letter(key, message, receiver=_Ear(lambda heard: self._heard(key, visit, was_gone, heard))))
            return
        self._came += 1
        token = f"visit {self._came}"
        self._store.post.send(MailRow(0, key, message, token))
        self._world.at(LOOK_SECONDS, lambda: self._look_for(token, key, visit, was_gone, LOOKS, times))

    def _look_for(self, token: str, key: int, visit: Visit, was_gone: bool, looks: int, times: int) -> None:
        reply = self._store.post.take_reply(token)
        if reply is not None:
            self._heard(key, visit, was_gone, Heard(reply.code, reply.error, reply.data))
        elif looks:
            self._world.at(LOOK_SECONDS, lambda: self._look_for(token, key, visit, was_gone, looks - 1, times))
        elif self._graves.clocks_differ and times < MOST_TIMES:
            self._say(self._graves.known(key).run.id, key, visit, times + 1)
        else:
            id = self._graves.known(key).run.id
            self._fail(f"nobody answers who came to {id}: {visit.what} (6)")

    def _heard(self, key: int, visit: Visit, was_gone: bool, heard: Heard) -> None:
        not_found = heard.code == errors.RunNotFound.code
        what = f"{self._graves.known(key).run.id} was told to {visit.what}"
        if not_found and not self._graves.has_key(key):
            self._fail(f"{what}, has ended, and was not found (6)")
        if was_gone and not not_found and heard.code != errors.StoreError.code:
            self._fail(f"{what} after it had gone, and the answer was {heard.code!r} {heard.error}")
        if visit.what in ("signal", "update") and not heard.code:
            self._fail(f"{what} after it had ended, and took it (4)")


class _Ear:
    def __init__(self, hear: Callable[[Heard], None]) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._hear = hear

    def receive(self, value: Any, error: BaseException | None) -> None:
        if error is None and isinstance(value, Heard):
            self._hear(value)

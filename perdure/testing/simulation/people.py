"""Who is asked in a simulation: people look into the list of open tasks now and then, and sometimes two answer at once."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from perdure import errors
from perdure.kernel import messages as msg
from perdure.kernel.events import Payload
from perdure.kernel.human_rows import HumanTaskRow
from perdure.kernel.run import Status
from perdure.runtime.letters import Heard, Letter
from perdure.stores.base import MailRow, RunFilter, Store
from perdure.stores.human import HumanFilter
from perdure.testing.simulation.graves import Graves
from perdure.testing.simulation.plan import Wish, drawn, last_again
from perdure.testing.simulation.world import Scene

SOON_SECONDS = 1.0
LATE_SECONDS = 86_400.0
"""The longest time in which nobody looks."""

_OPEN = tuple(status for status in Status if status < Status.COMPLETED)
_TOLD = {"", errors.TaskClosed.code, errors.TaskClaimed.code, errors.RunClosed.code, errors.StoreError.code}
"""What may become of an answer: somebody else was quicker, or the run has been ended, or the store has refused it."""


class People:
    """All of them. The answer to a task is in its title."""

    def __init__(
        self,
        seed: int,
        world: Scene,
        store: Store,
        ask: Callable[[Letter], None],
        fail: Callable[[str], None],
        graves: Graves,
    ) -> None:
        self._seed = seed
        self._graves = graves
        self._looks: Counter[str] = Counter()
        self._world = world
        self._store = store
        self._ask = ask
        self._fail = fail
        self._coming: set[str] = set()
        self._until = 0.0
        self._pause = SOON_SECONDS

    def look_after(self, wishes: tuple[Wish, ...]) -> None:
        """They look as long as there is a run that may ask something."""
        self._coming = {wish.id for wish in wishes if "'ask'" in repr(wish.spec)}
        if self._coming:
            self._until = last_again(wishes)
            self._world.at(SOON_SECONDS, self._look)

    def _look(self) -> None:
        found = self._store.views.human.find(HumanFilter())
        for task in found:
            self._answer(task)
        self._coming -= {id for id in self._coming if self._store.views.row(id) is not None or self._graves.has(id)}
        open_runs = self._store.views.count(RunFilter(statuses=_OPEN))
        if self._coming or open_runs or self._world.monotonic() < self._until:
            self._pause = SOON_SECONDS if self._can_hear(found) else min(2 * self._pause, LATE_SECONDS)
            self._world.at(self._pause, self._look)

    def _can_hear(self, found: list[HumanTaskRow]) -> bool:
        """Whether a task is there whose run takes an answer. One that is blocked may be so for days: then nobody hurries."""
        rows = self._store.views.rows_by_key([task.run for task in found])
        return any(row.status not in (Status.BLOCKED, Status.QUARANTINED) for row in rows.values())

    def _answer(self, task: HumanTaskRow) -> None:
        what = f"{self._world.id_of(task.run)} [{task.step}]"
        self._looks[what] += 1
        chance = drawn("people", self._seed, what, self._looks[what])
        if chance.random() < 0.3:
            return  # nobody is in the mood
        for person in chance.sample(["ann", "bob", "cy"], chance.choice([1, 1, 2])):
            message: msg.Mail
            if chance.random() < 0.3:
                message = msg.ClaimTask(task.step, person)
            else:
                answer = Payload(msgspec.json.encode(int(task.title)))
                message = msg.CompleteTask(task.step, person, answer, f"{person}-{chance.randrange(10**6)}")
            self._world.say("people", f"{what} {person}: {type(message).__name__}")
            if chance.random() < 0.5:
                self._store.post.send(MailRow(0, task.run, message))
            else:
                self._ask(Letter(task.run, message, receiver=_Ear(what, self._told_of(task.run))))

    def _told_of(self, key: int) -> Callable[[str, str], None]:
        """What is done about a refusal: of a run that has gone meanwhile nobody knows anything."""

        def told(code: str, text: str) -> None:
            if code != errors.RunNotFound.code or not self._graves.has_key(key):
                self._fail(text)

        return told


class _Ear:
    def __init__(self, what: str, fail: Callable[[str, str], None]) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._what = what
        self._fail = fail

    def receive(self, value: Any, error: BaseException | None) -> None:
        heard: Heard | None = value
        if error is None and heard is not None and heard.code not in _TOLD:
            self._fail(heard.code, f"the task {self._what} was refused: {heard.code} {heard.error}")

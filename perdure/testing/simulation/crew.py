"""Who runs attempts in a simulation: nobody. How each ends, and when, is drawn from the seed, the run, the step and its
number, so that it is the same in every life."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from perdure.failures import failure_of
from perdure.kernel import messages as msg
from perdure.kernel.events import Failure, Payload
from perdure.kernel.wire import Task
from perdure.runtime.letters import Letter
from perdure.runtime.outflow import Append
from perdure.runtime.slots import Flight
from perdure.testing.simulation.flows import FLUSH_SECONDS, Appends, Body, Flow, Teller, own_stream
from perdure.testing.simulation.plan import Plan, drawn
from perdure.testing.simulation.programs import SHARED
from perdure.testing.simulation.world import Scene

SHAKY_ATTEMPTS = 3
"""From the next one on every attempt that can succeed does: lost ones count, too, and no life shall last for ever."""


BEAT_SECONDS = 2.0
MOST_TOLD = 6

TOO_LATE = Payload(b"1000000")
"""What an attempt comes to that takes no notice of being given up: nobody may ever see it."""


class Fate(NamedTuple):
    """How an attempt ends, in how many seconds; None never."""

    seconds: float | None
    failure: Failure | None


def fate_of(seed: int, id: str, step: str, attempt: int, name: str, shaky: bool = True) -> Fate:
    """What becomes of an attempt."""
    chance = drawn("fate", seed, id, step, attempt)
    seconds = chance.choice([0.0, 0.001, 0.01, 0.5, 2.0]) if shaky else 0.01
    if name in ("pulse", "haul") and shaky:
        seconds = chance.choice([7.0, 7.0, 0.5])
        if attempt <= SHAKY_ATTEMPTS and chance.random() < 0.3:
            return Fate(None, None)
    if name == "never" or (name == "linger" and attempt == 1):
        return Fate(None, None)
    if name == "refuse":
        return Fate(seconds, Failure("perdure.errors.NonRetryable", "not ever", non_retryable=True))
    if shaky and attempt <= SHAKY_ATTEMPTS and chance.random() < 0.25:
        return Fate(seconds, Failure("ConnectionError", "not now"))
    return Fate(seconds, None)


class SimulatedCrew:
    """The crew of one life. `begun` is called for each attempt before it begins."""

    def __init__(
        self,
        plan: Plan,
        world: Scene,
        build: str,
        send: Callable[[Letter], None],
        begun: Callable[[int, str, int], None],
        member: int,
        appends: Appends,
        append: Append,
        body: Body,
    ) -> None:
        self._plan = plan
        self._world = world
        self._build = build
        self._member = member
        self._send = send
        self._begun = begun
        self._ended: set[tuple[int, str, int]] = set()
        self._beaten: list[Flight] = []
        self._appends = appends
        self._flow = Flow(appends, append, world, body)  # type: ignore[arg-type]  it only asks for the time
        self._tellers: dict[tuple[int, str, int], Teller] = {}
        self._flush_is_due = False
        self.heartbeats = self
        self.dead = False

    def begin(self, departures: Sequence[tuple[Flight, str, Task]]) -> None:
        for flight, name, task in departures:
            self._begun(flight.key, flight.step, flight.attempt)
            fate = fate_of(self._plan.seed, task.id, flight.step, flight.attempt, name, self._plan.shaky)
            what = f"{task.id} [{flight.step}]#{flight.attempt} {name}"
            if fate.seconds is None:
                self._say("begin", f"{what}: hangs")
                continue
            ends = "succeeds" if fate.failure is None else f"fails ({fate.failure.type})"
            self._say("begin", f"{what}: {ends} in {fate.seconds:g} s")
            (n,) = msgspec.json.decode(task.input.data)
            result = Payload(b"%d" % (2 * n + 1)) if fate.failure is None else None
            if name in ("tell", "cry"):
                self._tell(flight, task.id, fate.seconds)
            self._world.at(fate.seconds, self._end(flight, task.id, result, fate.failure))
            if name in ("pulse", "haul"):
                self._beat(flight, task.id, fate.seconds)

    def give_up(self, flight: Flight) -> None:
        id = self._world.id_of(flight.key)
        self._say("give up", f"{id} [{flight.step}]#{flight.attempt}")
        deaf = drawn("deaf", self._plan.seed, id, flight.step, flight.attempt).random() < 0.5
        result, failure = (TOO_LATE, None) if deaf else (None, Failure("asyncio.CancelledError", "given up"))
        self._world.at(0.001, self._end(flight, id, result, failure))

    def beats(self) -> list[Flight]:
        beaten, self._beaten = self._beaten, []
        return beaten

    def has_new(self) -> bool:
        return bool(self._beaten)

    def close(self) -> None:
        self.dead = True

    def _say(self, what: str, text: str) -> None:
        self._world.say(what, text, self._member)

    def _beat(self, flight: Flight, id: str, seconds: float) -> None:
        """It tells how far it is, at first."""

        def beat(n: int) -> None:
            if not self.dead and not flight.given_up:
                flight.heard, flight.details = self._world.monotonic(), Payload(b"%d" % n)
                if not flight.beaten:
                    flight.beaten = True
                    self._beaten.append(flight)

        for n in range(int(seconds / BEAT_SECONDS) + 1):
            self._world.at(n * BEAT_SECONDS, lambda n=n: beat(n))

    def _tell(self, flight: Flight, id: str, seconds: float) -> None:
        """It writes to a stream that all write to, and to one of its own, which it closes in the end."""
        chance = drawn("tells", self._plan.seed, id, flight.step, flight.attempt)
        teller = Teller(self._flow, self._appends, flight)
        self._tellers[flight.key, flight.step, flight.attempt] = teller

        def write(stream: str) -> None:
            if not self.dead:
                teller.write(stream)
                self._flush_soon(chance.choice(FLUSH_SECONDS))

        def close() -> None:
            if not self.dead:
                teller.close(own_stream(flight.step))
                self._flush_soon(0.0)

        for at in sorted(chance.uniform(0.0, seconds) for _ in range(chance.randint(0, MOST_TOLD))):
            stream = chance.choice([SHARED, own_stream(flight.step)])
            self._world.at(at, lambda stream=stream: write(stream))
        if chance.random() < 0.5:
            self._world.at(seconds, close)

    def _flush_soon(self, seconds: float) -> None:
        if not self._flush_is_due:
            self._flush_is_due = True
            self._world.at(seconds, self._flush)

    def _flush(self) -> None:
        self._flush_is_due = False
        if not self.dead and self._flow.flush():
            self._flush_soon(1.0)

    def loop_is_gone(self, loop: Any) -> None:
        pass

    def _end(self, flight: Flight, id: str, result: Payload | None, failure: Failure | None) -> Callable[[], None]:
        began = self._world.now()
        ended = msg.AttemptEnded(flight.step, flight.attempt, self._member, began, result, failure, build=self._build)

        told = [ended]

        def again() -> None:
            if not self.dead:
                self._send(Letter(flight.key, told[0]))

        def end() -> None:
            attempt = (flight.key, flight.step, flight.attempt)
            teller = self._tellers.get(attempt)
            if not self.dead and attempt not in self._ended and teller is not None:
                if not teller.spool.is_stored:
                    self._flow.when_stored(teller.spool, end)
                    self._flush_soon(0.0)
                    return
                if teller.spool.failure is not None:
                    refused = failure_of(teller.spool.failure())
                    told[0] = msgspec.structs.replace(ended, result=None, failure=refused)
            if not self.dead and attempt not in self._ended:
                self._ended.add(attempt)
                self._say("end", f"{id} [{flight.step}]#{flight.attempt}")
                self._send(Letter(flight.key, told[0]))
                if self._plan.shaky and drawn("twice", self._plan.seed, *attempt).random() < 0.1:
                    self._world.at(0.6, again)

        return end

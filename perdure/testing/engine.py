"""An engine for tests: it skips time, replays each run before each step, and takes stand-ins for activities."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Self

import msgspec

from perdure.activities import ActivityDefinition, Duration, attempt_context
from perdure.client.answer import Answer, Asked
from perdure.client.door import EngineDoor
from perdure.client.summary import summary_of
from perdure.durations import duration_ns
from perdure.engine import Engine
from perdure.errors import DefinitionError, EngineNotRunning
from perdure.runtime.outbox import Receiver
from perdure.stores.addresses import shown
from perdure.stores.base import RunFilter, Store
from perdure.stores.open import open_store
from perdure.testing.people import People
from perdure.testing.rereading import reread
from perdure.testing.skipping import SkippingWorld, Sleep
from perdure.testing.stand_ins import ActivityCall, StandIns, stand_in_workflow

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _refusal(address: str) -> DefinitionError:
    return DefinitionError(
        f"TestEngine has a clock of its own, which others that share {address} would not have; "
        "give it memory:// or sqlite:///file.db; how to test with PostgreSQL says docs/testing.md"
    )


class TestEngine(Engine):
    """An engine whose clock jumps to what is due next, while somebody waits for a result or in `sleep`, and no attempt
    runs. Entered like any other: `with TestEngine([...]) as engine`, or `async with`.

    Args:
        definitions: workflows, activities and modules that contain them.
        activities: stand-ins, by the activity they are called for.
        workflows: the same of workflows, which runs have as children: by the workflow, a function of its arguments that
            gives its result, or raises.
        people: who answers human tasks: by their title an answer, or a function of the task that gives it; more than that
            says `engine.people.answer`.
        store: the address of a database or an open store; by default one in memory that nobody else sees. Not one that several
            engines share, as PostgreSQL: they would not have its clock.
        start: what the clock shows when the engine is made; the real time, if None.
        replay_every_step: make each program anew from its history, before each event it sees, so that one that is not
            deterministic blocks at once; and read back all that is written. Costs time that grows with the square of
            the number of steps: switch it off for runs of many hundred.
        drain: how long to wait, when the engine is closed, for what is in flight (a duration).
        options: further options of an engine.

    Raises:
        errors.DefinitionError: definitions, stand-ins or options make no sense.
    """

    __test__: ClassVar[bool] = False  # pytest shall not take it for a class of tests

    def __init__(
        self,
        definitions: Iterable[Any],
        *,
        activities: Mapping[ActivityDefinition[..., Any], Callable[..., Any]] | None = None,
        workflows: "Mapping[Any, Callable[..., Any]] | None" = None,
        people: "Mapping[str, Any] | None" = None,
        store: str | Store = "memory://",
        start: datetime | None = None,
        replay_every_step: bool = True,
        drain: Duration = 0,
        **options: Any,
    ) -> None:
        stand_ins = dict(activities or {})
        if stand_ins and isinstance(definitions, Iterable) and not isinstance(definitions, str):
            definitions = [*definitions, *stand_ins]
        self._clock = SkippingWorld(_nanoseconds(start))
        self._rereads = replay_every_step
        self._ended = False
        super().__init__(store, definitions, world=self._clock, drain=drain, **options)
        self._settings = msgspec.structs.replace(self._settings, forgetful=replay_every_step)
        self._stand_ins = StandIns(self._activities)
        for definition, fn in stand_ins.items():
            self._stand_ins.replace(definition, fn)
        for child, fn in (workflows or {}).items():
            made = stand_in_workflow(child, fn)
            self._workflows[made.name] = made
        self.people = People(self)
        """Those who stand in for people: who answers which human task, with what, after how long."""
        self.people.answer_all({} if people is None else people)
        self._clock.people = self.people

    def _open(self) -> Store:
        if isinstance(self._address, str) and self._address.startswith(("postgresql:", "postgres:")):
            raise _refusal(shown(self._address))  # and makes no schema there
        reread_too = self._rereads and isinstance(self._address, str)
        store = open_store(self._address, faults=reread) if reread_too else super()._open()  # type: ignore[arg-type]
        if store.membership is not None:
            store.admin.close()
            raise _refusal(store.address)
        return store

    def _enter(self, loop: asyncio.AbstractEventLoop | None) -> Self:
        super()._enter(loop)
        self._own_door = self._door = _NudgingDoor(self._own_door.store, self._member, loop, self._coder)
        return self

    def begin(self, loop: asyncio.AbstractEventLoop | None) -> Self:
        """Enter on a loop that runs, or with one of its own: for fixtures, which have no block. Ended by `end`."""
        return self._enter(loop)

    def end(self) -> None:
        """Leave. From any thread, as long as the loop that it was entered on, if any, is not needed any more; a second
        time does nothing.

        Raises:
            errors.EngineNotRunning: a fault had stopped it, and nobody has heard of it.
        """
        if not self._ended:
            self._ended = True
            self.__exit__(None, None, None)

    def wake(self) -> None:
        """Have it look at its clock again."""
        self._member.nudge()

    def lines(self, limit: int) -> list[str]:
        """Its runs in one line each, oldest first, for people who wonder why a test has failed."""
        runs = [summary_of(row) for row in self.store.views.search(RunFilter(limit=limit))]
        return [f"{run.id}  {run.workflow}  {run.status}  {run.note}".rstrip() for run in reversed(runs)]

    def now(self) -> datetime:
        """What the engine's clock shows, in UTC."""
        return _EPOCH + timedelta(microseconds=self._clock.now() // 1000)

    def sleep(self, duration: Duration) -> Answer[None]:
        """Let so much time pass on the engine's clock. What is due until then happens, in order, before it returns.

        In an activity, or its stand-in, it makes the attempt take so long, by that clock.
        """
        ns = duration_ns(duration)
        attempt = attempt_context.get(None) is not None
        return Asked(f"engine.sleep({duration!r})", partial(self._ask_sleep, ns, attempt), _slept)

    def _ask_sleep(self, ns: int, attempt: bool, receiver: Receiver) -> Callable[[], None]:
        self._opened().demand_open()
        if not self.owns:
            raise EngineNotRunning(
                "another engine owns the database, and this one's clock moves nothing; close that one"
            )
        sleep = self._clock.sleep(ns, receiver, self._member.nudge, attempt)
        self._member.when_over(receiver)
        self._member.nudge()
        return partial(self._clock.forget, sleep)

    def replace(self, activity: ActivityDefinition[..., Any], stand_in: Callable[..., Any]) -> None:
        """Call another function instead of an activity's own, from its next attempt on; its options stay. The activity
        itself as its stand-in undoes it.

        Raises:
            errors.DefinitionError: the engine does not know the activity, or the function cannot be called like it.
        """
        self._stand_ins.replace(activity, stand_in)

    def calls(self, activity: ActivityDefinition[..., Any]) -> list[ActivityCall]:
        """The attempts of an activity so far, in the order in which they began: `.arguments` by name, and `.attempt`.

        Raises:
            errors.DefinitionError: the engine does not know the activity.
        """
        return self._stand_ins.calls(activity)


class _NudgingDoor(EngineDoor):
    """Tells the engine when somebody begins to wait: time may be skipped from then on."""

    def watch(self, key: int, id: str, receiver: Receiver) -> Callable[[], object]:
        forget = super().watch(key, id, receiver)
        self._member.nudge()
        return forget


def _slept(told: Any) -> None:
    if not isinstance(told, Sleep):
        raise EngineNotRunning("the engine was closed before the sleep was over")
    loop = asyncio._get_running_loop()
    if loop is None:
        told.goes_on()
    else:
        loop.call_soon(told.goes_on)  # after whoever slept has come to its next await


def _nanoseconds(start: datetime | None) -> int | None:
    if start is None:
        return None
    if not isinstance(start, datetime) or start.tzinfo is None:
        raise DefinitionError(
            f"TestEngine: start is a time with a zone, as in datetime(..., tzinfo=UTC), not {start!r}"
        )
    since = start - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1_000

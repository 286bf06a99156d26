"""An engine from its birth to its death."""

import asyncio
import contextvars
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from perdure import errors
from perdure.activities import ActivityDefinition, Duration
from perdure.calls import Call
from perdure.client.handle import Handle
from perdure.durations import duration_ns
from perdure.engine import Engine
from perdure.kernel import events as ev
from perdure.kernel import wire
from perdure.kernel.run import Status
from perdure.runtime.inbox import Inbox
from perdure.runtime.log_queue import LogQueue
from perdure.runtime.member import Member
from perdure.runtime.queue_work import QueueSettings, QueueWork
from perdure.runtime.worker import Loop
from perdure.stores.base import RunFilter, Store
from perdure.testing.crashing.crew import Crew
from perdure.testing.crashing.loop import Clock, TurnedLoop
from perdure.testing.crashing.watch import Watch
from perdure.testing.crashing.words import ID
from perdure.testing.crashing.world import CrashWorld, Span
from perdure.testing.stand_ins import ActivityCall, StandIns

REAL_SECONDS = 60.0
"""How long a life may take, in real time."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Script = Callable[["Life", Handle[Any]], Awaitable[object]]


class Outcome(msgspec.Struct, frozen=True):
    """What came out of a run: `key` is what must be the same, `text` is for people, `value` the result or the exception.

    `block`: why it cannot go on.
    """

    key: tuple[str, ...]
    text: str
    value: Any = None
    block: ev.Block | None = None


class Life(Engine):
    """What a script is given as its engine: one for tests, which dies.

    Its clock goes only while nothing is at hand. `sleep` lets time pass: what the n-th one of the script has waited for
    stays waited for, however often the script begins anew after a crash.
    """

    def __init__(
        self,
        store: Store,
        definitions: Iterable[Any],
        stand_ins: Mapping[ActivityDefinition[..., Any], Callable[..., Any]],
        world: CrashWorld,
        watch: Watch,
        clock: Clock,
        wakes: list[int],
        **options: Any,
    ) -> None:
        super().__init__(store, definitions, world=world, drain=0, **options)
        if "queues" not in options:
            named = [each.terms.queue for each in self._activities.values() if each.terms is not None]
            self._queues = tuple(sorted({queue for queue in named if queue}))
        self._stand_ins = StandIns(self._activities)
        for definition, fn in stand_ins.items():
            self._stand_ins.replace(definition, fn)
        for name, definition in list(self._activities.items()):
            self._activities[name] = watch.observed(definition)
        self._crash_world = world
        self._watch = watch
        self._clock = clock
        self._wakes = wakes
        self._slept = 0
        self.outcome: Outcome | None = None
        self.runs: list[tuple[str, str, str]] = []
        self.error: BaseException | None = None

    def _opened_log(self) -> LogQueue:
        return _Silence()

    def _joined(self, store: Store, build: str, loop: TurnedLoop, settings: QueueSettings, inbox: Inbox) -> QueueWork:
        home = Loop(loop, contextvars.copy_context())
        log = self._log.logger
        return QueueWork(store, self._activities, build, settings, home, self._crash_world, log, inbox, lambda: None)

    def _serve_queues(self, store: Store, build: str, home: Loop, owner: Member) -> Any:
        """By workers that are turned as everything else is, one after the other, and die alone."""
        queues = self._served()
        if not queues:
            return None
        settings, world = self._queue_settings(build), self._crash_world

        def make(seen: Store, loop: TurnedLoop, inbox: Inbox) -> QueueWork:
            return self._joined(seen, build, loop, settings, inbox)

        self._span.crew = Crew(make, store, queues, self._clock, self._watch, world.dies_at_exchange)
        return self._span.crew

    # for the script

    def now(self) -> datetime:
        """What the engine's clock shows, in UTC."""
        return _EPOCH + timedelta(microseconds=self._clock.ns // 1000)

    async def sleep(self, duration: Duration) -> None:
        """Let so much time pass on the engine's clock."""
        if self._slept == len(self._wakes):
            self._wakes.append(self._clock.ns + duration_ns(duration))
        wake = self._wakes[self._slept]
        self._slept += 1
        if wake > self._clock.ns:
            await asyncio.sleep((wake - self._clock.ns) / 1e9)

    def calls(self, activity: ActivityDefinition[..., Any]) -> list[ActivityCall]:
        """The attempts of an activity so far, since the engine has begun to live."""
        return self._stand_ins.calls(activity)

    # for the trial

    def live(self, call: Call[Any], script: Script | None) -> Span:
        """Live until the run has come to its end, or the engine to its own.

        Raises:
            errors.WaitedTooLong: it takes too long, in real time.
        """
        loop = TurnedLoop(self._clock)
        span = self._span = Span(loop)
        self._watch.enter(self._address.views, self._crash_world.dies_before)  # type: ignore[union-attr]
        self._crash_world.enter(span)
        self._enter(loop)
        try:
            self._member.when_over(_Over(span))
            span.asking = lambda: self._own_door.busy
            loop.call_soon_threadsafe(lambda: loop.create_task(self._drive(span, call, script)))
            span.began = True
            self._member.nudge()
            if not span.ended.wait(REAL_SECONDS):
                span.end("late")
        except BaseException:  # Ctrl-C
            span.end("died")
            self._leave(0.0)
            span.clear_away()
            raise
        self._leave(0.0)
        if span.how == "over":
            self.error = self._member.failure
        return span

    async def _drive(self, span: Span, call: Call[Any], script: Script | None) -> None:
        try:
            again = Call(call.definition, call.args, call.kwargs, call.options)
            handle = await self.start(again, id=ID, request_id=ID)  # the same request, whatever has become of the run
            if script is not None:
                await self._follow(script, handle)
            self.outcome = await _outcome_of(handle, call)
            await self._wait_for_others()
            self.runs = self._all_runs()
        except Exception as error:  # noqa: BLE001  it belongs to whoever asked for all this
            self.error = error
        span.end("done")

    async def _follow(self, script: Script, handle: Handle[Any]) -> None:
        try:
            await script(self, handle)
        except errors.RunClosed:
            if self._watch.life == 1:
                raise  # else it was done in the life before

    async def _wait_for_others(self) -> None:
        """Runs that this one has started, or the script."""
        waited: set[bytes] = set()
        while True:
            rows = self.store.views.search(RunFilter(limit=10_000))
            waiting = [row for row in rows if row.status < Status.BLOCKED and row.run_id not in waited]
            if not waiting:
                return
            for row in waiting:
                waited.add(row.run_id)
                try:
                    await self.handle(row.id, run_id=row.run_id.hex()).result()
                except errors.RunDidNotComplete:
                    continue

    def _all_runs(self) -> list[tuple[str, str, str]]:
        rows = self.store.views.search(RunFilter(limit=10_000))
        return sorted((row.workflow, Status(row.status).word, row.note) for row in rows)


async def _outcome_of(handle: Handle[Any], call: Call[Any]) -> Outcome:
    definition: Any = call.definition
    try:
        value = await handle.result()
    except errors.RunDidNotComplete as error:
        row = handle._row()
        block = None if row.block is None else wire.decode_block(row.block)
        kind, message = type(error).__name__, str(error).partition("; to start afresh")[0]
        text = f"{kind}: {message.partition(_NEW_LINE)[0]}"
        return Outcome((kind, _ATTEMPTS.sub("after some attempts", message)), text, error, block)
    data: bytes = definition.result.encode(value)
    return Outcome(("completed", data.decode("utf-8", "replace")), f"completed with {value!r}", value)


_NEW_LINE = "\n"
_ATTEMPTS = re.compile(r"after \d+ attempts?")
"""Those that were lost count, too: a failure says more of them after a crash."""


class _Over:
    """Hears that the engine has stopped by itself."""

    def __init__(self, span: Span) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._span = span

    def receive(self, value: Any, error: BaseException | None) -> None:
        self._span.end("over")


class _Silence(LogQueue):
    """Hundreds of engines that die have nothing to tell."""

    def __init__(self) -> None:
        self.logger = logging.Logger("perdure.crashing", logging.CRITICAL + 1)

    def put(self, record: logging.LogRecord) -> None:
        return

    def close(self, seconds: float = 2.0) -> None:
        return

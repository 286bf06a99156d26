"""What a run's program has issued and what it waits for.

A command has the path of whoever issued it as its id; what it waits for is resolved by an event of the same id.
"""

import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from msgspec.structs import replace

from perdure.calls import Call, Scheduler
from perdure.errors import UnknownActivity
from perdure.kernel.attributes import Attribute
from perdure.kernel.commands import CancelActivity, CancelTimer, Command, ScheduleActivity, WithdrawTask
from perdure.kernel.events import Payload, Terms
from perdure.kernel.policy import DEFAULT_RETRY, RetryPolicy
from perdure.kernel.program import Blobs, ProgramBlocked, Recorded, RunInfo
from perdure.languages.python.conditions import Conditions
from perdure.languages.python.tasks import ChildFuture, Sealed, StepFuture, Task
from perdure.languages.python.tracing import Tracer
from perdure.payload import seal


def _until_it_succeeds(policy: RetryPolicy | None) -> RetryPolicy:
    """What has been done must be undone: an attempt beyond the policy is held for a person, who sees it."""
    policy = policy or DEFAULT_RETRY
    return policy if policy.at_most_once else replace(policy, exhausted="hold")


_NONE: frozenset[str] = frozenset()

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)  # noqa: UP017


class Own:
    """What the workflow itself has written to one of its streams."""

    __slots__ = ("chunks", "closed", "size_bytes")

    def __init__(self) -> None:
        self.chunks = 0
        self.size_bytes = 0
        self.closed = False


class Issuer(Scheduler):
    """The half of a workflow's loop that asyncio knows nothing of: one run's commands, time and chance.

    `waiting` holds, by command id, the futures and timers that an event will resolve; `commands` what was issued in
    this turn; `tasks` the tasks that are not done, by path; `stopped` ends the turn's drain early. `bug` is one that
    ended a task in this turn, `undoing` are the paths of the sagas' compensations that began in it; `pardoned` is a bug
    that voids no turn, since cleanup of it is recorded. `length` counts the events of the history, `definition` is that of
    the workflow. `channels` have what came by signals, by name; `conditions` are waited for; `handling` handlers of messages
    are at work, of `heard` that were begun.
    """

    __slots__ = (
        "activities",
        "asyncgens",
        "attributes",
        "blobs",
        "blocked",
        "bug",
        "callbacks",
        "chance",
        "channels",
        "commands",
        "conditions",
        "current",
        "definition",
        "emit",
        "handling",
        "heard",
        "info",
        "issued",
        "length",
        "logs",
        "main",
        "max_bytes",
        "now",
        "pardoned",
        "patches",
        "published",
        "ready",
        "recorded",
        "replaying",
        "sealed",
        "serials",
        "stopped",
        "streams",
        "tasks",
        "tracer",
        "undoing",
        "waiting",
    )

    def __init__(
        self,
        info: RunInfo,
        recorded: Recorded,
        blobs: Blobs,
        activities: Mapping[str, Any],
        max_bytes: int,
        emit: Callable[[logging.LogRecord], object],
    ) -> None:
        self.info = info
        self.recorded = recorded
        self.blobs = blobs
        self.activities = activities
        self.max_bytes = max_bytes
        self.emit = emit
        self.now = info.started_at
        self.replaying = False
        self.sealed = False
        self.stopped = False
        self.blocked: ProgramBlocked | None = None
        self.bug: BaseException | None = None
        self.undoing: tuple[str, ...] = ()
        self.pardoned: BaseException | None = None
        self.tracer: Tracer | None = None
        self.current: Task | None = None
        self.main: Task | None = None
        self.issued = 0
        self.callbacks = 0
        self.length = 0
        self.definition: Any = None
        self.serials = 0
        self.chance: random.Random | None = None
        self.ready: list[Any] = []
        self.waiting: dict[str, Any] = {}
        self.commands: dict[str, Command] = {}
        self.tasks: dict[str, Task] = {}
        self.patches: dict[str, bool] | None = None
        self.attributes: dict[str, Attribute] | None = None
        self.streams: dict[str, Own] | None = None
        self.channels: dict[str, Any] | None = None
        self.conditions: Conditions | None = None
        self.handling = 0
        self.heard = 0
        self.published: frozenset[str] = _NONE
        self.asyncgens: list[Any] | None = None
        self.logs: list[logging.LogRecord] | None = None

    def serial(self) -> int:
        self.serials += 1
        return self.serials

    def next_id(self) -> str:
        """The id of the next command: the path of who issues it, and how many it has issued."""
        task = self.current
        if task is None:
            self.issued += 1
            return f"c:{self.issued}"
        task.issued += 1
        return f"{task.path}:{task.issued}"

    def schedule(self, call: Call[Any]) -> StepFuture | ChildFuture:
        if call.definition.kind == "workflow":
            from perdure.languages.python.children import schedule  # that imports the loop, whose half this is

            return schedule(self, call)  # type: ignore[arg-type]
        return self.issue(call, self.arguments(call))

    def arguments(self, call: Call[Any]) -> bytes:
        """What the activity is called with. Raises whatever speaks against scheduling it."""
        if self.sealed:
            raise Sealed
        definition: Any = call.definition
        if definition.name not in self.activities:
            raise self._unknown(definition)
        return definition.parameters.encode(call.args, call.kwargs)

    def issue(self, call: Call[Any], arguments: bytes) -> StepFuture:
        """Have the activity scheduled, with these arguments."""
        if self.sealed:
            raise Sealed
        definition: Any = call.definition
        name = definition.name
        input = seal(arguments, self.put, self.max_bytes, f"the arguments of activity {name}")
        options = call.options or definition.default
        policy, terms = options.policy, options.terms
        if self.current is not None and self.current.compensates:
            policy, terms = _until_it_succeeds(policy), replace(terms or Terms(), compensates=True)
        id = self.next_id()
        self.commands[id] = ScheduleActivity(id, name, input, options.timeout_ns, policy, terms)
        future = StepFuture(loop=self)  # type: ignore[arg-type]  it is the loop's other half
        future.id = id
        future.definition = definition
        self.waiting[id] = future
        return future

    def _unknown(self, definition: Any) -> Exception:
        message = f"activity {definition.name!r} is not among those the engine was given"
        hint = f"add it: Engine(..., [..., {definition.fn.__name__}])"
        self.block(ProgramBlocked("unknown-activity", message, hint, source=definition.source))
        return UnknownActivity(f"{message}; {hint}")

    def block(self, reason: ProgramBlocked) -> None:
        """The turn is void, whatever the workflow does about the exception it sees."""
        self.blocked = self.blocked or reason
        self.stopped = True

    def put(self, digest: bytes, data: bytes) -> None:
        if not self.replaying:
            self.blobs.put(self.info.run_id, digest, data)

    def plain(self, payload: Payload) -> bytes:
        return self.blobs.plain(payload)

    def withdraw_activity(self, id: str) -> None:
        self._withdraw(id, CancelActivity)

    def withdraw_timer(self, id: str) -> None:
        self._withdraw(id, CancelTimer)

    def withdraw_task(self, id: str) -> None:
        self._withdraw(id, WithdrawTask)

    def _withdraw(self, id: str, command: Callable[[str], Command]) -> None:
        """Nothing has happened yet of what was issued in the same turn, so that it need not be cancelled."""
        if self.waiting.pop(id, None) is None or self.sealed:
            return
        if self.commands.pop(id, None) is None:
            self.commands[id] = command(id)

    def now_ns(self) -> int:
        return self.now

    @property
    def random(self) -> random.Random:
        if self.chance is None:
            self.chance = random.Random(int.from_bytes(self.info.run_id, "big"))
        return self.chance

    def now_utc(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.now // 1000)

    def keep_asyncgen(self, generator: Any) -> None:
        """Hold an async generator to the end: collected earlier it would run at a time that does not replay."""
        if self.asyncgens is None:
            self.asyncgens = []
        elif len(self.asyncgens) >= 64:
            self.asyncgens = [kept for kept in self.asyncgens if kept.ag_frame is not None]
        self.asyncgens.append(generator)

    def keep_log(self, record: logging.LogRecord) -> None:
        if self.logs is None:
            self.logs = []
        self.logs.append(record)

    def emit_logs(self) -> None:
        records, self.logs = self.logs, None
        for record in records or ():
            self.emit(record)

"""What workflow code may ask of the run it is in. Outside a workflow the real world answers."""

import asyncio
import random as _random
import uuid
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, ParamSpec, TypeVar

import msgspec

from perdure.attributes import AttributeValue, attributes_of, demand_few, plain
from perdure.durations import duration_ns
from perdure.errors import DefinitionError
from perdure.kernel.attributes import Attribute, merged
from perdure.kernel.commands import MarkPatch, RecordSideEffect, SetAttributes, SetMemo
from perdure.kernel.events import Payload
from perdure.kernel.limits import CONTINUE_SUGGESTED_EVENTS
from perdure.kernel.program import ProgramBlocked
from perdure.languages.python import guard
from perdure.languages.python.loop import WorkflowLoop
from perdure.languages.python.places import waits_at
from perdure.languages.python.tasks import Sealed
from perdure.payload import ValueType, memo_json, seal

P = ParamSpec("P")
R = TypeVar("R")

_chance = _random.Random()


class RunRef(msgspec.Struct, frozen=True):
    """Another run, by its id and its number, in hex digits."""

    id: str
    run_id: str


class WorkflowInfo(msgspec.Struct, frozen=True):
    """What a workflow may know of its run. `id` is the one its starter chose, `run_id` a unique one in hex digits.

    `attempt` counts the runs that follow each other after failures, from 1; `first_run_id` is that of the first of them.
    `attributes` are those that it is found by now. `parent` has started it as its child, `root` is the first of its
    ancestors; None of a run that is nobody's child. `history_length` counts the events up to now, and
    `continue_as_new_suggested` says that they are many.
    """

    id: str
    run_id: str
    workflow: str
    started_at: datetime
    attempt: int = 1
    first_run_id: str = ""
    attributes: dict[str, Any] = {}
    parent: RunRef | None = None
    root: RunRef | None = None
    history_length: int = 0
    continue_as_new_suggested: bool = False


def current_loop() -> WorkflowLoop | None:
    """The loop of the workflow whose code calls this, if one does."""
    loop = asyncio._get_running_loop()
    return loop if type(loop) is WorkflowLoop else None


def now() -> datetime:
    """The time of the event being delivered, in UTC. It never goes back, and is the same on replay."""
    loop = current_loop()
    return datetime.now(timezone.utc) if loop is None else loop.now_utc()  # noqa: UP017


def random() -> _random.Random:
    """Random numbers that are the same on replay: one generator per run, seeded by its run_id."""
    loop = current_loop()
    return _chance if loop is None else loop.random


def uuid4() -> uuid.UUID:
    """A random UUID that is the same on replay."""
    return uuid.UUID(int=random().getrandbits(128), version=4)


def info() -> WorkflowInfo:
    """The run this code belongs to.

    Raises:
        DefinitionError: it runs in none.
    """
    loop = current_loop()
    if loop is None:
        raise DefinitionError("workflow.info() is known only in a workflow that an engine runs")
    run = loop.info
    started_at = datetime.fromtimestamp(0, timezone.utc) + timedelta(microseconds=run.started_at // 1000)  # noqa: UP017
    first_run_id = (run.first_run_id or run.run_id).hex()
    attributes = {name: plain(each) for name, each in _attributes(loop).items()}
    parent, length = run.parent, loop.length
    return WorkflowInfo(
        id=run.id,
        run_id=run.run_id.hex(),
        workflow=run.workflow,
        started_at=started_at,
        attempt=run.attempt,
        first_run_id=first_run_id,
        attributes=attributes,
        parent=None if parent is None else RunRef(parent.id, parent.run_id.hex()),
        root=None if parent is None else RunRef(parent.root_id, parent.root_run_id.hex()),
        history_length=length,
        continue_as_new_suggested=length >= CONTINUE_SUGGESTED_EVENTS,
    )


def side_effect(fn: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a quick function whose answer differs each time, once: it is recorded, and replay gives it again.

    The function may do what a workflow may not (read a file, ask the clock), but must not take long.
    """
    loop = current_loop()
    if loop is None:
        return fn(*args, **kwargs)
    if loop.sealed:
        raise Sealed
    id = loop.next_id()
    kind = ValueType.result_of(fn, owner=f"side effect {getattr(fn, '__name__', fn)} [{id}]")
    value = loop.recorded.side_effects.get(id)
    if value is None:
        if loop.replaying:
            raise _not_recorded(loop, id)
        answer = guard.outside(fn, args, kwargs)
        value = seal(kind.encode(answer), loop.put, loop.max_bytes, f"the value of side effect [{id}]")
    loop.commands[id] = RecordSideEffect(id, value)
    return kind.decode(guard.outside(loop.plain, (value,), {}))


def _not_recorded(loop: WorkflowLoop, id: str) -> BaseException:
    place = waits_at(loop.current.coro) if loop.current is not None else ""
    loop.block(
        ProgramBlocked(
            "divergence",
            f"the code asks for the side effect [{id}], which the history does not have",
            'keep the old steps for old runs: if patched("...")',
            source=place,
        )
    )
    return Sealed(f"side effect [{id}] is not recorded")


def set_attributes(attributes: Mapping[str, "AttributeValue | None"]) -> None:
    """Change what the run is found by: texts, whole numbers, floats, True and False, datetimes, lists of texts. None
    removes a name, others stay as they are.

    Raises:
        DefinitionError: a name or a value cannot be one, or the run would have too many.
    """
    changes = attributes_of(attributes, "workflow.set_attributes", removable=True)
    loop = current_loop()
    if loop is None or not changes:
        return
    if loop.sealed:
        raise Sealed
    after = merged(_attributes(loop), changes)
    demand_few(after.values(), "workflow.set_attributes")
    loop.attributes = after
    id = loop.next_id()
    loop.commands[id] = SetAttributes(id, changes)


def _attributes(loop: WorkflowLoop) -> dict[str, Attribute]:
    if loop.attributes is None:
        loop.attributes = {each.name: each for each in loop.info.attributes}
    return loop.attributes


def set_memo(memo: Mapping[str, Any]) -> None:
    """Change what people are shown of the run: names and anything that has a JSON form. None removes a name, others stay.

    Raises:
        DefinitionError: it has no JSON form, or is too large.
    """
    data = memo_json(memo, "workflow.set_memo")
    loop = current_loop()
    if loop is None or not memo:
        return
    if loop.sealed:
        raise Sealed
    id = loop.next_id()
    loop.commands[id] = SetMemo(id, Payload(data))


def patched(id: str) -> bool:
    """Whether the new code after a change holds for this run: true for new runs, false for those that passed here before.

    The first answer that a run gets is the one it gets ever after, in loops and in branches that run at the same time.

    Args:
        id: names the change; unique among those of the workflow.

    Raises:
        DefinitionError: it is no text.
    """
    loop = current_loop()
    _demand_name(id, "patched")
    if loop is None:
        return True
    memory = loop.patches
    if memory is None:
        memory = loop.patches = {}
    answer = memory.get(id)
    if answer is None:
        answer = memory[id] = id in loop.recorded.patches or not loop.replaying
        if answer:
            # The id is no step's: the steps after the change keep theirs, whether it is there or not.
            loop.commands[f"patch:{id}"] = MarkPatch(f"patch:{id}", id)
    return answer


def deprecate_patch(id: str) -> None:
    """What becomes of `if patched(id)` once no open run goes the old way: the code has only the new one.

    A run that has passed here before the change, and so went the old way, is blocked with an explanation. When the runs
    are over that began while the code said `patched(id)`, this call can go as well.

    Args:
        id: names the change.

    Raises:
        DefinitionError: it is no text.
    """
    loop = current_loop()
    _demand_name(id, "deprecate_patch")
    if loop is None:
        return
    memory = loop.patches
    if memory is None:
        memory = loop.patches = {}
    answer = memory.get(id)
    if answer is None and (id in loop.recorded.patches or not loop.replaying):
        memory[id] = True
        loop.commands[f"patch:{id}"] = MarkPatch(f"patch:{id}", id, deprecated=True)
    elif not answer:
        raise _went_the_old_way(loop, id)


def _went_the_old_way(loop: WorkflowLoop, id: str) -> BaseException:
    place = waits_at(loop.current.coro) if loop.current is not None else ""
    loop.block(
        ProgramBlocked(
            "divergence",
            f"the run went the old way of the change {id!r}, and the code has only the new one: it says "
            f"deprecate_patch({id!r}), and the run has no mark of that change",
            f"keep the old way as long as there are such runs:  if patched({id!r}): ... else: ...",
            source=place,
        )
    )
    return Sealed(f"the change {id!r} has no old way")


def _demand_name(id: Any, function: str) -> None:
    if not isinstance(id, str) or not id:
        raise DefinitionError(f"{function}() takes a text that names the change, not {id!r}")


def sleep(duration: "float | str | timedelta") -> Coroutine[Any, Any, None]:
    """Wait. In a workflow it is a durable timer: the process may die meanwhile, for months.

    Args:
        duration: seconds, a timedelta or a text like "3 days".
    """
    return asyncio.sleep(duration_ns(duration) / 1e9)

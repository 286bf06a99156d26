"""One run with one crash, or with none, from its beginning to its end."""

import asyncio
import copy
import gc
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import msgspec

from perdure.calls import Call
from perdure.client.replaying import Replays
from perdure.kernel.events import Block
from perdure.stores.base import RunFilter, Views
from perdure.testing.crashing.life import Life, Outcome, Script
from perdure.testing.crashing.loop import Clock
from perdure.testing.crashing.points import Point
from perdure.testing.crashing.watch import Watch
from perdure.testing.crashing.words import ID
from perdure.testing.crashing.world import CrashWorld, Span
from perdure.testing.simulation.life import Opener, Stores, in_memory

BEGINNING = 1_700_000_000 * 1_000_000_000
"""What the clock shows when a run begins, if nothing else was asked for."""

REPLAYED_RUNS = 100
"""Of more runs than these it is not looked whether their code does the same again."""

MOST_LIVES = 4
"""An engine dies once or twice in a trial; whatever else needs so many does not come to an end."""


class Setting(msgspec.Struct, frozen=True):
    """All that the trials of one workflow have in common. `stores` makes a new store for each, which each life opens."""

    call: Call[Any]
    definitions: list[Any]
    stand_ins: Mapping[Any, Callable[..., Any]]
    script: Script | None
    state: Callable[[], Any] | None
    reset: Callable[[], Any] | None
    beginning: int
    options: Mapping[str, Any]
    stores: Stores = in_memory
    twice: bool = False


class Trial(msgspec.Struct):
    """What happened. `how` the last life ended: "done", or why the run did not come to its end."""

    point: Point | None
    how: str
    outcome: Outcome | None
    runs: list[tuple[str, str, str]]
    state: Any
    watch: Watch
    problems: list[str]
    seconds: float
    note: str = ""
    error: BaseException | None = None
    replayed: list[Block] = []
    """Why the code does not do again what it has just done, of each run that it does not."""

    @property
    def crashed(self) -> bool:
        """Whether it came to the place of the crash."""
        return any(row.what == "crash" for row in self.watch.rows)


def tried(setting: Setting, point: Point | None, step: Callable[[int], object] | None = None) -> Trial:
    """Run the workflow, and let the engine die at that point. `step` is told the number of each commit.

    Raises:
        Exception: `reset` or `state` has raised it.
    """
    if setting.reset is not None:
        _called(setting.reset)
    with setting.stores() as opened:
        return _tried(setting, point, opened, step)


def _tried(setting: Setting, point: Point | None, opened: Opener, step: Callable[[int], object] | None) -> Trial:
    clock, watch = Clock(setting.beginning), Watch(step)
    world = CrashWorld(clock, watch, point, setting.twice)
    outside = opened(None)
    lives: list[tuple[Life, Span]] = []
    wakes: list[int] = []
    try:
        while len(lives) < MOST_LIVES:
            store = opened(world.faults)
            next_life = Life(
                store, setting.definitions, setting.stand_ins, world, watch, clock, wakes, **dict(setting.options)
            )
            lives.append((next_life, next_life.live(setting.call, setting.script)))
            if lives[-1][1].how != "died":
                break
        life, span = lives[-1]
        row = outside.views.row(ID)
        return Trial(
            point,
            span.how,
            life.outcome,
            life.runs,
            None if setting.state is None else copy.deepcopy(_called(setting.state)),
            watch,
            outside.admin.check(),
            clock.seconds(),
            "" if row is None else row.note,
            life.error,
            _replayed(setting, outside.views) if point is None and span.how == "done" else [],
        )
    finally:
        left_open = any(loop.talks() for _, span in lives for loop in span.loops)
        for _, span in lives:
            span.clear_away()
        outside.admin.close()
        watch.leave()
        lives.clear()
        if left_open:
            _close_what_is_left()


def _replayed(setting: Setting, views: Views) -> list[Block]:
    """Show the code what it has just done, in the process that it has been done in. What a variable keeps since then tells."""
    blocks: list[Block] = []
    with Replays(setting.definitions, codec=setting.options.get("codec")) as replays:
        for row in views.search(RunFilter(limit=REPLAYED_RUNS)):
            stored = views.stored(row.key)
            if stored is not None and row.block is None:
                verdict = replays.judge_stored(row.id, stored, partial(views.blob, row.key))
                blocks += [verdict.block] if verdict.kind == "divergence" and verdict.block is not None else []
    return blocks


def _close_what_is_left() -> None:
    """Connections of a life that has died: nobody had the time to close them, which is no fault to warn of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def _called(function: Callable[[], Any]) -> Any:
    """What a function of the user's gives, which may be a coroutine."""
    value = function()
    if not inspect.isawaitable(value):
        return value

    async def awaited() -> Any:
        return await value

    return asyncio.run(awaited())


def listed_definitions(call: Call[Any], definitions: Iterable[Any] | None) -> list[Any]:
    """Those that were given, and the workflow itself. Without any, all that its code can name, beside it or in modules, and all
    that the code of its children can. Of two with one name the nearer counts."""
    own: Any = call.definition
    if definitions is not None:
        return [own, *(each for each in definitions if each is not own)]
    found: dict[int, Any] = {id(own): own}
    names = {(own.kind, own.name)}
    workflows = [own]
    while workflows:
        beside, elsewhere = _named_by(workflows.pop(0))
        is_near = len(found) == 1
        for each in [*beside, *elsewhere]:
            if id(each) in found or ((each.kind, each.name) in names and not (is_near and each in beside)):
                continue
            found[id(each)] = each
            names.add((each.kind, each.name))
            if each.kind == "workflow":
                workflows.append(each)
    return list(found.values())


def _named_by(workflow: Any) -> tuple[list[Any], list[Any]]:
    """The definitions that the code of a workflow sees, and those in modules that it sees."""
    values = [*workflow.fn.__globals__.values(), *(_content(cell) for cell in workflow.fn.__closure__ or ())]
    modules = [value for value in values if isinstance(value, ModuleType)]
    return _definitions_in(values), _definitions_in(value for module in modules for value in vars(module).values())


def _definitions_in(values: Iterable[Any]) -> list[Any]:
    from perdure.activities import ActivityDefinition
    from perdure.workflows import WorkflowDefinition, definitions_of

    found: list[Any] = []
    for value in values:
        if isinstance(value, ActivityDefinition | WorkflowDefinition):
            found.append(value)
        elif isinstance(value, type) and "__perdure_workflow__" in vars(value):
            found += definitions_of([value])[0].values()
    return found


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None

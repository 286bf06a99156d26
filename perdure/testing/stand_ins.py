"""Functions that stand in for activities, so that a workflow is tested and the world left in peace; and who was called."""

import asyncio
import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from perdure.activities import ActivityDefinition, ActivityInfo, activity
from perdure.errors import DefinitionError
from perdure.payload.parameters import Parameters
from perdure.workflows import WorkflowDefinition


class ActivityCall(msgspec.Struct, frozen=True):
    """One attempt of an activity, as it began: its arguments by name, defaults included, and what it was told of itself."""

    arguments: dict[str, Any]
    info: ActivityInfo

    @property
    def attempt(self) -> int:
        """1 for the first try."""
        return self.info.attempt


class StandIns:
    """Keeps the activities of an engine: `activities` is where it looks them up, by name."""

    def __init__(self, activities: dict[str, ActivityDefinition[Any, Any]]) -> None:
        self._originals = dict(activities)
        self._activities = activities
        self._calls: dict[str, list[ActivityCall]] = {each.name: [] for each in activities.values()}
        for name, definition in self._originals.items():
            activities[name] = self._heard(definition)

    def _heard(self, definition: ActivityDefinition[Any, Any]) -> ActivityDefinition[Any, Any]:
        """The definition again; whenever an attempt of it begins, that is noted."""
        heard = copy.copy(definition)
        heard.in_process = False  # tests are to be quick, and to hear of every call
        heard.parameters = _Heard(definition, self._calls[definition.name].append)  # type: ignore[assignment]
        return heard

    def replace(self, definition: ActivityDefinition[Any, Any], stand_in: Callable[..., Any]) -> None:
        """From the next attempt on call another function instead.

        Raises:
            DefinitionError: the engine does not know the activity, or the function cannot be called like it.
        """
        original = self._known(definition)
        fn = stand_in.fn if isinstance(stand_in, ActivityDefinition) else stand_in
        _demand_fit(original, fn)
        replaced = self._heard(original)
        replaced.fn = fn
        replaced.transactional = False  # what stands in has no database
        replaced.is_async = _is_async(fn)
        for name in (original.name, *original.aliases):
            self._activities[name] = replaced

    def calls(self, definition: ActivityDefinition[Any, Any]) -> list[ActivityCall]:
        """The attempts of an activity so far, in the order in which they began."""
        return list(self._calls[self._known(definition).name])

    def _known(self, definition: Any) -> ActivityDefinition[Any, Any]:
        if not isinstance(definition, ActivityDefinition):
            raise DefinitionError(
                f"an activity was expected, not {definition!r}; name the function that @activity was put on"
            )
        known = self._originals.get(definition.name)
        if known is None:
            raise DefinitionError(
                f"the engine was not given the activity {definition.name!r}; write: TestEngine([..., {definition.name}])"
            )
        return known


def stand_in_workflow(original: Any, fn: Callable[..., Any]) -> WorkflowDefinition[Any, Any]:
    """The workflow with another function: for children, which a test of their parent need not run.

    Raises:
        DefinitionError: it is no workflow, or the function cannot be called like it.
    """
    original = vars(original).get("__perdure_workflow__", original) if isinstance(original, type) else original
    if not isinstance(original, WorkflowDefinition):
        raise DefinitionError(f"a workflow was expected, not {original!r}; name the function that @workflow was put on")
    _demand_fit(original, fn)

    async def stands_in(*args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    made: WorkflowDefinition[Any, Any] = WorkflowDefinition(stands_in, name=original.name, aliases=original.aliases)
    made.parameters, made.result, made.terms = original.parameters, original.result, original.terms
    return made


class _Heard:
    """Parameters whose every decoding, with which an attempt begins, is noted."""

    def __init__(self, definition: ActivityDefinition[Any, Any], note: Callable[[ActivityCall], None]) -> None:
        self._parameters: Parameters = definition.parameters
        self._signature = inspect.signature(definition.fn)
        self._note = note

    def decode(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        args, kwargs = self._parameters.decode(data)
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        self._note(ActivityCall(dict(bound.arguments), activity.info()))
        return args, kwargs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parameters, name)


def _is_async(fn: Any) -> bool:
    called = getattr(fn, "__call__", None)  # noqa: B004  an object may have an async one
    return asyncio.iscoroutinefunction(fn) or inspect.iscoroutinefunction(called)


def _demand_fit(original: ActivityDefinition[Any, Any] | WorkflowDefinition[Any, Any], fn: Any) -> None:
    """Raise DefinitionError unless the function can be called as attempts of the activity are: with all arguments, by
    position if the activity takes them so, and under the same names, so that none are mixed up."""
    what = f"what stands in for {original.kind} {original.name}"
    if not callable(fn):
        raise DefinitionError(
            f"{what} must be a function, not {fn!r}; for a result that is always the same: lambda *_: {fn!r}"
        )
    wanted, found = inspect.signature(original.fn), inspect.signature(fn)
    if getattr(original, "cls", None) is not None:
        wanted = wanted.replace(parameters=list(wanted.parameters.values())[1:])
    try:
        found.bind(*_by_position(wanted), **_by_name(wanted))
    except TypeError as misfit:
        problem = str(misfit)
    else:
        problem = _mixed_up(wanted.parameters, found.parameters)
    if problem:
        name = getattr(fn, "__name__", repr(fn))
        raise DefinitionError(
            f"{what} cannot be called like it: {problem}; expected {original.name}{wanted}, found {name}{found}"
        )


def _by_position(signature: inspect.Signature) -> list[Any]:
    kinds = (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    )
    return [None for each in signature.parameters.values() if each.kind in kinds]


def _by_name(signature: inspect.Signature) -> dict[str, Any]:
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    return {each.name: None for each in signature.parameters.values() if each.kind in kinds}


def _mixed_up(wanted: Mapping[str, inspect.Parameter], found: Mapping[str, inspect.Parameter]) -> str:
    """What is wrong with the names of arguments given by position; one with an underscore before it is any."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    theirs = [each.name for each in wanted.values() if each.kind in kinds]
    ours = [each.name for each in found.values() if each.kind in kinds]
    for position, (expected, name) in enumerate(zip(theirs, ours, strict=False), 1):
        if name != expected and not name.startswith("_"):
            return f"argument {position} is called {name!r} instead of {expected!r}"
    return ""

"""Where an activity is, so that another process finds it: its module, or its script, and its name there.

A child imports the module of the activity, and no other. A script is executed a second time for that, under the name that
`multiprocessing` gives it, so that what stands under `if __name__ == "__main__":` is left out.
"""

import importlib
import importlib.machinery
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import msgspec

from perdure.activities import ActivityDefinition
from perdure.errors import DefinitionError, UnknownActivity

_SCRIPT = "__mp_main__"

_executing: list[str] = []
"""Names of scripts that are being executed again in this process, so that their activities are found."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """`path` leads from the module to the activity; `script` is a file, if that is no module; `is_main`: the parent was
    started with it."""

    module: str
    path: str
    script: str = ""
    is_main: bool = False


def demand_places(activities: "Iterable[ActivityDefinition[Any, Any]]") -> None:
    """Raises: DefinitionError for one that is to run in a process, and that another process would not find."""
    for definition in activities:
        if definition.in_process:
            place_of(definition)


def place_of(definition: "ActivityDefinition[Any, Any]") -> Place:
    """Where a child will look for the activity.

    Raises:
        DefinitionError: it would not find it there.
    """
    fn = definition.fn
    owner = f"activity {definition.name} ({definition.source}) runs in a process of its own, which"
    if getattr(sys, "frozen", False) or not sys.executable:
        raise DefinitionError(
            f"{owner} needs an interpreter, and this program is started without one; leave runs_in out"
        )
    module = sys.modules.get(fn.__module__)
    if module is None:
        raise DefinitionError(
            f"{owner} cannot import the module {fn.__module__!r}; define it in one that can be imported"
        )
    path = _path(module, definition)
    if path is None:
        raise DefinitionError(
            f"{owner} looks for it as {fn.__qualname__} in {fn.__module__}, and something else is there; "
            "put @activity directly above the function, and leave the name to it"
        )
    if fn.__module__ != "__main__":
        return Place(fn.__module__, path)
    spec, file = module.__spec__, getattr(module, "__file__", None)
    if spec is not None and spec.name != "__main__":
        return Place(spec.name, path, is_main=True)
    if spec is not None or file is None or not file.endswith((".py", ".pyw")):
        raise DefinitionError(
            f"{owner} cannot read {file or 'what was typed in'} again; move it to a module of its own"
        )
    return Place("__main__", path, file, is_main=True)


def _path(module: ModuleType, definition: "ActivityDefinition[Any, Any]") -> str | None:
    """The function's own name, or another one in its module that means the definition."""
    if _at(module, definition.fn.__qualname__) is definition:
        return definition.fn.__qualname__
    return next((name for name, value in list(vars(module).items()) if value is definition), None)


def _at(module: ModuleType, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        found = getattr(found, name, None)
    return found


def found_at(place: Place) -> "ActivityDefinition[Any, Any]":
    """The activity, in a child.

    Raises:
        UnknownActivity: it is not there any more.
        BaseException: whatever the module raises when it is imported.
    """
    module = sys.modules.get(_SCRIPT) if place.script else sys.modules.get(place.module)
    if module is None:
        module = _imported(place)
    definition = _at(module, place.path)
    if not isinstance(definition, ActivityDefinition):
        raise UnknownActivity(
            f"{place.path} in {place.script or place.module} was an activity when the engine was entered, and is now "
            f"{definition!r}; start the engine again, so that it runs one version of the code"
        )
    return definition


def _imported(place: Place) -> ModuleType:
    if place.is_main:
        _executing.append(place.script or place.module)
    try:
        return _executed(place.script) if place.script else importlib.import_module(place.module)
    finally:
        _executing.clear()


def _executed(script: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(_SCRIPT, script)
    module = ModuleType(_SCRIPT)
    module.__file__ = script
    before = sys.modules["__main__"]
    sys.modules["__main__"] = sys.modules[_SCRIPT] = module
    try:
        exec(loader.source_to_code(loader.get_data(script), script), module.__dict__)
    except BaseException:
        sys.modules["__main__"] = before
        del sys.modules[_SCRIPT]  # half of it is worse than none: the next attempt tries again
        raise
    return module


def demand_guard() -> None:
    """Refuse an engine in a script that is only read again.

    Raises:
        DefinitionError: this process looks for the activities of a script.
    """
    if _executing:
        raise DefinitionError(
            f"{_executing[0]} was read by a child process that looks for an activity in it, and began to run an engine of "
            'its own; put what starts the program under: if __name__ == "__main__":'
        )

"""The type hints of a function, resolved."""

import inspect
import types
import typing
from collections.abc import Callable, Collection
from typing import Any

from perdure.errors import DefinitionError


def resolved(fn: Callable[..., Any], owner: str, names: Collection[str]) -> dict[str, Any]:
    """The type hints of the parameters named, as far as they have one; "return" names the result.

    Raises:
        DefinitionError: a hint cannot be resolved.
    """
    written = getattr(fn, "__annotations__", None) if inspect.isroutine(fn) else None
    written = {name: hint for name, hint in (written or {}).items() if name in names}
    if not written:
        return {}
    try:
        return _evaluated(fn, written)
    except Exception as error:  # noqa: BLE001  a hint is an expression, it may raise anything
        for name, hint in written.items():
            _demand_one(fn, owner, name, hint)
        raise DefinitionError(f"{owner}: its type hints cannot be resolved ({error})") from None


def _demand_one(fn: Callable[..., Any], owner: str, name: str, hint: Any) -> None:
    try:
        _evaluated(fn, {name: hint})
    except Exception as error:  # noqa: BLE001  as above
        what = "the result" if name == "return" else f"parameter {name}"
        raise DefinitionError(
            f"{owner}: the type hint {hint!r} of {what} cannot be resolved ({error}); define or import the type at the "
            "top of the module, not under TYPE_CHECKING and not in a function"
        ) from None


def _evaluated(fn: Callable[..., Any], written: dict[str, Any]) -> dict[str, Any]:
    alone = types.SimpleNamespace(__annotations__=written, __type_params__=getattr(fn, "__type_params__", ()))
    return typing.get_type_hints(alone, getattr(inspect.unwrap(fn), "__globals__", {}), include_extras=True)

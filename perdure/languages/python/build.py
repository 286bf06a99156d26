"""The fingerprint of the code at hand: a run that a bug has blocked waits for code with another one.

It covers the definitions themselves (their compiled code, so that it works without files) and the source of every module
of the user's that they can reach through the globals of their modules: a bug is as often in a function that a workflow
calls. No path, address, time or hash goes in, so the same code has the same fingerprint everywhere; of Python itself
only what the compiler makes of the definitions.
"""

import hashlib
import sys
import sysconfig
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition
    from perdure.workflows import WorkflowDefinition

DIGITS = 12
MODULES = 2_000
"""Modules looked at; a program with more is told apart by the nearest of them."""

_OURS = str(Path(__file__).resolve().parents[2])
_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis))


def fingerprint(
    workflows: "Iterable[WorkflowDefinition[Any, Any]]", activities: "Iterable[ActivityDefinition[Any, Any]]"
) -> str:
    """Twelve hexadecimal digits that change with the code of the definitions or of what they use."""
    digest = hashlib.sha256()
    names: dict[str, None] = {}
    for kind, definitions in (("workflow", workflows), ("activity", activities)):
        for definition in sorted(definitions, key=lambda each: each.name):
            digest.update(f"\0{kind} {definition.name}\0".encode())
            for function in _functions(definition):
                names[function.__module__] = None
                _add_function(digest, function)
    for source in sorted(_sources(list(names))):
        digest.update(source)
    return digest.hexdigest()[:DIGITS]


def _functions(definition: Any) -> list[FunctionType]:
    """The function of a definition; of a class all its methods, those it inherits included."""
    cls = getattr(definition, "cls", None)
    found = [definition.fn]
    for base in cls.__mro__ if cls is not None else ():
        for value in vars(base).values() if base is not object else ():
            function = getattr(value, "fn", value)
            if isinstance(function, FunctionType) and function not in found:
                found.append(function)
    return [function for function in found if isinstance(function, FunctionType)]


def _add_function(digest: Any, function: FunctionType) -> None:
    _add_code(digest, function.__code__)
    defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
    digest.update(_constant(tuple(defaults)).encode())
    for cell in function.__closure__ or ():
        try:
            digest.update(_constant(cell.cell_contents).encode())
        except ValueError:
            continue  # not filled yet


def _add_code(digest: Any, code: CodeType) -> None:
    digest.update(code.co_code)
    digest.update("\0".join([*code.co_names, *code.co_varnames, *code.co_freevars]).encode("utf-8", "surrogatepass"))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(digest, constant)
        else:
            digest.update(_constant(constant).encode("utf-8", "surrogatepass"))


def _constant(value: Any) -> str:
    """The value as text if it is plain, else its class: reprs of other things may hold an address."""
    if type(value) in _PLAIN:
        return repr(value)
    if type(value) is tuple:
        return f"({','.join(map(_constant, value))})"
    if type(value) is frozenset:
        return f"{{{','.join(sorted(map(_constant, value)))}}}"
    if isinstance(value, FunctionType):
        return value.__code__.co_code.hex()
    return type(value).__qualname__


def _sources(names: list[str]) -> set[bytes]:
    """Digests of the files of the user's modules that can be reached from those named."""
    waiting = list(names)
    seen = set(waiting)
    digests: set[bytes] = set()
    while waiting and len(seen) < MODULES:
        module = sys.modules.get(waiting.pop())
        file = _file_of(module)
        if module is None or file is None:
            continue
        try:
            digests.add(hashlib.sha256(Path(file).read_bytes()).digest())
        except OSError:
            continue  # imported from an archive, or gone since: the compiled code has to do
        for name in _reachable(module):
            if name not in seen:
                seen.add(name)
                waiting.append(name)
    return digests


def _reachable(module: ModuleType) -> Iterable[str]:
    """Names of modules that the globals of a module come from."""
    for value in list(vars(module).values()):
        if isinstance(value, ModuleType):
            yield value.__name__
            continue
        # Other people's objects are asked for nothing: an attribute of a lazy one may do anything.
        ours = type(value).__module__.startswith("perdure.")
        thing = getattr(value, "fn", None) if ours else value
        origin = thing.__module__ if isinstance(thing, FunctionType | type) else type(value).__module__
        if isinstance(origin, str):
            yield origin


def _file_of(module: ModuleType | None) -> str | None:
    """The source file, if the module is the user's own: no part of Python, of an installed package, or of Perdure."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or not file.endswith(".py"):
        return None
    return file if _is_users(str(Path(file).resolve())) else None


@cache
def _is_users(file: str) -> bool:
    return not file.startswith(_foreign())


@cache
def _foreign() -> tuple[str, ...]:
    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(f"{place}/" for place in (_OURS, *(str(Path(place).resolve()) for place in places if place)))

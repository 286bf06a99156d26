"""The fingerprint of the code at hand: a run that a bug has blocked waits for code with another one.

It covers the definitions themselves and all modules of the user's that theirs reach by what they import. No path, name
of a file, address, time or hash goes in, so the same code has the same fingerprint everywhere; of Python itself only what
the compiler makes of the definitions.
"""

import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, get_args, get_origin

if TYPE_CHECKING:
    from perdure.activities import ActivityDefinition
    from perdure.workflows import WorkflowDefinition

DIGITS = 12
MODULES = 2_000
"""Modules looked at; a program with more is told apart by the nearest of them."""

_OURS = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
_PLAIN = (int, float, complex, str, bytes, bool, type(None), type(Ellipsis))
_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")
_IMPORT = re.compile(rb"^(?:from\s+(\.*)([\w.]*)\s+import|import\s+([\w., \t]+))", re.MULTILINE)


def fingerprint(
    workflows: "Iterable[WorkflowDefinition[Any, Any]]", activities: "Iterable[ActivityDefinition[Any, Any]]"
) -> str:
    """Twelve hexadecimal digits that change with the code of the definitions or of what they use."""
    code = _Code()
    files = _Files()
    for kind, definitions in (("workflow", workflows), ("activity", activities)):
        for definition in sorted(definitions, key=lambda each: each.name):
            code.add(f"{kind} {definition.name}", getattr(definition, "default", None))
            for function in functions_of(definition.fn, getattr(definition, "cls", None)):
                files.visit(function.__globals__)
                code.add(function)
    digest = hashlib.sha256("\0".join(code.words).encode("utf-8", "surrogatepass"))
    for source in sorted(files.digests):
        digest.update(source)
    return digest.hexdigest()[:DIGITS]


def functions_of(fn: Any, cls: type | None) -> list[FunctionType]:
    """The function of a definition; of a class all its methods, those it inherits from the user's classes included."""
    found = [fn] if isinstance(fn, FunctionType) else []
    for base in cls.__mro__ if cls is not None else ():
        for value in vars(base).values() if not _is_foreign(base) else ():
            found += [function for function in _unwrapped(value) if function not in found]
    return found


def is_users(file: str) -> bool:
    """Whether a source file is the user's own: no part of Python, of an installed package, or of Perdure."""
    if file.startswith("<frozen "):
        return False
    path = _resolved(file)
    return not path.startswith(_foreign_places()) and _INSTALLED.search(path) is None


def _is_foreign(cls: type) -> bool:
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return cls.__module__ == "builtins" or (isinstance(file, str) and not is_users(file))


def _unwrapped(value: Any) -> Iterator[FunctionType]:
    """The functions in what a class has under a name: a method of any kind, a property, a definition."""
    for each in (value, *(getattr(value, name, None) for name in ("__func__", "fn", "fget", "fset", "func"))):
        if isinstance(each, FunctionType):
            yield each


class _Code:
    """Compiled code as words. What is neither code nor plain counts by its class only: its text may be anything."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self._seen: set[int] = set()

    def add(self, *values: Any) -> None:
        for value in values:
            self._add(value)

    def _add(self, value: Any) -> None:
        kind = type(value)
        if kind in _PLAIN:
            self.words.append(repr(value))
        elif kind is tuple:
            self._nested("(", value)
        elif kind is frozenset:
            self._nested("{", ())
            self.words += sorted(_words_of(each) for each in value)
        elif kind is CodeType:
            self.words += (value.co_code.hex(), *value.co_names, *value.co_varnames, *value.co_freevars)
            self._nested("code", value.co_consts)
        elif kind is FunctionType:
            self._once(value, self._function)
        elif issubclass(kind, type):
            self.words.append(value.__qualname__)
        elif kind.__module__.startswith("perdure.") and hasattr(kind, "__struct_fields__"):
            self._nested(kind.__qualname__, [getattr(value, name) for name in kind.__struct_fields__])
        else:
            self.words.append(kind.__qualname__)

    def _nested(self, name: str, values: Iterable[Any]) -> None:
        self.words.append(name)
        self.add(*values)
        self.words.append(")")

    def _once(self, value: Any, add: Callable[[Any], None]) -> None:
        if id(value) not in self._seen:
            self._seen.add(id(value))
            add(value)

    def _function(self, function: FunctionType) -> None:
        self.add(function.__code__, function.__defaults__)
        for name, default in (function.__kwdefaults__ or {}).items():
            self.add(name, default)
        for name, hint in function.__annotations__.items():
            self.add(name)
            self._hint(hint)
        for cell in function.__closure__ or ():
            try:
                self.add(cell.cell_contents)
            except ValueError:  # not filled yet
                self.words.append("empty")
        if _source(function.__globals__) is None:
            self._named_by(function)

    def _hint(self, hint: Any) -> None:
        origin = get_origin(hint)
        self.add(hint if origin is None else origin)
        for part in get_args(hint):
            self._hint(part)

    def _named_by(self, function: FunctionType) -> None:
        """What the code names in a namespace without a file: typed at a prompt, in a notebook, or from an archive."""
        for name in _names(function.__code__):
            value = function.__globals__.get(name)
            if type(value) in (*_PLAIN, tuple, frozenset, FunctionType):
                self.add(name, value)
            elif issubclass(type(value), type) and value.__module__ == function.__module__:
                self._once(value, self._class)

    def _class(self, cls: type) -> None:
        for name, value in vars(cls).items():
            functions = list(_unwrapped(value))
            if functions or not name.startswith("__"):
                self.add(name, *(functions or [value]))


def _words_of(value: Any) -> str:
    code = _Code()
    code.add(value)
    return "\0".join(code.words)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


class _Files:
    """Digests of the source files of the user's modules that can be reached from the namespaces that are visited."""

    def __init__(self) -> None:
        self.digests: set[bytes] = set()
        self._seen: set[str] = set()
        self._roots: set[str] = set()

    def visit(self, namespace: Mapping[str, Any]) -> None:
        # An installed package that has workflows is the user's own, however it came to this machine.
        self._roots.add(_package(namespace).partition(".")[0])
        waiting = [namespace]
        while waiting and len(self._seen) < MODULES:
            each = waiting.pop()
            file = each.get("__file__")
            if not isinstance(file, str) or file in self._seen or not self._counts(each, file):
                continue
            self._seen.add(file)
            source = _source(each)
            if source is not None:
                self.digests.add(hashlib.sha256(source).digest())
                names = {*_imported(source, _package(each)), *_origins(each)}
                modules = [sys.modules.get(name) for name in names]
                waiting += [ModuleType.__getattribute__(module, "__dict__") for module in modules if module is not None]

    def _counts(self, namespace: Mapping[str, Any], file: str) -> bool:
        return is_users(file) or _package(namespace).partition(".")[0] in self._roots - {"perdure", ""}


def _package(namespace: Mapping[str, Any]) -> str:
    """The package a module is in; of one that is in none, itself."""
    return namespace.get("__package__") or namespace.get("__name__") or ""


def _source(namespace: Mapping[str, Any]) -> bytes | None:
    file = namespace.get("__file__")
    if not isinstance(file, str) or not file.endswith(".py"):
        return None
    try:
        with open(file, "rb") as source:
            return source.read()
    except OSError:
        return None


def _imported(source: bytes, package: str) -> Iterator[str]:
    """Names of modules in the import statements that every process runs: those that stand at the margin."""
    for dots, module, modules in _IMPORT.findall(source):
        if modules:
            for part in modules.decode().split(","):
                yield part.split(" as ")[0].strip()
        elif not dots:
            yield module.decode()
        else:
            base = package.split(".")[: package.count(".") + 2 - len(dots)]
            yield ".".join([*base, module.decode()] if module else base)


def _origins(namespace: Mapping[str, Any]) -> Iterator[str]:
    """Names of the modules that the globals of a module come from.

    Objects are asked for nothing but their class, since an attribute of a lazy one may do anything. The modules of a
    package that lie in it because somebody has imported them are passed over: that depends on what else a process does.
    """
    own = f"{namespace.get('__name__')}."
    for key, value in list(namespace.items()):
        kind = type(value)
        if issubclass(kind, ModuleType):
            name = ModuleType.__getattribute__(value, "__name__")
            if name != own + key:
                yield name
            continue
        if kind.__module__.startswith("perdure."):
            value = getattr(value, "fn", None)
            kind = type(value)
        if kind is FunctionType:
            origin = value.__module__
        else:  # not `.__module__`, of which a metaclass may make anything
            origin = type.__dict__["__module__"].__get__(value if issubclass(kind, type) else kind)
        if isinstance(origin, str):
            yield origin


@cache
def _resolved(file: str) -> str:
    return os.path.realpath(file)


@cache
def _foreign_places() -> tuple[str, ...]:
    import sysconfig

    places = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(f"{place}/" for place in (_OURS, *(_resolved(place) for place in places if place)))

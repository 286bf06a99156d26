"""The messages a workflow class hears: its methods marked `@workflow.signal`, `@workflow.query` and `@workflow.update`."""

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeAlias, TypeVar, overload

from perdure.errors import DefinitionError
from perdure.kernel.limits import ID_CHARS
from perdure.payload import Parameters, ValueType

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Kind: TypeAlias = Literal["signal", "query", "update"]


def is_name(name: Any) -> bool:
    """Whether messages, requests and published values can be called that: every store and every terminal can hold it."""
    return isinstance(name, str) and 0 < len(name) <= ID_CHARS and name.isprintable()


class Message(Generic[R_co]):
    """A message with its arguments, not sent yet: `Loan.approve.message(decision)`. `target` is what it is for: a method, a
    channel, or a name."""

    __slots__ = ("args", "kwargs", "target")

    def __init__(self, target: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> None:
        self.target = target
        self.args = tuple(args)
        self.kwargs = dict(kwargs or {})

    def __repr__(self) -> str:
        shown = [repr(value) for value in self.args] + [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"<message {getattr(self.target, 'name', self.target)}({', '.join(shown)})>"


class HandlerMethod(Generic[P, R]):
    """A method that hears messages of a name. On the class it is what a message is addressed to; on an instance the method
    itself. A `dynamic` one hears all names that no other method has: it is given the name before the arguments.
    """

    kind: Kind
    __slots__ = ("dynamic", "fn", "name", "parameters", "result", "source")

    def __init__(self, fn: Callable[..., Any], name: str | None, dynamic: bool) -> None:
        if not inspect.isfunction(fn):
            raise DefinitionError(
                f"@workflow.{self.kind} goes on a method written with def or async def, not on {fn!r}"
            )
        self.source = f"{fn.__code__.co_filename}:{fn.__code__.co_firstlineno}"
        self.fn = fn
        self.dynamic = dynamic
        self.name = "" if dynamic else fn.__name__ if name is None else name
        self._demand_sound(name)
        self.parameters = Parameters.of(fn, owner=self.owner, skip=2 if dynamic else 1)
        self.result = ValueType.result_of(fn, owner=self.owner)

    @property
    def owner(self) -> str:
        """Who it is, in messages."""
        return f"{self.kind} {self.name or self.fn.__name__} ({self.source})"

    def _demand_sound(self, name: str | None) -> None:
        if not self.dynamic and not is_name(self.name):
            raise DefinitionError(
                f"a {self.kind} ({self.source}) has a name of 1 to {ID_CHARS} printable characters, not {name!r:.60}"
            )
        if self.dynamic and name is not None:
            raise DefinitionError(f"{self.owner} is dynamic and so hears all other names; leave out name={name!r}")
        if inspect.isasyncgenfunction(self.fn) or inspect.isgeneratorfunction(self.fn):
            raise DefinitionError(f"{self.owner} is a generator; return a value")
        wanted = 2 if self.dynamic else 1
        parameters = list(inspect.signature(self.fn).parameters.values())[:wanted]
        plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if len(parameters) < wanted or any(each.kind not in plain for each in parameters):
            first = "self and the name of the message" if self.dynamic else "self"
            raise DefinitionError(f"{self.owner} is a method: its first parameters are {first}")

    def message(self, *args: P.args, **kwargs: P.kwargs) -> Message[R]:
        """The message with its arguments, for `start(..., signal=...)` and the like."""
        return Message(self, args, kwargs)

    def __repr__(self) -> str:
        return f"<{self.owner}>"


class SignalMethod(HandlerMethod[P, R]):
    """A method marked `@workflow.signal`: it is told something, and answers nothing."""

    kind = "signal"
    __slots__ = ()

    @overload
    def __get__(self, instance: None, owner: type) -> "SignalMethod[P, R]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, R]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else self.fn.__get__(instance, owner)


class QueryMethod(HandlerMethod[P, R]):
    """A method marked `@workflow.query`: it answers at once, and changes nothing."""

    kind = "query"
    __slots__ = ()

    def _demand_sound(self, name: str | None) -> None:
        super()._demand_sound(name)
        if inspect.iscoroutinefunction(self.fn):
            raise DefinitionError(
                f"{self.owner} is async, but a query waits for nothing: write def; what takes steps is an update"
            )

    @overload
    def __get__(self, instance: None, owner: type) -> "QueryMethod[P, R]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, R]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else self.fn.__get__(instance, owner)


class UpdateMethod(HandlerMethod[P, R]):
    """A method marked `@workflow.update`: it may take steps, and its sender gets what it returns."""

    kind = "update"
    __slots__ = ("check",)

    def __init__(self, fn: Callable[..., Any], name: str | None, dynamic: bool) -> None:
        super().__init__(fn, name, dynamic)
        self.check: Callable[..., Any] | None = None

    def validator(self, fn: Callable[Concatenate[Any, P], None], /) -> Callable[Concatenate[Any, P], None]:
        """Mark a method that looks at the arguments before the update is accepted. What it raises rejects the update, which
        then leaves no trace in the run. It takes the same parameters, and changes nothing."""
        if not inspect.isfunction(fn) or inspect.iscoroutinefunction(fn):
            raise DefinitionError(f"the validator of {self.owner} is a method written with def, not {fn!r}")
        theirs, ours = (list(inspect.signature(each).parameters) for each in (fn, self.fn))
        if theirs[1:] != ours[1:]:
            raise DefinitionError(
                f"the validator of {self.owner} takes the same parameters, ({', '.join(ours)}), "
                f"and has ({', '.join(theirs)})"
            )
        self.check = fn
        return fn

    @overload
    def __get__(self, instance: None, owner: type) -> "UpdateMethod[P, R]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        return self if instance is None else self.fn.__get__(instance, owner)


class Handlers:
    """The handlers of a class: by kind and name; a dynamic one has the name ""."""

    __slots__ = ("_methods",)

    def __init__(self, methods: Sequence[HandlerMethod[Any, Any]]) -> None:
        self._methods = {(method.kind, method.name): method for method in methods}

    def find(self, kind: Kind, name: str) -> HandlerMethod[Any, Any] | None:
        """The one that hears a name; None if nobody does."""
        return self._methods.get((kind, name)) or self._methods.get((kind, ""))

    def names(self, kind: Kind) -> list[str]:
        return sorted(name for each, name in self._methods if each == kind and name)

    def all(self) -> list[HandlerMethod[Any, Any]]:
        return list(self._methods.values())

    def __bool__(self) -> bool:
        return bool(self._methods)


NO_HANDLERS = Handlers(())


def handlers_of(cls: type) -> Handlers:
    """What a workflow class hears, inherited methods included.

    Raises:
        DefinitionError: two methods hear the same name.
    """
    found: dict[str, HandlerMethod[Any, Any]] = {}
    for base in reversed(cls.__mro__):
        for key, value in vars(base).items():
            if isinstance(value, HandlerMethod):
                found[key] = value
            elif key in found and not key.startswith("__"):
                del found[key]
    known: dict[tuple[Kind, str], HandlerMethod[Any, Any]] = {}
    for method in found.values():
        other = known.setdefault((method.kind, method.name), method)
        if other is not method:
            what = f"the {method.kind} {method.name!r}" if method.name else f"all other {method.kind} messages"
            raise DefinitionError(
                f"two methods of workflow class {cls.__name__} hear {what}: at {other.source} and at {method.source}; "
                f'rename one, or give it another name: @workflow.{method.kind}(name="...")'
            )
    return Handlers(list(known.values()))

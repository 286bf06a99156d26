"""What a workflow author imports: the decorator, and what a workflow may ask of its run."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

from perdure.activities import ActivityDefinition, checked_aliases, checked_name, demand_options, source_of
from perdure.calls import Call
from perdure.errors import DefinitionError
from perdure.handlers import NO_HANDLERS, QueryMethod, SignalMethod, UpdateMethod, handlers_of
from perdure.languages.python import channels, children, context
from perdure.languages.python.channels import Channel, all_handlers_finished, channel, publish, wait_until
from perdure.languages.python.children import ChildHandle, ExternalHandle, continue_as_new, external, start_child
from perdure.languages.python.context import WorkflowInfo, deprecate_patch, patched, sleep
from perdure.languages.python.logs import WorkflowLogger, logger
from perdure.languages.python.saga import Compensation, Saga, saga
from perdure.options import (
    CHILD_OPTIONS,
    RUN_OPTIONS,
    USUAL_CHILD,
    ChildOptions,
    Duration,
    Retry,
    demand_known,
    run_terms,
)
from perdure.payload import Parameters, ValueType

if TYPE_CHECKING:
    from perdure.languages.python.scan import Finding

__all__ = [
    "Channel",
    "ChildHandle",
    "Compensation",
    "ExternalHandle",
    "RunMethod",
    "Saga",
    "WorkflowDefinition",
    "WorkflowInfo",
    "all_handlers_finished",
    "channel",
    "continue_as_new",
    "definitions_of",
    "deprecate_patch",
    "distinct",
    "external",
    "patched",
    "publish",
    "saga",
    "sleep",
    "start_child",
    "wait_until",
    "workflow",
]

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

_MARK = "__perdure_workflow__"


class WorkflowDefinition(Generic[P, R]):
    """A durable program: an `async def` function, or a class with one method marked `@workflow.run`.

    `fn` is the original function; `cls` the class, or None, whose `handlers` hear messages. `terms`: those of its runs
    whose starts choose no others. `aliases` are names it had before. `doubts`: what was found in its code, once it was read.
    """

    kind: ClassVar[str] = "workflow"
    __slots__ = (
        "__wrapped__",
        "aliases",
        "cls",
        "doubts",
        "fn",
        "handlers",
        "name",
        "parameters",
        "result",
        "source",
        "terms",
    )

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        cls: type | None = None,
        name: str | None = None,
        aliases: Iterable[str] = (),
        **wishes: Any,
    ) -> None:
        self.source = source_of(fn, "workflow")
        self.name = cls.__name__ if cls is not None and name is None else checked_name(name, fn, "workflow")
        self.aliases = checked_aliases(aliases, self.name, "workflow")
        self.fn = fn
        self.__wrapped__ = fn
        self.cls = cls
        owner = f"workflow {self.name} ({self.source})"
        if not inspect.iscoroutinefunction(fn):
            raise DefinitionError(f"{owner} must be written with `async def`, and without yield")
        self.terms = run_terms(wishes, owner) if wishes else None
        self.parameters = Parameters.of(fn, owner=owner, skip=0 if cls is None else 1)
        self.handlers = NO_HANDLERS if cls is None else handlers_of(cls)
        self.result = ValueType.result_of(fn, owner=owner)
        self.doubts: list[Finding] | None = None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        return Call(self, args, kwargs)

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def __doc__(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.fn.__doc__

    def options(self, base: ChildOptions | None = None, **wishes: Any) -> ChildOptions:
        """Options of one child: `wishes` over `base`."""
        owner = f"call of workflow {self.name}"
        demand_known(wishes, CHILD_OPTIONS, owner)
        return (base or USUAL_CHILD).over(wishes, owner)

    def direct(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """The coroutine of the function; of a class, of a new instance's method, made when it is first awaited."""
        return self.fn(*args, **kwargs) if self.cls is None else self._on_instance(self.cls, args, kwargs)

    async def _on_instance(self, cls: type, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await self.fn(cls(), *args, **kwargs)

    def __repr__(self) -> str:
        return f"<workflow {self.name} at {self.source}>"


class RunMethod(Generic[P, R]):
    """The method marked `@workflow.run`: on the class it is the definition, on an instance the method itself."""

    __slots__ = ("fn",)

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn

    @overload
    def __get__(self, instance: None, owner: type) -> WorkflowDefinition[P, R]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, Coroutine[Any, Any, R]]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        if instance is not None:
            return self.fn.__get__(instance, owner)
        definition = owner.__dict__.get(_MARK)
        if definition is None:
            raise DefinitionError(
                f"class {owner.__name__} has @workflow.run on a method; put @workflow on the class too"
            )
        return definition


def _of_class(cls: type, name: str | None, wishes: dict[str, Any]) -> WorkflowDefinition[Any, Any]:
    runs: dict[str, RunMethod[Any, Any]] = {}
    for base in reversed(cls.__mro__):
        for key, value in vars(base).items():
            if isinstance(value, RunMethod):
                runs[key] = value
            else:
                runs.pop(key, None)
    if len(runs) != 1:
        found = f"has {len(runs)}: {', '.join(runs)}" if runs else "has none"
        raise DefinitionError(f"workflow class {cls.__name__} needs one method marked @workflow.run, but {found}")
    (method,) = runs.values()
    return WorkflowDefinition(method.fn, cls=cls, name=name, **wishes)


class _Decorator(Protocol):
    @overload
    def __call__(self, target: C, /) -> C: ...
    @overload
    def __call__(self, target: Callable[P, Coroutine[Any, Any, R]], /) -> WorkflowDefinition[P, R]: ...


class _Workflow:
    """`@workflow` makes a function or class a durable program; `workflow.now()` and the rest serve inside it."""

    logger: ClassVar[WorkflowLogger] = logger
    now = staticmethod(context.now)
    random = staticmethod(context.random)
    uuid4 = staticmethod(context.uuid4)
    info = staticmethod(context.info)
    side_effect = staticmethod(context.side_effect)
    patched = staticmethod(context.patched)
    deprecate_patch = staticmethod(context.deprecate_patch)
    set_attributes = staticmethod(context.set_attributes)
    set_memo = staticmethod(context.set_memo)
    sleep = staticmethod(context.sleep)
    start_child = staticmethod(children.start_child)
    external = staticmethod(children.external)
    continue_as_new = staticmethod(children.continue_as_new)

    wait_until = staticmethod(channels.wait_until)
    publish = staticmethod(channels.publish)
    all_handlers_finished = staticmethod(channels.all_handlers_finished)
    __slots__ = ()

    @overload
    def __call__(self, target: C, /) -> C: ...
    @overload
    def __call__(self, target: Callable[P, Coroutine[Any, Any, R]], /) -> WorkflowDefinition[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        name: str | None = None,
        aliases: Iterable[str] = (),
        run_timeout: "Duration | None" = None,
        execution_timeout: "Duration | None" = None,
        retry: "Retry | int | None" = None,
        versioning: Literal["auto", "pinned"] | None = None,
    ) -> _Decorator: ...
    def __call__(self, target: Any = None, *, name: str | None = None, **wishes: Any) -> Any:
        """Make a workflow of an `async def` function, or of a class with one method marked `@workflow.run`.

        The other options are those of its runs whose starts choose no others.

        Args:
            name: under which its runs are recorded; default is the function's or class's own.
            aliases: names under which they were recorded before: open runs that have them find this code.
            run_timeout: how long a run may take (a duration); None is no limit.
            execution_timeout: the same of all attempts together.
            retry: a `Retry`, or a number of attempts: a run that fails or runs into its run_timeout is followed by
                another one. None, the default, makes one attempt.
            versioning: "auto", the default: any build of the code whose answers are those of the history goes on with an
                open run. "pinned": only the build that has begun it does, until the run is moved (`perdure move`).
        """
        demand_options("workflow", wishes, ("name", "aliases", *RUN_OPTIONS))
        if target is None:
            return lambda target: self._define(target, name, wishes)
        return self._define(target, name, wishes)

    def _define(self, target: Any, name: str | None, wishes: dict[str, Any]) -> Any:
        if not isinstance(target, type):
            return WorkflowDefinition(target, name=name, **wishes)
        setattr(target, _MARK, _of_class(target, name, wishes))
        return target

    def run(self, fn: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> RunMethod[P, R]:
        """Mark the method of a workflow class that is the workflow; `Class.run(...)` then is a call."""
        return RunMethod(fn)

    @overload
    def signal(self, fn: Callable[Concatenate[Any, P], R]) -> SignalMethod[P, R]: ...
    @overload
    def signal(
        self, *, name: str | None = None, dynamic: bool = False
    ) -> Callable[[Callable[Concatenate[Any, P], R]], SignalMethod[P, R]]: ...
    def signal(self, fn: Any = None, *, name: str | None = None, dynamic: bool = False) -> Any:
        """Mark a method of a workflow class that hears a signal: a message that expects no answer. It may be `async def`
        and take steps.

        Args:
            name: what the messages are called; default is the method's own.
            dynamic: it hears all names no other method has, and is given the name as first argument.
        """
        return _marked(SignalMethod, fn, name, dynamic)

    @overload
    def query(self, fn: Callable[Concatenate[Any, P], R]) -> QueryMethod[P, R]: ...
    @overload
    def query(
        self, *, name: str | None = None, dynamic: bool = False
    ) -> Callable[[Callable[Concatenate[Any, P], R]], QueryMethod[P, R]]: ...
    def query(self, fn: Any = None, *, name: str | None = None, dynamic: bool = False) -> Any:
        """Mark a method of a workflow class that answers a question, of open runs and of ended ones. It only looks. Takes
        what `signal` takes."""
        return _marked(QueryMethod, fn, name, dynamic)

    @overload
    def update(self, fn: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]) -> UpdateMethod[P, R]: ...
    @overload
    def update(self, fn: Callable[Concatenate[Any, P], R]) -> UpdateMethod[P, R]: ...
    @overload
    def update(
        self, *, name: str | None = None, dynamic: bool = False
    ) -> Callable[[Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]], UpdateMethod[P, R]]: ...
    def update(self, fn: Any = None, *, name: str | None = None, dynamic: bool = False) -> Any:
        """Mark a method of a workflow class that hears an update: a message whose sender gets what the method returns, or
        what it raises. `@method.validator` marks another one that may reject it. Takes what `signal` takes."""
        return _marked(UpdateMethod, fn, name, dynamic)

    def __repr__(self) -> str:
        return "<perdure.workflow>"


def _marked(kind: Callable[[Any, str | None, bool], Any], fn: Any, name: str | None, dynamic: bool) -> Any:
    return (lambda fn: kind(fn, name, dynamic)) if fn is None else kind(fn, name, dynamic)


workflow = _Workflow()

D = TypeVar("D", bound="WorkflowDefinition[Any, Any] | ActivityDefinition[Any, Any]")

Workflows = dict[str, WorkflowDefinition[Any, Any]]
Activities = dict[str, ActivityDefinition[Any, Any]]


def definitions_of(things: Iterable[Any]) -> tuple[Workflows, Activities]:
    """The workflows and activities among modules, definitions and workflow classes, by name, and by each name they had
    before.

    A module contributes every definition in its namespace, imported ones too.

    Raises:
        DefinitionError: two different definitions have one name, or a thing is none of these.
    """
    workflows: Workflows = {}
    activities: Activities = {}
    for thing in things:
        for definition in _found_in(thing):
            names: dict[str, Any] = workflows if isinstance(definition, WorkflowDefinition) else activities
            for name in (definition.name, *definition.aliases):
                known = names.setdefault(name, definition)
                if known is not definition:
                    raise DefinitionError(_clash(name, known, definition))
    return workflows, activities


def _clash(name: str, known: Any, other: Any) -> str:
    """Two definitions want one name."""
    kinds = "workflows" if known.kind == "workflow" else "activities"
    if known.name == other.name == name:
        return (
            f"two {kinds} are called {name!r}: at {known.source} and at {other.source}; rename one, "
            f'or give it another name: @{known.kind}(name="...")'
        )
    had, has = (other, known) if known.name == name else (known, other)
    if has.name != name:
        return (
            f"two {kinds} were called {name!r} before: {known.name} at {known.source} and {other.name} at {other.source}; "
            "leave the alias with the one that what is recorded under it goes on as"
        )
    return (
        f"the {has.kind} {name!r} at {has.source} has a name that {had.name!r} at {had.source} has for an alias; "
        "rename the former, or leave out the alias if no open run has that name any more"
    )


def distinct(definitions: Mapping[str, D]) -> dict[str, D]:
    """Each definition once, under its own name."""
    return {name: definition for name, definition in definitions.items() if name == definition.name}


def _found_in(thing: Any) -> "list[WorkflowDefinition[Any, Any] | ActivityDefinition[Any, Any]]":
    if isinstance(thing, ModuleType):
        found = [_definition(value) for value in vars(thing).values()]
        return [definition for definition in found if definition is not None]
    definition = _definition(thing)
    if definition is None:
        raise DefinitionError(
            f"an engine takes workflows, activities and modules that contain them, not {thing!r}; "
            "is @workflow or @activity missing?"
        )
    return [definition]


def _definition(value: Any) -> "WorkflowDefinition[Any, Any] | ActivityDefinition[Any, Any] | None":
    if isinstance(value, WorkflowDefinition | ActivityDefinition):
        return value
    return vars(value).get(_MARK) if isinstance(value, type) else None

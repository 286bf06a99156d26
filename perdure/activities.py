"""What an activity author imports: the decorator, retry policies, and what an attempt may know of itself."""

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, ParamSpec, Protocol, TypeAlias, TypeVar, overload

import msgspec

from perdure.calls import Call
from perdure.durations import duration_ns
from perdure.errors import DefinitionError, NonRetryable, RetryAfter
from perdure.kernel.limits import END_OF_TIME
from perdure.kernel.policy import RetryPolicy
from perdure.payload import Parameters, ValueType
from perdure.payload.misfit import did_you_mean

P = ParamSpec("P")
R = TypeVar("R")
Duration: TypeAlias = float | str | timedelta


class Retry:
    """How failed attempts of an activity are repeated; the defaults are Temporal's.

    Args:
        initial: delay before the second attempt (a duration: seconds, a timedelta or a text like "1s").
        coefficient: factor by which each further delay grows.
        maximum: longest delay (a duration).
        max_attempts: attempts in all, the first included; None is no limit.
        jitter: fraction (0 to 1) by which a delay is spread around its value.
        non_retryable: exception classes, or their names, that end the activity at once.
        bugs: what an exception that means "the code is wrong" does: "hold" the attempt until new code
            or `perdure retry`, "retry" it like any other, or "fail" the activity.

    Raises:
        DefinitionError: an option has no sense.
    """

    __slots__ = ("_policy",)

    def __init__(
        self,
        *,
        initial: Duration = "1s",
        coefficient: float = 2.0,
        maximum: Duration = "100s",
        max_attempts: int | None = None,
        jitter: float = 0.0,
        non_retryable: tuple[type[BaseException] | str, ...] = (),
        bugs: str = "hold",
    ) -> None:
        _demand(
            _is_number(coefficient) and 1.0 <= coefficient < float("inf"),
            f"coefficient must be a number from 1 on, not {coefficient!r}",
        )
        _demand(
            max_attempts is None or (is_whole(max_attempts) and max_attempts >= 1),
            f"max_attempts must be a whole number from 1 on, or None for no limit, not {max_attempts!r}",
        )
        _demand(_is_number(jitter) and 0.0 <= jitter <= 1.0, f"jitter must be a number between 0 and 1, not {jitter!r}")
        _demand(bugs in ("hold", "retry", "fail"), f'bugs must be "hold", "retry" or "fail", not {bugs!r}')
        _demand(
            isinstance(non_retryable, list | tuple | set | frozenset),
            f"non_retryable must be a tuple of exception classes or their names, as in (ValueError,), not {non_retryable!r}",
        )
        initial_ns, maximum_ns = min(duration_ns(initial), END_OF_TIME), min(duration_ns(maximum), END_OF_TIME)
        _demand(maximum_ns >= initial_ns, f"maximum ({maximum}) must not be shorter than initial ({initial})")
        self._policy = RetryPolicy(
            initial_ns=initial_ns,
            coefficient=float(coefficient),
            maximum_ns=maximum_ns,
            max_attempts=max_attempts or 0,
            jitter=float(jitter),
            non_retryable=tuple(_class_name(entry) for entry in non_retryable),
            bugs=bugs,
        )

    def policy(self) -> RetryPolicy:
        """The kernel's words for it."""
        return self._policy

    def __repr__(self) -> str:
        fields = (f"{name}={getattr(self._policy, name)!r}" for name in self._policy.__struct_fields__)
        return f"Retry({', '.join(fields)})"


def _demand(holds: bool, message: str) -> None:
    if not holds:
        raise DefinitionError(f"Retry: {message}")


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or is_whole(value)


def _class_name(entry: "type[BaseException] | str") -> str:
    if isinstance(entry, str):
        return entry
    _demand(
        isinstance(entry, type) and issubclass(entry, BaseException),
        f"non_retryable takes exception classes or their names, not {entry!r}",
    )
    return entry.__qualname__ if entry.__module__ == "builtins" else f"{entry.__module__}.{entry.__qualname__}"


def _policy_of(retry: "Retry | int | None", owner: str) -> RetryPolicy | None:
    if retry is None:
        return None
    if isinstance(retry, Retry):
        return retry.policy()
    if not is_whole(retry):
        raise DefinitionError(f"{owner}: retry must be a Retry, a number of attempts or None, not {retry!r}")
    return Retry(max_attempts=retry).policy()


def _timeout_of(timeout: "Duration | None", owner: str) -> int | None:
    if timeout is None:
        return None
    ns = min(duration_ns(timeout), END_OF_TIME)
    if ns <= 0:
        raise DefinitionError(f"{owner}: timeout must be longer than nothing, not {timeout!r}; None is no limit")
    return ns


class Options(msgspec.Struct, frozen=True, gc=False):
    """What holds for one call of an activity. None is no limit, or the default policy."""

    timeout_ns: int | None
    policy: RetryPolicy | None


class ActivityDefinition(Generic[P, R]):
    """A function that touches the world, with the options under which its attempts run. `fn` is the original."""

    kind: ClassVar[str] = "activity"
    __slots__ = ("__wrapped__", "default", "fn", "is_async", "name", "parameters", "result", "source")

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        timeout: "Duration | None" = None,
        retry: "Retry | int | None" = None,
        name: str | None = None,
    ) -> None:
        self.source = source_of(fn, "activity")
        self.name = checked_name(name, fn, "activity")
        self.fn = fn
        self.__wrapped__ = fn
        self.is_async = inspect.iscoroutinefunction(fn)
        owner = f"activity {self.name} ({self.source})"
        if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
            raise DefinitionError(f"{owner} is a generator; return a list, or make an activity of each step")
        _demand_no_method(fn, owner)
        self.default = Options(_timeout_of(timeout, owner), _policy_of(retry, owner))
        self.parameters = Parameters.of(fn, owner=owner)
        self.result = ValueType.result_of(fn, owner=owner)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        return Call(self, args, kwargs)

    @property
    def timeout_ns(self) -> int | None:
        """Start to close, in nanoseconds; None is no limit."""
        return self.default.timeout_ns

    @property
    def policy(self) -> RetryPolicy | None:
        """None is the default policy."""
        return self.default.policy

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def __doc__(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.fn.__doc__

    def options(self, base: Options | None = None, **wishes: Any) -> Options:
        """Options of one call: `wishes` (timeout, retry) over `base` over the definition's own."""
        base = base or self.default
        owner = f"call of activity {self.name}"
        return Options(
            _timeout_of(wishes["timeout"], owner) if "timeout" in wishes else base.timeout_ns,
            _policy_of(wishes["retry"], owner) if "retry" in wishes else base.policy,
        )

    def direct(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Run the function here and now: a coroutine on the running loop, a plain function in a thread."""
        return self.fn(*args, **kwargs) if self.is_async else asyncio.to_thread(self.fn, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<activity {self.name} at {self.source}>"


def _demand_no_method(fn: Any, owner: str) -> None:
    """A method is called with an object that does not outlive its process."""
    cls = fn.__qualname__.rpartition(".")[0]
    if cls and not cls.endswith("<locals>") and [*inspect.signature(fn).parameters][:1] in (["self"], ["cls"]):
        raise DefinitionError(
            f"{owner} is a method, and its object cannot be recorded; write a function, or put @staticmethod above @activity, "
            "and let it find what it needs (a connection, a client) in its module or in a ContextVar"
        )


def source_of(fn: Any, kind: str) -> str:
    """`file:line` of a function.

    Raises:
        DefinitionError: it is no plain function.
    """
    if not inspect.isfunction(fn):
        raise DefinitionError(f"@{kind} goes on a function written with def or async def, not on {fn!r}")
    return f"{fn.__code__.co_filename}:{fn.__code__.co_firstlineno}"


def checked_name(name: str | None, fn: Any, kind: str) -> str:
    """The name asked for, or the function's own.

    Raises:
        DefinitionError: it is empty or no text, or the function is a lambda.
    """
    name = fn.__name__ if name is None else name
    if not isinstance(name, str) or not name or name == "<lambda>":
        raise DefinitionError(f"a {kind} needs a name: @{kind}(name=...) of at least one character, not {name!r}")
    return name


def demand_options(kind: str, wishes: Iterable[str], known: tuple[str, ...]) -> None:
    """Refuse options that a decorator does not have.

    Raises:
        DefinitionError: one of them is not known.
    """
    for name in wishes:
        if name not in known:
            of_retry = kind == "activity" and name in inspect.signature(Retry).parameters
            hint = f"; write retry=Retry({name}=...)" if of_retry else did_you_mean(name, known)
            raise DefinitionError(f"@{kind} has no option {name}{hint or '; it has: ' + ', '.join(known)}")


class ActivityInfo(msgspec.Struct, frozen=True):
    """What an attempt may know of itself.

    `id` is the run's id, `run_id` its unique number in hexadecimal digits, `step` the place of this activity in
    the run; `idempotency_key` is the same for all attempts of the step, and of no other step anywhere.
    """

    id: str
    run_id: str
    workflow: str
    activity: str
    step: str
    attempt: int
    scheduled_at: datetime
    timeout: timedelta | None = None

    @property
    def idempotency_key(self) -> str:
        return f"{self.run_id}:{self.step}"


class Attempt(Protocol):
    """What runs in a context, and can tell about itself."""

    def info(self) -> ActivityInfo: ...


attempt_context: contextvars.ContextVar[ActivityInfo | Attempt] = contextvars.ContextVar("perdure.attempt")
"""The attempt that runs in this context; set by the worker, or by a test, which may as well say what is to be told."""


class LogKeeper(Protocol):
    """Keeps what an attempt logs."""

    def keep(self, record: logging.LogRecord) -> None: ...


attempt_log: contextvars.ContextVar[LogKeeper] = contextvars.ContextVar("perdure.attempt_log")
"""Where the records of the attempt in this context are kept; set by the worker."""

_real_logger = logging.getLogger("perdure.activity")


class _AttemptLogger(logging.Logger):
    """Makes records from INFO on in an attempt, which keeps them, whatever levels the application has set up."""

    def isEnabledFor(self, level: int) -> bool:
        kept = level >= logging.INFO and attempt_log.get(None) is not None
        return kept or _real_logger.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        if _real_logger.isEnabledFor(record.levelno):
            _real_logger.handle(record)


class _Decorator(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> ActivityDefinition[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> ActivityDefinition[P, R]: ...


class _Activity:
    """`@activity` makes a function a step that touches the world; `activity.info()` and the rest serve inside it."""

    NonRetryable = NonRetryable
    RetryAfter = RetryAfter
    logger: ClassVar[logging.Logger] = _AttemptLogger("perdure.activity")
    __slots__ = ()

    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> ActivityDefinition[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> ActivityDefinition[P, R]: ...
    @overload
    def __call__(
        self,
        *,
        timeout: "Duration | None" = None,
        retry: "Retry | int | None" = None,
        name: str | None = None,
    ) -> _Decorator: ...
    def __call__(self, fn: Any = None, **options: Any) -> Any:
        """Make an activity of a function; `async def` runs on the loop, `def` in a thread.

        Args:
            timeout: start to close of one attempt (a duration); None is no limit.
            retry: a `Retry`, or a number of attempts; None is the default policy: 1 s, doubled up to 100 s, no end.
            name: under which it is recorded; default is the function's own.
        """
        demand_options("activity", options, ("timeout", "retry", "name"))
        if fn is None:
            return lambda fn: ActivityDefinition(fn, **options)
        return ActivityDefinition(fn, **options)

    def info(self) -> ActivityInfo:
        """The attempt that runs here.

        Raises:
            DefinitionError: no attempt does.
        """
        try:
            attempt = attempt_context.get()
        except LookupError:
            raise DefinitionError(
                "activity.info() is known only in an activity that an engine runs; "
                "in a test, set perdure.activities.attempt_context"
            ) from None
        return attempt if isinstance(attempt, ActivityInfo) else attempt.info()

    def __repr__(self) -> str:
        return "<perdure.activity>"


activity = _Activity()

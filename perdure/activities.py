"""What an activity author imports: the decorator, retry policies, and what an attempt may know of itself."""

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import datetime, timedelta
from typing import Any, ClassVar, Generic, Literal, NoReturn, ParamSpec, Protocol, TypeVar, overload

import msgspec

from perdure.calls import Call
from perdure.errors import DefinitionError, NonRetryable, PayloadTooLarge, RetryAfter
from perdure.kernel.events import Payload, Terms
from perdure.kernel.limits import PAYLOAD_INLINE_BYTES
from perdure.kernel.policy import RetryPolicy
from perdure.options import OPTIONS, Duration, Options, Retry, demand_known, in_transactions
from perdure.payload import Parameters, ValueType
from perdure.payload.misfit import did_you_mean

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C")


class ActivityDefinition(Generic[P, R]):
    """A function that touches the world, with the options under which its attempts run. `fn` is the original.

    Attempts run on the loop if it `is_async`, each in a process of its own if `in_process`, else in threads.
    """

    kind: ClassVar[str] = "activity"
    __slots__ = (
        "__wrapped__",
        "aliases",
        "default",
        "fn",
        "in_process",
        "is_async",
        "name",
        "parameters",
        "result",
        "source",
        "transactional",
    )

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        aliases: Iterable[str] = (),
        runs_in: str | None = None,
        transactional: bool = False,
        **wishes: Any,
    ) -> None:
        self.source = source_of(fn, "activity")
        self.name = checked_name(name, fn, "activity")
        self.aliases = checked_aliases(aliases, self.name, "activity")
        self.fn = fn
        self.__wrapped__ = fn
        self.is_async = inspect.iscoroutinefunction(fn)
        owner = f"activity {self.name} ({self.source})"
        if inspect.isasyncgenfunction(fn) or inspect.isgeneratorfunction(fn):
            raise DefinitionError(f"{owner} is a generator; return a list, or make an activity of each step")
        _demand_no_method(fn, owner)
        self.in_process = _is_for_a_process(runs_in, fn, self.is_async, owner)
        self.transactional = _is_transactional(transactional, self.in_process, owner)
        self.default = self._fitting(Options().over(wishes, owner), owner)
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
    def queue(self) -> str:
        """Whose workers make its attempts; "" is the engine's own process."""
        return "" if self.default.terms is None else self.default.terms.queue

    @property
    def terms(self) -> Terms | None:
        """Queue and further time limits; None is the engine's own process, without any."""
        return self.default.terms

    @property
    def __name__(self) -> str:
        return self.name

    @property
    def __doc__(self) -> str | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.fn.__doc__

    def options(self, base: Options | None = None, **wishes: Any) -> Options:
        """Options of one call: `wishes` over `base` over the definition's own."""
        owner = f"call of activity {self.name}"
        demand_known(wishes, OPTIONS, owner)
        return self._fitting((base or self.default).over(wishes, owner), owner)

    def _fitting(self, options: Options, owner: str) -> Options:
        if not self.transactional:
            return options
        if options.policy is not None and options.policy.at_most_once:
            raise DefinitionError(
                f"{owner}: at_most_once is for what may take effect twice, and a transactional activity takes effect once; leave it out"
            )
        return in_transactions(options)

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


def _is_for_a_process(runs_in: str | None, fn: Any, is_async: bool, owner: str) -> bool:
    """Raise DefinitionError for a place where the function cannot run."""
    if is_async and runs_in is not None:
        raise DefinitionError(
            f"{owner} is an async def, which runs on the loop: leave runs_in={runs_in!r} out, or write it with def"
        )
    if runs_in not in (None, "thread", "process"):
        raise DefinitionError(f'{owner}: runs_in must be "thread" or "process", not {runs_in!r}')
    if runs_in == "process" and ("<locals>" in fn.__qualname__ or "<lambda>" in fn.__qualname__):
        raise DefinitionError(
            f'{owner} with runs_in="process" must be found by another process; move it to the top level of a module, '
            "under a name, and pass as arguments what it takes from around it"
        )
    return runs_in == "process"


def _is_transactional(value: Any, in_process: bool, owner: str) -> bool:
    """Raise DefinitionError for what cannot be in a transaction."""
    if not isinstance(value, bool):
        raise DefinitionError(f"{owner}: transactional is True or False, not {value!r}")
    if value and in_process:
        raise DefinitionError(
            f'{owner} is transactional, and a connection cannot go into another process; leave runs_in="process" out'
        )
    return value


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


def checked_aliases(aliases: Any, name: str, kind: str) -> tuple[str, ...]:
    """The names a definition had before, each once.

    Raises:
        DefinitionError: they are none.
    """
    if isinstance(aliases, str) or not isinstance(aliases, Iterable):
        raise DefinitionError(f"{kind} {name}: aliases is a list of names, not {aliases!r}; write: aliases=[...]")
    found = tuple(dict.fromkeys(aliases))
    for each in found:
        if not isinstance(each, str) or not each:
            raise DefinitionError(f"{kind} {name}: an alias is the name it had before, a text, not {each!r}")
    return tuple(each for each in found if each != name)


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
    `heartbeat_details` is what the latest heartbeat of an earlier attempt carried, as JSON has it; None without one.
    """

    id: str
    run_id: str
    workflow: str
    activity: str
    step: str
    attempt: int
    scheduled_at: datetime
    timeout: timedelta | None = None
    heartbeat_timeout: timedelta | None = None
    heartbeat_details: Any = None
    queue: str = ""

    @property
    def idempotency_key(self) -> str:
        return f"{self.run_id}:{self.step}"


class Attempt(Protocol):
    """What runs in a context, can tell about itself, and be told how it gets on."""

    def info(self) -> ActivityInfo: ...

    def heartbeat(self, details: Payload | None) -> None:
        """The attempt lives. From any thread; returns at once."""
        ...

    def cancelled(self) -> bool:
        """Whether nobody wants its result any more."""
        ...

    def token(self) -> str:
        """Whoever has it may complete the attempt."""
        ...

    def connection(self) -> Any:
        """That of its transaction.

        Raises:
            DefinitionError: it is in none.
        """
        ...

    def write(self, stream: str, data: bytes | None) -> bool:
        """Append a value, as JSON, to a stream of the run; None closes that. From any thread; returns at once. Whether there
        is room for more: what was written waits to be stored.

        Raises:
            StreamError, PayloadError: it cannot be, or one before it could not.
            asyncio.CancelledError: nobody wants it any more.
        """
        ...

    def wait_for_room(self) -> None:
        """Block until there is."""
        ...

    def when_room(self, call: Callable[[], object]) -> None:
        """Make the call once there is, from any thread, or now."""
        ...

    def keep(self, record: logging.LogRecord) -> None:
        """It has logged this. From any thread."""
        ...


def no_transaction(name: str) -> DefinitionError:
    """For an attempt that is in none and asks for its connection."""
    return DefinitionError(
        f"activity {name} has no connection, as it is not transactional: write @activity(transactional=True); in a test, "
        "activity_context(..., connection=...)"
    )


class CompleteLater(BaseException):
    """Ends the function of an attempt whose result comes from elsewhere. Raised by `activity.complete_later()`."""

    is_signal = True


attempt_context: contextvars.ContextVar[Attempt] = contextvars.ContextVar("perdure.attempt")
"""The attempt that runs in this context; set by the worker, or by a test."""

_real_logger = logging.getLogger("perdure.activity")


class _AttemptLogger(logging.Logger):
    """Makes records from INFO on in an attempt, which keeps them, whatever levels the application has set up."""

    def isEnabledFor(self, level: int) -> bool:
        kept = level >= logging.INFO and attempt_context.get(None) is not None
        return kept or _real_logger.isEnabledFor(level)

    def handle(self, record: logging.LogRecord) -> None:
        if _real_logger.isEnabledFor(record.levelno):
            _real_logger.handle(record)


class _Decorator(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> ActivityDefinition[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> ActivityDefinition[P, R]: ...


def _attempt(wish: str) -> Attempt:
    try:
        return attempt_context.get()
    except LookupError:
        raise DefinitionError(
            f"activity.{wish}() is known only in an activity that an engine runs; "
            "in a test, write: with perdure.testing.activity_context(...)"
        ) from None


_any = ValueType.of(Any, owner="activity.heartbeat(details)")


def _details(value: Any) -> Payload:
    data = _any.encode(value)
    if len(data) > PAYLOAD_INLINE_BYTES:
        raise PayloadTooLarge(
            f"the details of a heartbeat have {len(data):,} bytes, and at most {PAYLOAD_INLINE_BYTES:,} are kept; "
            "store them elsewhere and pass a reference"
        )
    return Payload(data)


class _Activity:
    """`@activity` makes a function a step that touches the world; `activity.info()` and the rest serve inside it."""

    NonRetryable = NonRetryable
    Cancelled = asyncio.CancelledError
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
        schedule_to_close: "Duration | None" = None,
        schedule_to_start: "Duration | None" = None,
        heartbeat: "Duration | None" = None,
        retry: "Retry | int | None" = None,
        at_most_once: bool = False,
        queue: str | None = None,
        runs_in: Literal["thread", "process"] | None = None,
        transactional: bool = False,
        name: str | None = None,
        aliases: Iterable[str] = (),
    ) -> _Decorator: ...
    def __call__(self, fn: Any = None, **options: Any) -> Any:
        """Make an activity of a function; `async def` runs on the loop, `def` in a thread or a process.

        Args:
            timeout: start to close of one attempt (a duration); None is no limit.
            schedule_to_close: from the call to its result, all attempts and pauses included (a duration).
            schedule_to_start: how long an attempt may wait to begin (a duration); it is not tried again after that.
            heartbeat: how long an attempt may run without a call of `activity.heartbeat()` (a duration).
            retry: a `Retry`, or a number of attempts; None is the default policy: 1 s, doubled up to 100 s, no end.
            at_most_once: no second attempt, whatever became of the first; if that is not known, the workflow sees
                `OutcomeUnknown`.
            queue: whose workers run it (`perdure worker MODULE --queue Q`); None is the engine's own process.
            runs_in: "thread" (None is the same), or "process" for a `def` that computes, or may crash: each attempt has a
                process to itself, which finds the function by its module, and is killed if it does not end in time.
            transactional: the attempt has a transaction in the database of the runs, on `activity.connection(...)`; what the
                function writes there is committed together with its result, once, and undone if it fails.
            name: under which it is recorded; default is the function's own.
            aliases: names under which it was recorded before: runs and tasks that have them find it.
        """
        demand_options("activity", options, (*OPTIONS, "runs_in", "transactional", "name", "aliases"))
        if fn is None:
            return lambda fn: ActivityDefinition(fn, **options)
        return ActivityDefinition(fn, **options)

    def info(self) -> ActivityInfo:
        """The attempt that runs here.

        Raises:
            DefinitionError: no attempt does.
        """
        return _attempt("info").info()

    def heartbeat(self, details: Any = None) -> None:
        """Tell that the attempt lives, and how far it has come.

        Args:
            details: any JSON value of at most 64 KiB; the next attempt finds it in `activity.info().heartbeat_details`.

        Raises:
            asyncio.CancelledError: (in a plain function) nobody wants the result any more; an `async def` is cancelled
                where it awaits.
            PayloadError: the details cannot be encoded, or are too large.
            DefinitionError: no attempt runs here.
        """
        attempt = _attempt("heartbeat")
        attempt.heartbeat(None if details is None else _details(details))
        if attempt.cancelled() and asyncio._get_running_loop() is None:
            raise asyncio.CancelledError(
                "the activity was cancelled, or its time has run out: its result is not wanted"
            )

    def cancelled(self) -> bool:
        """Whether nobody wants the result any more: the workflow has cancelled it, its time ran out, the engine ends.

        Raises:
            DefinitionError: no attempt runs here.
        """
        return _attempt("cancelled").cancelled()

    def token(self) -> str:
        """A text that stands for this attempt: whoever has it may give the result, from any process, once:
        `client.attempt(token).complete(...)`.

        Raises:
            DefinitionError: no attempt runs here.
        """
        return _attempt("token").token()

    def connection(self, kind: type[C]) -> C:
        """The connection of a transactional activity, in a transaction. `kind` is its class: `psycopg.Connection` on PostgreSQL,
        of an `async def` `psycopg.AsyncConnection`; `sqlite3.Connection` in a file.

        Raises:
            DefinitionError: it is of another class, the activity is not transactional, or no attempt runs here.
        """
        found = _attempt("connection").connection()
        if not isinstance(found, kind):
            of = type(found).__mro__[1] if type(found).__module__.startswith("perdure.") else type(found)
            raise DefinitionError(
                f"the connection of this activity is a {of.__module__}.{of.__name__}, and a {kind.__module__}.{kind.__name__} was asked "
                f"for; write: activity.connection({of.__module__}.{of.__name__})"
            )
        return found

    def complete_later(self) -> NoReturn:
        """End the function here; the result comes from whoever was given `activity.token()`. Time limits go on."""
        _attempt("complete_later")
        raise CompleteLater

    def __repr__(self) -> str:
        return "<perdure.activity>"


activity = _Activity()

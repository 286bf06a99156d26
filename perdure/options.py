"""What an activity can be given beside its code: retry policies, time limits, a queue; and a workflow. Checked here, once."""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, TypeAlias

import msgspec

from perdure.attributes import attributes_of
from perdure.durations import duration_ns
from perdure.errors import DefinitionError
from perdure.kernel import ids
from perdure.kernel.events import Payload, Terms
from perdure.kernel.family import PARENT_CLOSES, TERMINATE, ChildTerms
from perdure.kernel.limits import END_OF_TIME, ID_CHARS, QUEUE_CHARS
from perdure.kernel.policy import DEFAULT_RETRY, RetryPolicy
from perdure.kernel.terms import OWN, RunTerms
from perdure.payload.memo import memo_json
from perdure.payload.misfit import did_you_mean

Duration: TypeAlias = float | str | timedelta

OPTIONS = ("timeout", "schedule_to_close", "schedule_to_start", "heartbeat", "retry", "at_most_once", "queue")
"""All that `@activity(...)` and `with_options(...)` take."""


RUN_OPTIONS = ("run_timeout", "execution_timeout", "retry", "versioning")
"""What `@workflow(...)` takes beside a name. A start may choose others."""


CHILD_OPTIONS = (
    "id",
    "parent_close",
    "cancellation",
    "id_conflict",
    "id_reuse",
    "start_delay",
    "run_timeout",
    "execution_timeout",
    "retry",
    "memo",
    "attributes",
)
"""What `with_options(...)` of a workflow's call takes, which is a child then."""


class Retry:
    """How failed attempts of an activity, or failed runs, are repeated; the defaults are Temporal's.

    Args:
        initial: delay before the second attempt (a duration: seconds, a timedelta or a text like "1s").
        coefficient: factor by which each further delay grows.
        maximum: longest delay (a duration).
        max_attempts: attempts in all, the first included; None is no limit.
        jitter: fraction (0 to 1) by which a delay is spread around its value.
        non_retryable: exception classes, or their names, that end the activity at once.
        bugs: what an exception that means "the code is wrong" does: "hold" the attempt until new code
            or `perdure retry`, "retry" it like any other, or "fail" the activity. A workflow's bugs block its run; of
            those that fail it all the same, only "retry" tries again.

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


_USUAL = Terms()


class Options(msgspec.Struct, frozen=True, gc=False):
    """What holds for one call of an activity. None is no limit, the default policy, the usual terms."""

    timeout_ns: int | None = None
    policy: RetryPolicy | None = None
    terms: Terms | None = None

    def over(self, wishes: Mapping[str, Any], owner: str) -> "Options":
        """These options with `wishes` (some of `OPTIONS`) in their place; `owner` is named in errors.

        Raises:
            DefinitionError: a wish makes no sense, or contradicts another.
        """
        terms = self.terms or _USUAL
        changed: dict[str, Any] = {f"{name}_ns": _limit(wishes[name], name, owner) for name in _TERMS if name in wishes}
        if "queue" in wishes:
            changed["queue"] = _queue(wishes["queue"], owner)
        terms = msgspec.structs.replace(terms, **changed)
        timeout_ns = _limit(wishes["timeout"], "timeout", owner) if "timeout" in wishes else self.timeout_ns
        options = Options(timeout_ns, self._policy(wishes, owner), None if terms == _USUAL else terms)
        _demand_order(options.limits(), owner)
        return options

    def _policy(self, wishes: Mapping[str, Any], owner: str) -> RetryPolicy | None:
        policy = _policy_of(wishes["retry"], owner) if "retry" in wishes else self.policy
        once = wishes.get("at_most_once", self.policy is not None and self.policy.at_most_once)
        if not isinstance(once, bool):
            raise DefinitionError(f"{owner}: at_most_once is True or False, not {once!r}")
        if not once:
            was = self.policy is not None and self.policy.at_most_once and policy is self.policy
            return None if was else policy
        if policy is not None and policy.max_attempts != 1:
            most = policy.max_attempts or "any number of"
            raise DefinitionError(
                f"{owner}: at_most_once allows one attempt, and retry asks for {most}; leave out one of them"
            )
        return msgspec.structs.replace(policy or DEFAULT_RETRY, max_attempts=1, at_most_once=True)

    def limits(self) -> dict[str, int | None]:
        """The time limits by their names, from the longest to the shortest."""
        terms = self.terms or _USUAL
        return {
            "schedule_to_close": terms.schedule_to_close_ns,
            "schedule_to_start": terms.schedule_to_start_ns,
            "timeout": self.timeout_ns,
            "heartbeat": terms.heartbeat_ns,
        }


_TERMS = ("schedule_to_close", "schedule_to_start", "heartbeat")
_NO_LONGER = (
    ("schedule_to_start", "schedule_to_close"),
    ("timeout", "schedule_to_close"),
    ("heartbeat", "schedule_to_close"),
    ("heartbeat", "timeout"),
)
"""Limits of which the first would never be reached if it were longer than the second."""


def _demand_order(limits: Mapping[str, int | None], owner: str) -> None:
    for short, long in _NO_LONGER:
        inner, outer = limits[short], limits[long]
        if inner is not None and outer is not None and inner > outer:
            raise DefinitionError(
                f"{owner}: {short} ({inner / 1e9:g} s) would never be reached, as {long} is shorter ({outer / 1e9:g} s); "
                "make it shorter than that, or leave it out"
            )


def _limit(value: "Duration | None", name: str, owner: str) -> int | None:
    if value is None:
        return None
    try:
        ns = min(duration_ns(value), END_OF_TIME)
    except DefinitionError as error:
        raise DefinitionError(f"{owner}: {name}: {error}") from None
    if ns <= 0:
        raise DefinitionError(f"{owner}: {name} must be longer than nothing, not {value!r}; None is no limit")
    return ns


TRANSACTIONS = "transactional"
"""The queue of transactional activities that name none. Each engine that knows one serves it."""


def in_transactions(options: "Options") -> "Options":
    """The same for a transactional activity: its attempts are tasks, in a queue."""
    terms = options.terms or _USUAL
    if terms.queue:
        return options
    return msgspec.structs.replace(options, terms=msgspec.structs.replace(terms, queue=TRANSACTIONS))


def _queue(value: Any, owner: str) -> str:
    return "" if value is None else checked_queue(value, owner)


def checked_queue(value: Any, owner: str) -> str:
    """The name of a queue, if it can be one.

    Raises:
        DefinitionError: it cannot.
    """
    if (
        not isinstance(value, str)
        or not value
        or len(value) > QUEUE_CHARS
        or not value.isprintable()
        or value != value.strip()
    ):
        raise DefinitionError(
            f"{owner}: a queue is named by a text of 1 to {QUEUE_CHARS} printable characters, not {value!r}; "
            "None is the engine's own process"
        )
    return value


def run_terms(wishes: Mapping[str, Any], owner: str) -> RunTerms:
    """The terms of runs that some of `RUN_OPTIONS` stand for; `owner` is named in errors.

    Raises:
        DefinitionError: a wish makes no sense.
    """
    return RunTerms(
        run_timeout_ns=_limit(wishes.get("run_timeout"), "run_timeout", owner),
        execution_timeout_ns=_limit(wishes.get("execution_timeout"), "execution_timeout", owner),
        retry=_policy_of(wishes.get("retry"), owner),
        pinned=_is_pinned(wishes.get("versioning"), owner),
    )


def demand_known(wishes: Iterable[str], known: tuple[str, ...], owner: str) -> None:
    """Refuse options that a call does not have.

    Raises:
        DefinitionError: one of them is not known.
    """
    for name in wishes:
        if name not in known:
            hint = did_you_mean(name, known) or f"; it has: {', '.join(known)}"
            raise DefinitionError(f"{owner} has no option {name}{hint}")


def _is_pinned(value: Any, owner: str) -> bool:
    if value not in (None, "auto", "pinned"):
        raise DefinitionError(
            f'{owner}: versioning is "auto" (any build whose code fits goes on with the run) or "pinned" (only the build '
            f"that has begun it), not {value!r}"
        )
    return bool(value == "pinned")


def delay_of(value: "Duration | None", name: str, owner: str) -> int:
    """A delay in nanoseconds; None is none.

    Raises:
        DefinitionError: it is no duration.
    """
    return 0 if value in (None, 0) else _limit(value, name, owner) or 0


class ChildOptions(msgspec.Struct, frozen=True):
    """What holds for one child. `id` None: one is made. `wishes` are what it was made of."""

    id: str | None = None
    cancellation: str = "wait"
    terms: ChildTerms | None = None
    memo: Payload | None = None
    wishes: Mapping[str, Any] = {}

    def over(self, wishes: Mapping[str, Any], owner: str) -> "ChildOptions":
        """These options with `wishes` (some of `CHILD_OPTIONS`) in their place; `owner` is named in errors.

        Raises:
            DefinitionError: a wish makes no sense.
        """
        wishes = {**self.wishes, **wishes}
        memo = wishes.get("memo")
        id = wishes.get("id")
        return ChildOptions(
            id=None if id is None else checked_id(id),
            cancellation=_one_of("cancellation", wishes.get("cancellation", "wait"), CANCELLATIONS, owner),
            terms=_child_terms(wishes, owner),
            memo=None if memo is None else Payload(memo_json(memo, owner)),
            wishes=wishes,
        )

    def terms_for(self, awaits_start: bool) -> ChildTerms | None:
        """The terms of a child whose start is waited for, or not."""
        if not awaits_start:
            return self.terms
        return msgspec.structs.replace(self.terms or ChildTerms(), awaits_start=True)

    def demand_only(self, names: tuple[str, ...], owner: str) -> None:
        """Raises DefinitionError if there are others."""
        for name in self.wishes:
            if name not in names:
                raise DefinitionError(f"{owner} takes no option {name!r}; there are: {', '.join(names)}")


CANCELLATIONS = ("wait", "try", "abandon")
"""What becomes of a child that is awaited by something that is cancelled: ask it to stop and wait for its end, ask and do
not wait, or let it go on."""

USUAL_CHILD = ChildOptions()


def _child_terms(wishes: Mapping[str, Any], owner: str) -> ChildTerms | None:
    own = {name: wishes[name] for name in RUN_OPTIONS if name in wishes}
    attributes = attributes_of(wishes.get("attributes"), owner)
    terms = msgspec.structs.replace(run_terms(own, owner), attributes=attributes)
    child = ChildTerms(
        parent_close=_one_of("parent_close", wishes.get("parent_close", TERMINATE), PARENT_CLOSES, owner),
        id_conflict=_one_of("id_conflict", wishes.get("id_conflict"), (ids.FAIL, ids.TERMINATE_EXISTING), owner),
        id_reuse=_one_of("id_reuse", wishes.get("id_reuse"), ids.REUSES, owner),
        delay_ns=delay_of(wishes.get("start_delay"), "start_delay", owner),
        terms=None if terms == RunTerms() else terms,
        chosen=tuple(field for name, field in zip(RUN_OPTIONS, OWN, strict=True) if name in wishes),
    )
    return None if child == ChildTerms() else child


def _one_of(name: str, value: Any, known: tuple[str, ...], owner: str) -> str:
    if value is None and name.startswith("id_"):
        return ""
    if value not in known:
        words = ", ".join(f'"{each}"' for each in known)
        raise DefinitionError(f"{owner}: {name} is one of {words}, not {value!r}{did_you_mean(str(value), known)}")
    return value


def checked_id(id: Any) -> str:
    """The id of a run, if it can be one.

    Raises:
        DefinitionError: it cannot.
    """
    if not isinstance(id, str) or not id:
        raise DefinitionError(f"an id is a text of 1 to {ID_CHARS} characters, not {id!r}")
    if len(id) > ID_CHARS:
        raise DefinitionError(f"the id {id[:40] + '…'!r} has {len(id)} characters; at most {ID_CHARS} are allowed")
    if not id.isprintable() or id != id.strip():
        raise DefinitionError(f"the id {id!r} has characters that cannot be printed, or blanks around it")
    return id


def checked_run_id(run_id: Any) -> str | None:
    """The number of a run, if it can be one.

    Raises:
        DefinitionError: it does not have 32 hex digits.
    """
    if run_id is None or (isinstance(run_id, str) and re.fullmatch("[0-9a-fA-F]{32}", run_id)):
        return run_id
    raise DefinitionError(f"a run_id has 32 hex digits, as in handle.run_id and lists, and {run_id!r} has not")

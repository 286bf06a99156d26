"""Exceptions as data and back."""

from typing import Any

import pytest

from perdure.activities import activity
from perdure.errors import ActivityFailed, ActivityTimedOut, RemoteError, RetryAfter
from perdure.failures import activity_error, failure_of, remote_error
from perdure.kernel.limits import FAILURE_CAUSES, FAILURE_LEAVES, FAILURE_MESSAGE_CHARS, TRACEBACK_CHARS
from perdure.languages.python.guard import WorkflowInterrupted


class CardDeclined(Exception):
    pass


def caught(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as raised:  # noqa: BLE001
        return raised


def test_the_name_of_a_class_says_where_it_is_from_unless_it_is_a_builtin() -> None:
    assert failure_of(caught(CardDeclined("no"))).type == f"{__name__}.CardDeclined"
    assert failure_of(caught(ValueError("no"))).type == "ValueError"


def test_the_traceback_ends_with_the_line_that_raised() -> None:
    failure = failure_of(caught(ValueError("no such card")))

    assert failure.message == "no such card"
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert "raise error from cause" in failure.traceback
    assert failure.traceback.endswith("ValueError: no such card\n")


def test_frames_of_the_engine_are_left_out() -> None:
    @activity
    def greet(name: str) -> str:
        return name

    with pytest.raises(TypeError) as raised:
        greet.parameters.encode((1,), {})

    trace = failure_of(raised.value).traceback
    assert "greet.parameters.encode" in trace
    assert "perdure/payload" not in trace


def test_causes_are_kept_in_order_and_a_suppressed_context_is_not() -> None:
    def fail() -> None:
        try:
            raise KeyError("inner")
        except KeyError:
            raise ValueError("outer") from None

    chained = failure_of(caught(ValueError("outer"), caught(KeyError("inner"))))
    with pytest.raises(ValueError) as raised:
        fail()

    assert chained.cause is not None and chained.cause.type == "KeyError"
    assert failure_of(raised.value).cause is None


def test_the_engines_own_signals_are_nobodys_cause() -> None:
    with pytest.raises(ValueError) as raised:
        try:
            raise WorkflowInterrupted
        except WorkflowInterrupted:
            raise ValueError("afterwards")  # noqa: B904

    assert failure_of(raised.value).cause is None


def test_a_chain_without_end_is_cut() -> None:
    error = ValueError("0")
    for n in range(1, 100):
        error = caught(ValueError(str(n)), error)  # type: ignore[assignment]

    failure, depth = failure_of(error), 1
    while failure.cause is not None:
        failure, depth = failure.cause, depth + 1

    assert depth == FAILURE_CAUSES


def test_texts_are_cut_in_the_middle_to_their_limits() -> None:
    def recurse(n: int) -> None:
        if n:
            recurse(n - 1)
        raise ValueError("begin " + "x" * 50_000 + " end")

    with pytest.raises(ValueError) as raised:
        recurse(3)
    failure = failure_of(raised.value)

    assert len(failure.message) == FAILURE_MESSAGE_CHARS
    assert len(failure.traceback) == TRACEBACK_CHARS
    assert failure.message.startswith("begin ") and failure.message.endswith(" end")


def test_lone_surrogates_are_shown_instead_of_stored() -> None:
    assert failure_of(ValueError("\ud800")).message == "\\ud800"


def test_an_exception_that_cannot_tell_its_message_is_kept_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    failure = failure_of(caught(Mute()))

    assert "cannot be made: RuntimeError" in failure.message


def test_what_an_activity_says_about_retries_is_kept() -> None:
    assert failure_of(activity.NonRetryable("stop")).non_retryable
    assert failure_of(RetryAfter("5m")).retry_after_ns == 300 * 10**9
    assert failure_of(NameError("x")).is_bug
    assert not failure_of(KeyError("x")).is_bug


def test_a_delay_that_is_none_is_a_bug() -> None:
    failure = failure_of(RetryAfter("soonish"))

    assert failure.is_bug and failure.retry_after_ns is None
    assert "soonish" in failure.message


def test_the_leaves_of_groups_are_flat_and_bounded() -> None:
    group = ExceptionGroup("all", [ValueError("a"), ExceptionGroup("b", [KeyError(str(n)) for n in range(50)])])

    failure = failure_of(group)

    assert [leaf.type for leaf in failure.leaves[:2]] == ["ValueError", "KeyError"]
    assert len(failure.leaves) == FAILURE_LEAVES


def test_an_activity_error_has_the_remote_traceback_as_its_cause() -> None:
    failure = failure_of(caught(ConnectionError("refused"), caught(OSError("111"))))

    error = activity_error("charge", 3, failure, reason="exhausted")

    assert type(error) is ActivityFailed
    assert str(error) == "activity charge failed after 3 attempts: ConnectionError: refused"
    assert error.is_a(ConnectionError) and not error.is_a(OSError)
    assert isinstance(error.__cause__, RemoteError)
    assert "raise error from cause" in error.__cause__.remote_traceback
    assert isinstance(error.__cause__.__cause__, RemoteError)
    assert type(activity_error("charge", 1, failure, reason="timeout")) is ActivityTimedOut


def test_a_class_of_a_script_is_the_same_when_the_script_is_imported() -> None:
    in_script = type("CardDeclined", (Exception,), {"__module__": "__main__", "__qualname__": "CardDeclined"})

    assert ActivityFailed("charge", 1, "__main__.CardDeclined", "no").is_a(CardDeclined)
    assert ActivityFailed("charge", 1, f"{__name__}.CardDeclined", "no").is_a(in_script)
    assert not ActivityFailed("charge", 1, "bank.CardDeclined", "no").is_a(CardDeclined)
    assert not ActivityFailed("charge", 1, "bank.Unreachable", "no").is_a(in_script)


def test_a_remote_error_becomes_the_same_data_again() -> None:
    failure = failure_of(caught(CardDeclined("no"), caught(OSError("111"))))

    again = failure_of(remote_error(failure))

    assert (again.type, again.message, again.traceback) == (failure.type, failure.message, failure.traceback)
    assert again.cause is not None and failure.cause is not None and again.cause.message == failure.cause.message


def test_what_a_users_own_class_calls_its_code_is_not_taken_for_ours():
    class Declined(activity.NonRetryable):
        code = 402  # type: ignore[assignment]

    assert failure_of(caught(Declined("no"))).code == "non-retryable"


def test_an_exception_that_cannot_be_taken_apart_is_told_by_its_class_alone():
    class Closed(Exception):
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    failure = failure_of(Closed("secret"))

    assert failure.type.endswith(".Closed")
    assert failure.message == "(what it says cannot be told: RuntimeError)"


def test_the_leaves_of_groups_that_are_deeper_than_calls_can_be_are_found():
    group: BaseException = ValueError("in the depths")
    for _ in range(5_000):
        group = ExceptionGroup("one of many", [group])  # type: ignore[list-item]

    failure = failure_of(group)

    assert failure.message == "one of many (1 sub-exception)"
    assert [leaf.message for leaf in failure.leaves] == ["in the depths"]


def test_each_exception_is_told_once_however_many_have_it_for_a_cause():
    group = ExceptionGroup("again", [ValueError(str(n)) for n in range(20)])
    for leaf in group.exceptions:
        leaf.__cause__ = group

    failure = failure_of(group)

    assert len(failure.leaves) == 20
    assert not any(leaf.cause for leaf in failure.leaves)

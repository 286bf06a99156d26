"""Options of activities: what has no sense is refused where it is written, and says what to write instead."""

from collections.abc import Callable
from typing import Any

import pytest

from perdure import DefinitionError, Retry, activity, workflow


def charge() -> None: ...


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Retry(coefficient="2"), "coefficient must be a number from 1 on, not '2'"),
        (lambda: Retry(coefficient=float("nan")), "coefficient must be a number from 1 on, not nan"),
        (lambda: Retry(jitter="x"), "jitter must be a number between 0 and 1, not 'x'"),
        (lambda: Retry(max_attempts=True), "max_attempts must be a whole number from 1 on"),
        (
            lambda: Retry(non_retryable="ValueError"),
            "non_retryable must be a tuple of exception classes or their names",
        ),
        (lambda: Retry(non_retryable=ValueError), "as in (ValueError,), not <class 'ValueError'>"),
        (lambda: Retry(initial="2m", maximum="1m"), "maximum (1m) must not be shorter than initial (2m)"),
        (lambda: activity(timout=3)(charge), "@activity has no option timout; did you mean timeout?"),
        (lambda: activity(max_attempts=3)(charge), "no option max_attempts; write retry=Retry(max_attempts=...)"),
        (lambda: activity(priority=1)(charge), "no option priority; it has: timeout, schedule_to_close, "),
        (lambda: activity(retry="abc")(charge), "retry must be a Retry, a number of attempts or None, not 'abc'"),
        (lambda: workflow(timeout=3), "@workflow has no option timeout; did you mean run_timeout?"),
    ],
)
def test_an_option_that_has_no_sense_is_refused(make: Callable[[], Any], message: str):
    with pytest.raises(DefinitionError) as refused:
        make()

    assert message in str(refused.value)


def test_names_of_exceptions_may_be_a_list():
    assert Retry(non_retryable=[ValueError, "shop.Declined"]).policy().non_retryable == ("ValueError", "shop.Declined")  # type: ignore[arg-type]


def test_a_method_is_no_activity():
    with pytest.raises(DefinitionError, match="is a method, and its object cannot be recorded"):

        class Shop:
            @activity
            def charge(self, amount: int) -> None: ...


def test_a_static_method_is_an_activity():
    class Shop:
        @staticmethod
        @activity
        def charge(amount: int) -> None: ...

    assert Shop.charge.name == "charge"

"""Functions that stand in for activities, and what is known of the calls."""

import functools
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from perdure import DefinitionError, RunBlocked, RunFailed, activity, workflow
from perdure.testing import TestEngine


@activity(retry=2)
async def charge(account: str, amount: int, *, currency: str = "EUR") -> str:
    raise AssertionError("the world was touched")


@activity
def deliver(*items: str, **labels: str) -> int:
    raise AssertionError("the world was touched")


@activity
def other() -> None: ...


@workflow
async def order(account: str, amount: int) -> str:
    return await charge(account, amount)


@workflow
async def parcel() -> int:
    return await deliver("a", "b", fragile="yes")


async def pays(account: str, amount: int, *, currency: str) -> str:
    return f"{account} paid {amount} {currency}"


def pays_in_a_thread(account: str, amount: int, currency: str = "") -> str:
    return f"{account} paid {amount} {currency}"


class Till:
    async def pays(self, account: str, amount: int, *, currency: str) -> str:
        return f"{account} paid {amount} {currency}"

    async def __call__(self, account: str, amount: int, *, currency: str) -> str:
        return f"{account} paid {amount} {currency}"


def counted(prefix: str, account: str, amount: int, *, currency: str) -> str:
    return f"{account} paid {amount} {currency}{prefix}"


@activity
async def pays_as_activity(account: str, amount: int, *, currency: str) -> str:
    return f"{account} paid {amount} {currency}"


@pytest.mark.parametrize(
    "stand_in",
    [
        pays,
        pays_in_a_thread,
        Till().pays,
        Till(),
        functools.partial(counted, ""),
        pays_as_activity,
        lambda *_, **__: "ada paid 5 EUR",
        lambda _a, _b, currency: "ada paid 5 EUR",
        Mock(return_value="ada paid 5 EUR"),
        AsyncMock(return_value="ada paid 5 EUR"),
    ],
    ids=["async", "plain", "method", "object", "partial", "activity", "any", "unnamed", "mock", "async mock"],
)
def test_whatever_can_be_called_like_the_activity_stands_in_for_it(stand_in: Any) -> None:
    with TestEngine([order], activities={charge: stand_in}) as engine:
        assert engine.run(order("ada", 5)).wait() == "ada paid 5 EUR"


def test_calls_are_known_by_their_arguments_and_attempts() -> None:
    async def fails_once(account: str, amount: int, *, currency: str) -> str:
        if activity.info().attempt == 1:
            raise ConnectionError("not yet")
        return "paid"

    with TestEngine([order], activities={charge: fails_once}) as engine:
        engine.run(order("ada", 5), id="order-1").wait()

        first, second = engine.calls(charge)
    assert first.arguments == {"account": "ada", "amount": 5, "currency": "EUR"}
    assert (first.attempt, second.attempt) == (1, 2)
    assert first.info.id == "order-1"


def test_calls_of_an_activity_that_nothing_stands_in_for_are_known_as_well() -> None:
    @activity
    def real(n: int) -> int:
        return n + 1

    @workflow
    async def adds(n: int) -> int:
        return await real(n)

    with TestEngine([adds, real]) as engine:
        assert engine.run(adds(1)).wait() == 2

        assert [call.arguments for call in engine.calls(real)] == [{"n": 1}]


def test_all_that_a_function_with_many_arguments_was_given_is_known() -> None:
    with TestEngine([parcel], activities={deliver: lambda *items, **labels: len(items) + len(labels)}) as engine:
        assert engine.run(parcel()).wait() == 3

        assert engine.calls(deliver)[0].arguments == {"items": ("a", "b"), "labels": {"fragile": "yes"}}


def test_a_stand_in_can_be_changed_and_the_activity_put_back() -> None:
    with TestEngine([order], activities={charge: pays}) as engine:
        engine.run(order("ada", 5)).wait()

        engine.replace(charge, charge)

        with pytest.raises(RunBlocked, match="the world was touched"):
            engine.run(order("ada", 5)).wait()
        assert len(engine.calls(charge)) == 2


def test_the_options_of_the_activity_hold_for_its_stand_in() -> None:
    async def declines(account: str, amount: int, *, currency: str) -> str:
        raise ConnectionError("down")

    with TestEngine([order], activities={charge: declines}) as engine:
        with pytest.raises(RunFailed):
            engine.run(order("ada", 5)).wait()

        assert [call.attempt for call in engine.calls(charge)] == [1, 2]


def test_the_real_activity_is_left_as_it_was() -> None:
    with TestEngine([order], activities={charge: pays}) as engine:
        engine.run(order("ada", 5)).wait()

    assert charge.fn.__name__ == "charge"
    with TestEngine([order, charge]) as engine, pytest.raises(RunBlocked, match="the world was touched"):
        engine.run(order("ada", 5)).wait()


async def too_few(account: str) -> str:
    return account


async def mixed_up(amount: int, account: str, *, currency: str) -> str:
    return account


async def too_many(account: str, amount: int, rate: float, *, currency: str) -> str:
    return account


@pytest.mark.parametrize(
    ("stand_in", "problem"),
    [
        (too_few, "too many positional arguments; expected charge(account: str, amount: int"),
        (mixed_up, "argument 1 is called 'amount' instead of 'account'"),
        (too_many, "missing a required argument: 'rate'"),
        ("txn-1", "must be a function, not 'txn-1'; for a result that is always the same: lambda *_: 'txn-1'"),
    ],
)
def test_what_cannot_be_called_like_the_activity_is_refused(stand_in: Any, problem: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        TestEngine([order], activities={charge: stand_in})

    assert problem in str(refused.value)
    assert "what stands in for activity charge" in str(refused.value)


def test_a_refused_stand_in_changes_nothing() -> None:
    with TestEngine([order], activities={charge: pays}) as engine:
        with pytest.raises(DefinitionError):
            engine.replace(charge, too_few)

        assert engine.run(order("ada", 5)).wait() == "ada paid 5 EUR"


def test_an_activity_that_the_engine_does_not_know_is_refused() -> None:
    with TestEngine([order], activities={charge: pays}) as engine:
        with pytest.raises(
            DefinitionError, match=r"was not given the activity 'other'; write: TestEngine\(\[..., other"
        ):
            engine.replace(other, lambda: None)
        with pytest.raises(DefinitionError, match="an activity was expected, not <function pays"):
            engine.calls(pays)  # type: ignore[arg-type]

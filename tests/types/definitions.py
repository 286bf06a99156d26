"""Workflows and activities as a type checker sees them; `make check` reads this file, nothing runs it."""

# pyright: strict

import asyncio
import sqlite3
from collections.abc import Coroutine, Sequence
from datetime import timedelta
from typing import Any, assert_type

from perdure import (
    Call,
    ChildHandle,
    Retry,
    activity,
    channel,
    continue_as_new,
    deprecate_patch,
    external,
    patched,
    publish,
    saga,
    sleep,
    start_child,
    wait_until,
    workflow,
)
from perdure.activities import ActivityDefinition
from perdure.workflows import Compensation, Saga, WorkflowDefinition


@activity
async def charge(amount: float, account: str, *, currency: str = "EUR") -> str:
    return account


@activity
def update_stock(item: str) -> int:
    return 1


@activity(transactional=True, timeout="5s")
def book(item: str) -> int:
    assert_type(activity.connection(sqlite3.Connection), sqlite3.Connection)
    return 1


@activity(timeout="1m", retry=Retry(max_attempts=3))
async def rate(amount: float) -> float | None:
    return None


@activity(timeout=timedelta(minutes=1), retry=5, name="send-mail", aliases=["mail"])
def send_mail(to: Sequence[str]) -> None: ...


@workflow
async def order(amount: float, account: str, item: str = "pen") -> str:
    return account


@workflow(name="order-v2", aliases=("order-v1",), versioning="pinned")
async def order_again(amount: float) -> dict[str, int]:
    return {}


@workflow
class Onboarding:
    def __init__(self) -> None:
        self.step = 0

    @workflow.run
    async def run(self, customer: str, days: int = 30) -> list[str]:
        assert_type(await charge(1, customer), str)
        assert_type(self.step, int)
        return [customer]


@workflow(name="offboarding")
class Offboarding:
    @workflow.run
    async def leave(self) -> None: ...


async def calls_of_activities() -> None:
    assert_type(charge(10, "acct"), Call[str])
    assert_type(await charge(10, account="acct", currency="USD"), str)
    assert_type(await update_stock("pen"), int)
    assert_type(await rate(1.5), float | None)
    assert_type(await send_mail(["ada@example.com"]), None)


async def calls_under_other_options() -> None:
    assert_type(charge(10, "acct").with_options(timeout="5m"), Call[str])
    assert_type(await update_stock("pen").with_options(retry=Retry(initial="1s"), timeout=None), int)


async def calls_of_workflows() -> None:
    assert_type(order(10, "acct"), Call[str])
    assert_type(await order(10, "acct", item="ink"), str)
    assert_type(await order_again(1), dict[str, int])


async def calls_of_workflow_classes() -> None:
    assert_type(Onboarding.run("acme"), Call[list[str]])
    assert_type(Onboarding.run("acme", days=3), Call[list[str]])
    assert_type(Offboarding.leave(), Call[None])
    method: Coroutine[Any, Any, list[str]] = Onboarding().run("acme")
    assert_type(await method, list[str])
    assert_type(Onboarding().step, int)


async def calls_in_asyncio() -> None:
    assert_type(await asyncio.gather(charge(1, "a"), update_stock("pen")), tuple[str, int])
    assert_type(await asyncio.gather(*[update_stock(item) for item in ("pen", "ink")]), list[int])
    assert_type(await asyncio.wait_for(charge(1, "a"), 5), str)
    assert_type(await asyncio.shield(charge(1, "a")), str)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(charge(1, "a"))
        other = asyncio.create_task(update_stock("pen"))
    assert_type(task, asyncio.Task[str])
    assert_type(other.result(), int)
    for next_done in asyncio.as_completed([charge(1, "a"), charge(2, "b")]):
        assert_type(await next_done, str)


async def what_a_workflow_may_ask() -> None:
    assert_type(workflow.side_effect(lambda: 7), int)
    assert_type(patched("send-before-charge"), bool)
    deprecate_patch("charge-before-send")
    assert_type(workflow.random().random(), float)
    assert_type(workflow.info().id, str)
    await sleep("3 days")
    await sleep(timedelta(days=3))


async def call_off(what: str, *, why: str = "") -> int:
    return len(what)


async def what_a_saga_may_undo() -> None:
    async with saga() as undo:
        assert_type(undo, Saga)
        assert_type(undo(charge, 10, "acct"), Compensation)
        assert_type(undo(charge, 10, account="acct", currency="USD"), Compensation)
        assert_type(undo(update_stock, "pen"), Compensation)
        assert_type(undo(send_mail, ["ada@example.com"]), Compensation)
        assert_type(undo(charge(10, "acct").with_options(timeout="5m")), Compensation)
        assert_type(undo(call_off, "flight", why="rain"), Compensation)
        undo(update_stock, "pen").discard()
    async with saga(parallel=True) as undo:
        undo(rate, 1.5)


async def what_a_workflow_may_start() -> None:
    assert_type(await order(10, "acct"), str)
    assert_type(await order(10, "acct").with_options(id="o", parent_close="abandon", retry=3), str)
    child = await start_child(order_again(1.5))
    assert_type(child, ChildHandle[dict[str, int]])
    assert_type(await child, dict[str, int])
    assert_type(await child.result(), dict[str, int])
    assert_type(await asyncio.gather(order(1, "a"), charge(2, "b")), tuple[str, str])
    child.cancel("enough")
    await external("other").cancel()
    await external("other").signal(replies, "yes")
    assert_type(workflow.info().history_length, int)
    if workflow.info().continue_as_new_suggested:
        continue_as_new(10, "acct")


def what_an_activity_may_ask() -> None:
    assert_type(activity.info().attempt, int)
    assert_type(activity.info().idempotency_key, str)


def definitions_as_values() -> None:
    assert_type(charge.name, str)
    assert_type(order.name, str)
    activities: list[ActivityDefinition[Any, Any]] = [charge, update_stock, rate, send_mail]
    workflows: list[WorkflowDefinition[Any, Any]] = [order, order_again, Onboarding.run, Offboarding.leave]
    assert activities and workflows


replies = channel("reply", str)
anything = channel("anything")


@workflow
class Loan:
    @workflow.run
    async def run(self, amount: int) -> str:
        await wait_until(lambda: True, timeout="1 day")
        publish("amount", amount)
        return await replies.receive(timeout=5)

    @workflow.signal
    def decide(self, approved: bool, by: str = "") -> None: ...

    @workflow.signal(name="note it")
    async def note(self, text: str) -> None:
        self.decide(True, by=text)

    @workflow.query
    def state(self, unit: str = "EUR") -> dict[str, int]:
        return {}

    @workflow.update
    async def raise_by(self, more: int) -> float:
        return 0.5

    @raise_by.validator
    def check(self, more: int) -> None: ...

    @workflow.update
    def double(self) -> int:
        return 2

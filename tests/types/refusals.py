"""What a type checker must refuse: each line is an error, and it is an error here if one of them is not."""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from typing import Any

from perdure import Client, Engine, Handle, Retry, activity, saga, workflow

from .definitions import Loan, Onboarding, call_off, charge, order, replies, update_stock


async def arguments_of_activities() -> None:
    await charge("ten", "acct")  # pyright: ignore[reportArgumentType]
    await charge(10)  # pyright: ignore[reportCallIssue]
    await charge(10, "acct", "EUR")  # pyright: ignore[reportCallIssue]
    await charge(10, "acct", currncy="EUR")  # pyright: ignore[reportCallIssue]
    await update_stock(item=1)  # pyright: ignore[reportArgumentType]


async def results_of_activities() -> None:
    amount: float = await charge(10, "acct")  # pyright: ignore[reportAssignmentType]
    (await update_stock("pen")).upper()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    assert amount


async def a_call_is_not_its_result() -> None:
    name: str = charge(10, "acct")  # pyright: ignore[reportAssignmentType]
    assert name


async def arguments_of_compensations() -> None:
    async with saga() as undo:
        undo(charge, "ten", "acct")  # pyright: ignore[reportArgumentType]
        undo(charge, 10)  # pyright: ignore[reportCallIssue]
        undo(update_stock, itme="pen")  # pyright: ignore[reportCallIssue]
        undo(call_off, 7)  # pyright: ignore[reportArgumentType]
        undo(lambda: None)  # pyright: ignore[reportArgumentType, reportCallIssue]
        undo(charge(10, "acct"), 10)  # pyright: ignore[reportArgumentType, reportCallIssue]
    saga(paralel=True)  # pyright: ignore[reportCallIssue]


async def arguments_of_workflows(engine: Engine) -> None:
    await engine.run(order("ten", "acct"))  # pyright: ignore[reportArgumentType]
    await engine.start(order(10))  # pyright: ignore[reportCallIssue, reportUnknownArgumentType]
    await engine.run(Onboarding.run())  # pyright: ignore[reportCallIssue, reportUnknownArgumentType]
    await engine.run(Onboarding.run("acme", days="3"))  # pyright: ignore[reportArgumentType]


async def results_of_workflows(engine: Engine, client: Client) -> None:
    number: int = await engine.run(order(10, "acct"))  # pyright: ignore[reportAssignmentType]
    handle: Handle[int] = await engine.start(order(10, "acct"))  # pyright: ignore[reportAssignmentType]
    found: Handle[int] = client.handle("order-1", order)  # pyright: ignore[reportAssignmentType]
    assert number and handle and found


async def things_that_are_no_calls(engine: Engine) -> None:
    await engine.run(order)  # pyright: ignore[reportArgumentType, reportCallIssue]
    await engine.run(order(10, "acct"), [1])  # pyright: ignore[reportArgumentType]
    engine.start(order(10, "acct"), "order-1")  # pyright: ignore[reportArgumentType]


def options(engine: Engine) -> None:
    charge(10, "acct").with_options(timeuot="5m")  # pyright: ignore[reportCallIssue]
    Retry(attempts=3)  # pyright: ignore[reportCallIssue]
    Retry(initial=None)  # pyright: ignore[reportArgumentType]
    Engine("sqlite:///orders.db", [order], thread=8)  # pyright: ignore[reportCallIssue]
    engine.handle("order-1").cancel(7)  # pyright: ignore[reportArgumentType]


@workflow  # pyright: ignore[reportArgumentType, reportCallIssue, reportUntypedFunctionDecorator]
def not_async(amount: float) -> float:
    return amount


@activity(timeout=[1])  # pyright: ignore[reportArgumentType]
async def without_sense(amount: Any) -> None: ...


async def messages(engine: Engine, loan: Handle[str]) -> None:
    await loan.signal(Loan.decide, "yes")  # pyright: ignore[reportArgumentType, reportCallIssue]
    await loan.signal(Loan.decide)  # pyright: ignore[reportCallIssue]
    await loan.signal(Loan.raise_by, 5)  # pyright: ignore[reportArgumentType, reportCallIssue]
    await loan.signal(replies, 5)  # pyright: ignore[reportArgumentType, reportCallIssue]
    await loan.query(Loan.state, 5)  # pyright: ignore[reportArgumentType, reportCallIssue]
    await loan.update(Loan.raise_by, "5")  # pyright: ignore[reportArgumentType, reportCallIssue]
    Loan.decide.message("yes")  # pyright: ignore[reportArgumentType]
    await engine.start(Loan.run(5), signal=Loan.decide)  # pyright: ignore[reportArgumentType, reportCallIssue]

"""Engines, clients and handles as a type checker sees them; `make check` reads this file, nothing runs it."""

# pyright: strict

import sqlite3
from collections.abc import Sequence
from types import ModuleType
from typing import Any, assert_type

from perdure import Client, Engine, Handle, RunDescription, RunSummary, StreamChunk, stream
from perdure.client.answer import Answer
from perdure.client.streams import StreamInfo
from perdure.client.talking import UpdateHandle
from perdure.streams import Stream
from perdure.testing import ExportedRun, Report, Verdict, replay

from .definitions import Loan, Onboarding, anything, charge, order, order_again, replies


async def with_a_loop(shop: ModuleType) -> None:
    async with Engine("sqlite:///orders.db", [order, charge, Onboarding, shop], threads=8, drain="10s") as engine:
        assert_type(engine, Engine)
        assert_type(await engine.run(order(10, "acct"), id="order-1"), str)
        assert_type(await engine.run(Onboarding.run("acme")), list[str])
        assert_type(await engine.start(order(10, "acct")), Handle[str])
        assert_type(await engine.start(order(10, "acct")) == await engine.start(order_again(1)), bool)


def without_a_loop() -> None:
    with Engine("sqlite:///orders.db", [order, charge]) as engine:
        assert_type(engine.run(order(10, "acct")), Answer[str])
        assert_type(engine.run(order(10, "acct")).wait(), str)
        assert_type(engine.start(order_again(10), id="order-2").wait(), Handle[dict[str, int]])
        assert_type(engine.owns, bool)


async def handles(engine: Engine) -> None:
    handle = await engine.start(order(10, "acct"), id="order-1")
    assert_type(handle.id, str)
    assert_type(handle.result(), Answer[str])
    assert_type(await handle.result(timeout="5m"), str)
    assert_type(await handle.describe(), RunDescription)
    assert_type(await handle.history(), list[dict[str, Any]])
    assert_type(await handle.cancel("test data"), None)
    assert_type(await handle.terminate(reason="stuck"), None)
    assert_type(await handle.retry(), None)


async def streams(handle: Handle[str], untyped: Handle[Any]) -> None:
    assert_type(stream("tokens", str), Stream[str])
    assert_type(stream("anything"), Stream[Any])
    await stream("tokens", str).write("a")
    async for chunk in handle.stream("tokens", type=str, from_offset=7):
        assert_type(chunk, StreamChunk[str])
        assert_type(chunk.value, str)
    async for whatever in untyped.stream("tokens"):
        assert_type(whatever, StreamChunk[Any])
    assert_type(await handle.streams(), list[StreamInfo])


def streams_without_a_loop(handle: Handle[str]) -> None:
    for chunk in handle.stream("numbers", type=int):
        assert_type(chunk.value, int)


def handles_by_id(client: Client) -> None:
    assert_type(client.handle("order-1", order), Handle[str])
    assert_type(client.handle("order-1", order).result().wait(), str)
    assert_type(client.handle("acme", Onboarding.run).result(timeout=5).wait(), list[str])
    assert_type(client.handle("order-1").result().wait(), Any)


def a_client_with_the_code() -> None:
    with Client("sqlite:///orders.db") as client:
        assert_type(client, Client)
        assert_type(client.start(order(10, "acct"), id="order-1").wait(), Handle[str])
        assert_type(client.run(order(10, "acct")).wait(), str)


async def in_a_transaction(engine: Engine, connection: sqlite3.Connection) -> None:
    assert_type(engine.start(order(10, "acct"), connection=connection).wait(), Handle[str])
    assert_type(await engine.start(order(10, "acct"), id="order-1", connection=connection), Handle[str])


async def a_client_without_it() -> None:
    async with Client("sqlite:///orders.db") as client:
        assert_type(await client.start("order", [10, "acct"], id="order-1"), Handle[Any])
        assert_type(await client.start("order", (), {"amount": 10, "account": "acct"}), Handle[Any])
        assert_type(await client.run("order", [10, "acct"]), Any)


async def lists(client: Client) -> None:
    assert_type(await client.list(status="failed"), Sequence[RunSummary])
    assert_type(await client.list(status=["failed", "held"], workflow="order", id_prefix="order-", limit=5),
                Sequence[RunSummary])  # fmt: skip
    assert_type(client.count(status=("failed", "held")).wait(), int)
    for run in await client.list():
        assert_type(run.status, str)


async def exports(client: Client) -> None:
    run = await client.handle("order-1").export(redact=True)
    assert_type(run, ExportedRun)
    assert_type(run.to_json(), bytes)
    report = replay(["histories", run, client.handle("order-1")], [order])
    assert_type(report, Report)
    for verdict in report.failed:
        assert_type(verdict, Verdict)
        assert_type(verdict.lines(), list[str])


def descriptions(run: RunDescription) -> None:
    assert_type(run.duration, float)
    for step in run.steps:
        assert_type(step.name, str)
        for attempt in step.attempts:
            assert_type(attempt.number, int)


def a_handle_of_a_subtype_serves_where_its_supertype_is_wanted(handle: Handle[bool]) -> Handle[int]:
    return handle


async def messages(engine: Engine, loan: Handle[str], untyped: Handle[Any]) -> None:
    assert_type(await loan.signal(Loan.decide, True, by="ann"), None)
    assert_type(await loan.signal(Loan.note, "x"), None)
    assert_type(await loan.signal(replies, "yes"), None)
    assert_type(await loan.signal("decide", approved=True), None)
    assert_type(await loan.query(Loan.state, unit="CHF"), dict[str, int])
    assert_type(await untyped.query("state"), Any)
    assert_type(await loan.update(Loan.raise_by, 5), float)
    assert_type(await loan.update(Loan.double), int)
    assert_type(await loan.start_update(Loan.raise_by, 5), UpdateHandle[float])
    assert_type(await (await loan.start_update(Loan.raise_by, 5)).result(), float)
    assert_type(loan.as_request("r-1"), Handle[str])
    assert_type(await loan.published(), dict[str, Any])
    assert_type(await engine.start(Loan.run(5), id="a", signal=Loan.decide.message(True)), Handle[str])
    assert_type(await engine.update_with_start(Loan.run(5), Loan.raise_by.message(5), id="a"), UpdateHandle[float])


async def receiving() -> None:
    assert_type(await replies.receive(), str)
    assert_type(replies.receive_nowait(), str)
    async for reply in replies:
        assert_type(reply, str)
    assert_type(await anything.receive(), Any)

"""What a type checker infers of engines for tests."""

from datetime import datetime
from typing import Any, assert_type

from perdure import activity, workflow
from perdure.client.answer import Answer
from perdure.client.handle import Handle
from perdure.testing import ActivityCall, CrashReport, GivenAnswer, TestEngine, crash_everywhere
from perdure.testing.crashing.life import Life


@activity
async def charge(account: str, amount: int) -> str:
    return account


@activity
def count(*items: str) -> int:
    return len(items)


@workflow
async def order(account: str) -> float:
    return 1.0


async def fake(account: str, amount: int) -> str:
    return account


async def of_an_engine() -> None:
    async with TestEngine([order], activities={charge: fake, count: lambda *items: 1}, cached_runs=5) as engine:
        assert_type(engine, TestEngine)
        assert_type(await engine.run(order("ada")), float)
        assert_type(engine.calls(charge), list[ActivityCall])
        assert_type(engine.calls(count)[0].arguments, dict[str, Any])
        assert_type(engine.now(), datetime)
        assert_type(engine.sleep("3 days"), Answer[None])
        engine.replace(charge, fake)
        engine.people.answer("Approve *", lambda asked: asked.data["amount"] < 100, by="ann", after="3h", times=1)
        assert_type(engine.people.given, list[GivenAnswer])


async def cancels(engine: Life, handle: Handle[Any]) -> None:
    await engine.sleep("1 day")
    await handle.cancel()


async def of_crashes() -> None:
    assert_type(crash_everywhere(order("ada")).wait(), CrashReport)
    report = await crash_everywhere(order("ada"), activities={charge: fake}, state=lambda: 1, script=cancels)
    assert_type(report.assert_ok(), CrashReport)
    assert_type(report.ok, bool)

"""Activities that somebody outside completes, by the token of their attempt."""

import asyncio
from typing import Any

import pytest

from perdure import (
    ActivityFailed,
    ActivityTimedOut,
    Client,
    Engine,
    InvalidArguments,
    Retry,
    RunBlocked,
    TokenRefused,
    activity,
    workflow,
)
from perdure.stores.base import Batch, RunFilter
from perdure.testing import FaultWhere, open_store
from tests.engine.clocks import StandingClock

given: asyncio.Queue[str] = asyncio.Queue()
LIMITS: dict[str, Any] = {}


@activity(retry=Retry(initial=0.001, max_attempts=3))
async def ask_bank(amount: int) -> dict[str, int]:
    given.put_nowait(activity.token())
    activity.complete_later()


@activity(retry=Retry(initial=0.001, max_attempts=3))
def ask_bank_in_thread(amount: int) -> dict[str, int]:
    LIMITS["loop"].call_soon_threadsafe(given.put_nowait, activity.token())
    activity.complete_later()


@workflow
async def approve(amount: int, step: str = "loop") -> dict[str, int] | str:
    call = ask_bank(amount) if step == "loop" else ask_bank_in_thread(amount)
    try:
        return await call.with_options(**LIMITS.get("options", {}))
    except ActivityTimedOut as error:
        return f"{error.kind} {error.attempts}"
    except ActivityFailed as error:
        return f"{error.type}: {error.message} ({error.attempts})"


ALL = [approve, ask_bank, ask_bank_in_thread]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    global given
    given = asyncio.Queue()
    LIMITS.clear()


async def started(engine: Engine, *args: Any) -> tuple[Any, str]:
    LIMITS["loop"] = asyncio.get_running_loop()
    handle = await engine.start(approve(*args), id="r")
    return handle, await given.get()


@pytest.mark.parametrize("step", ["loop", "thread"])
async def test_an_activity_is_completed_from_outside(step: str):
    async with Engine("memory://", ALL) as engine:
        handle, token = await started(engine, 10, step)
        await engine.attempt(token).complete({"limit": 5})

        assert await handle.result() == {"limit": 5}


async def test_a_client_of_another_connection_completes_it(tmp_path: Any):
    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, ALL) as engine, Client(address) as client:
        handle, token = await started(engine, 10)
        await client.attempt(token).complete({"limit": 5})

        assert await handle.result() == {"limit": 5}


async def test_an_attempt_that_waits_for_its_result_outlives_its_process(tmp_path: Any):
    address = f"sqlite:///{tmp_path}/runs.db"
    async with Engine(address, ALL) as engine:
        _, token = await started(engine, 10)
        await waits(engine)
    async with Engine(address, ALL) as engine:
        await engine.attempt(token).complete({"limit": 6})

        assert await engine.handle("r").result() == {"limit": 6}
        assert [a.state for a in (await engine.handle("r").describe()).steps[0].attempts] == ["completed"]


async def waits(engine: Engine) -> None:
    while (await engine.handle("r").describe()).steps[0].state != "deferred":
        await asyncio.sleep(0.005)


async def test_a_token_can_be_used_once():
    async with Engine("memory://", ALL) as engine:
        _, token = await started(engine, 10)
        await engine.attempt(token).complete({"limit": 5})

        for again in (engine.attempt(token).complete({"limit": 9}), engine.attempt(token).fail("no")):
            with pytest.raises(TokenRefused, match="a token can be used once"):
                await again
        assert await engine.handle("r").result() == {"limit": 5}


@pytest.mark.parametrize(
    "forge", [lambda t: t[:-2] + ("AA" if t[-2:] != "AA" else "BB"), lambda t: "x", lambda t: "", lambda t: t + "\n"]
)
async def test_a_forged_token_is_refused(forge: Any):
    async with Engine("memory://", ALL) as engine:
        _, token = await started(engine, 10)

        with pytest.raises(TokenRefused, match="is no token of this database"):
            await engine.attempt(forge(token)).complete({"limit": 9})
        await engine.attempt(token).complete({"limit": 5})
        assert await engine.handle("r").result() == {"limit": 5}


async def test_a_token_of_another_database_is_refused():
    async with Engine("memory://", ALL) as engine, Engine("memory://", ALL) as other:
        _, token = await started(engine, 10)

        with pytest.raises(TokenRefused, match="to the same database"):
            await other.attempt(token).complete({"limit": 9})


async def test_a_failure_from_outside_is_retried_and_the_next_attempt_has_a_token_of_its_own():
    async with Engine("memory://", ALL) as engine:
        handle, first = await started(engine, 10)
        await engine.attempt(first).fail("the bank is closed")
        second = await given.get()

        assert first != second
        with pytest.raises(TokenRefused):
            await engine.attempt(first).complete({"limit": 1})
        await engine.attempt(second).complete({"limit": 2})
        assert await handle.result() == {"limit": 2}


async def test_a_failure_from_outside_may_be_final():
    async with Engine("memory://", ALL) as engine:
        handle, token = await started(engine, 10)
        await engine.attempt(token).fail(ValueError("no such account"), non_retryable=True)

        assert await handle.result() == "ValueError: no such account (1)"


async def test_a_result_the_workflow_could_not_read_is_refused_and_the_attempt_goes_on():
    async with Engine("memory://", ALL) as engine:
        handle, token = await started(engine, 10)

        with pytest.raises(InvalidArguments, match="expected int"):
            await engine.attempt(token).complete({"limit": "much"})
        await engine.attempt(token).complete({"limit": 5})
        assert await handle.result() == {"limit": 5}


async def test_a_large_result_from_outside_is_kept_apart():
    async with Engine("memory://", ALL) as engine:
        handle, token = await started(engine, 10)
        result = {f"account-{n}": n for n in range(9_000)}
        await engine.attempt(token).complete(result)

        assert await handle.result() == result


async def test_the_time_limit_goes_on_when_the_function_has_returned():
    LIMITS["options"] = {"timeout": 0.03}
    async with Engine("memory://", ALL) as engine:
        handle, token = await started(engine, 10)

        assert await handle.result() == "start-to-close 3"
        with pytest.raises(TokenRefused):
            await engine.attempt(token).complete({"limit": 5})


async def test_heartbeats_from_outside_keep_the_attempt_alive_and_their_details():
    LIMITS["options"] = {"heartbeat": 0.15, "retry": 1}
    clock = StandingClock()
    async with Engine("memory://", ALL, world=clock) as engine:
        handle, token = await started(engine, 10)
        await waits(engine)
        for done in range(4):
            await asyncio.sleep(0.05)
            clock.time += 100_000_000
            await engine.attempt(token).heartbeat({"done": done})
        clock.time += 200_000_000
        assert await handle.result() == "heartbeat 1"

        failed = [event for event in await handle.history() if event["type"] == "ActivityFailed"]
        assert failed[0]["details"] == {"done": 3}
        with pytest.raises(TokenRefused):
            await engine.attempt(token).heartbeat()


async def test_a_result_may_come_before_the_function_returns():
    release = asyncio.Event()

    @activity
    async def slow() -> str:
        given.put_nowait(activity.token())
        await release.wait()
        return "its own"

    @workflow
    async def wait_for_it() -> str:
        return await slow()

    async with Engine("memory://", [wait_for_it, slow]) as engine:
        handle = await engine.start(wait_for_it())
        await engine.attempt(await given.get()).complete("from outside")

        assert await handle.result() == "from outside"


async def test_a_cancelled_step_takes_no_result_any_more():
    async with Engine("memory://", ALL) as engine:
        handle, token = await started(engine, 10)
        await handle.terminate()

        with pytest.raises(TokenRefused, match="the run has ended"):
            await engine.attempt(token).complete({"limit": 5})


async def test_a_result_that_came_while_no_engine_ran_is_not_lost_with_its_attempt(tmp_path: Any):
    address = f"sqlite:///{tmp_path}/runs.db"
    taken: list[str] = []
    hang = asyncio.Event()

    @activity(at_most_once=True)
    async def ask_once() -> str:
        taken.append(activity.token())
        await hang.wait()
        return "its own"

    @workflow
    async def once() -> str:
        return await ask_once()

    async with Engine(address, [once, ask_once], drain=0) as engine:
        handle = await engine.start(once(), id="r")
        while not taken:
            await asyncio.sleep(0.005)
    async with Client(address) as client:
        await client.attempt(taken[0]).complete("from outside")
    async with Engine(address, [once, ask_once]) as engine:
        assert await engine.handle("r", once).result() == "from outside"
    assert handle.id == "r"


async def test_a_large_result_from_outside_outlives_a_commit_that_is_not_taken():
    spoilt: list[bool] = []

    def ends(batch: Batch) -> bool:
        """The first commit that would end the run is not taken."""
        if spoilt or not any(row.closed_at for row in batch.updated):
            return False
        spoilt.append(True)
        return True

    async with Engine(open_store("memory://", FaultWhere("unavailable", ends)), ALL) as engine:
        handle, token = await started(engine, 10)
        await waits(engine)
        result = {f"account-{n}": n for n in range(9_000)}
        await engine.attempt(token).complete(result)

        assert await handle.result() == result
    assert spoilt


async def test_a_result_for_a_blocked_run_is_kept_until_it_is_released_and_nobody_waits_for_that():
    tokens: dict[str, str] = {}
    mended: list[bool] = []

    @activity
    async def ask(name: str) -> str:
        tokens[name] = activity.token()
        activity.complete_later()

    @workflow
    async def two() -> str:
        late = asyncio.ensure_future(ask("late"))
        first = await ask("early")
        if not mended:
            raise NameError("a bug in the workflow")
        return first + await late

    async with Engine("memory://", [two, ask]) as engine:
        handle = await engine.start(two(), id="r")
        while len(tokens) < 2 or any(step.state != "deferred" for step in (await handle.describe()).steps):
            await asyncio.sleep(0.005)
        await engine.attempt(tokens["early"]).complete("one ")
        with pytest.raises(RunBlocked):
            await handle.result()
        await engine.attempt(tokens["late"]).complete("two")
        (row,) = engine.store.views.search(RunFilter())
        stored = engine.store.views.stored(row.key)
        mended.append(True)
        await handle.retry()

        assert await handle.result() == "one two"
    assert stored is not None and [mail.reply_to for mail in stored.mail] == [""]

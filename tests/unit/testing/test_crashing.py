"""An engine that dies everywhere: what is found, what is not taken for a fault, and how it is told."""

import asyncio
import contextlib
import copy
import importlib
import itertools
import random
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from perdure import (
    ActivityFailed,
    OutcomeUnknown,
    Retry,
    activity,
    channel,
    continue_as_new,
    publish,
    saga,
    sleep,
    stream,
    task,
    wait_until,
    workflow,
)
from perdure.errors import CrashTestFailed, DefinitionError, TokenRefused
from perdure.stores.memory import MemoryStore, Shelf
from perdure.testing import CrashReport, crash_everywhere
from perdure.testing.crashing.everywhere import Progress, Work
from perdure.testing.crashing.judge import unended
from perdure.testing.crashing.points import KINDS, Point, point_of, points_of, sample
from perdure.testing.crashing.trial import BEGINNING, Setting, Trial, listed_definitions
from perdure.testing.crashing.watch import Row, Watch

ledger: list[str] = []
keys: set[str] = set()
mended: list[str] = []
counter = itertools.count()
dice = random.Random(3)


@pytest.fixture(autouse=True)
def empty_world() -> Iterator[None]:
    reset()
    yield
    reset()


def reset() -> None:
    ledger.clear()
    keys.clear()
    mended.clear()


def charges() -> dict[str, int]:
    return {each: ledger.count(each) for each in sorted(set(ledger))}


@activity
async def charge(account: str) -> str:
    ledger.append(f"charge {account}")
    return f"txn-{account}"


@activity
async def charge_once(account: str) -> str:
    key = activity.info().idempotency_key
    if key not in keys:
        keys.add(key)
        ledger.append(f"charge {account}")
    return f"txn-{account}"


@activity
def ship(item: str) -> str:
    """A plain function. Shipped twice it is there once."""
    if f"ship {item}" not in ledger:
        ledger.append(f"ship {item}")
    return f"parcel of {item}"


@workflow
async def order(account: str) -> str:
    transaction = await charge(account)
    await sleep("3 days")
    return f"{transaction}, {await ship('book')}"


@workflow
async def sound_order(account: str) -> str:
    transaction = await charge_once(account)
    await sleep("3 days")
    return f"{transaction}, {await ship('book')}"


def tried(call: Any, **options: Any) -> CrashReport:
    return crash_everywhere(call, progress=False, **options).wait()


def kinds(report: CrashReport) -> list[str]:
    return [finding.kind for finding in report.violations]


def text_of(report: CrashReport) -> str:
    return re.sub(r"(?<=[cs], )[\d.hms]+\)", "…)", str(report), count=1)


# sound workflows


def test_a_sound_workflow_bears_every_crash() -> None:
    report = tried(sound_order("ada"), state=charges, reset=reset)

    assert report.assert_ok() is report
    assert (report.commits, report.effects, report.places, report.points) == (4, 2, 18, 18)
    assert report.outcome == "completed with 'txn-ada, parcel of book'"
    assert report.advice == []
    assert "2 steps were called again, having been in flight when the process died, and state() did not change" in str(
        report
    )


def test_days_of_sleep_take_no_time() -> None:
    began = time.perf_counter()
    report = tried(sound_order("ada"))

    assert report.run_seconds == 3 * 86_400
    assert time.perf_counter() - began < 600


def test_a_step_in_flight_may_be_called_again_and_that_is_said() -> None:
    report = tried(order("ada"))

    assert report.ok
    (advice,) = report.advice
    assert advice.what == "2 steps were called again, having been in flight when the process died"
    assert advice.at == ["before commit 2", "inside commit 2, lost", "before commit 4", "inside commit 4, lost"]
    assert "idempotency_key" in advice.hint


@activity(retry=Retry(initial="1m", max_attempts=4))
async def shaky(what: str) -> str:
    if activity.info().attempt < 3:
        raise ConnectionError("not yet")
    return what


@workflow(retry=Retry(initial="1m", max_attempts=3))
async def tries_again() -> str:
    await charge_once(f"ada {workflow.info().attempt}")
    if workflow.info().attempt < 3:
        raise ValueError("not yet")
    return "at last"


@workflow
async def patient() -> str:
    return await shaky("bread")


@workflow
async def fans_out(count: int) -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(chain(str(n))) for n in range(count)]
    return [task.result() for task in tasks]


async def chain(what: str) -> str:
    return await ship(await charge_once(what))


@activity
async def forever() -> None:
    await asyncio.Event().wait()


@activity
def until_cancelled() -> None:
    while not activity.cancelled():
        time.sleep(0.01)


@workflow
async def in_time(plain: bool) -> str:
    try:
        async with asyncio.timeout(0.2):
            await (until_cancelled() if plain else forever())
    except TimeoutError:
        return await charge_once("late")
    return "never"


@workflow
async def by_number() -> str:
    """What follows from time, chance and the number of the run is the same in every trial."""
    await charge_once(str(workflow.uuid4()))
    await sleep(workflow.random().random())
    return f"{workflow.info().run_id} {workflow.now()} {workflow.random().random()}"


@activity
async def cancel(what: str) -> None:
    ledger.append(f"cancel {what}") if f"cancel {what}" not in ledger else None


@activity
async def sold_out(what: str) -> str:
    raise activity.NonRetryable(f"no {what} left")


@workflow
async def trip() -> str:
    try:
        async with saga() as undo:
            undo(cancel, "flight")
            await charge_once("flight")
            undo(cancel, "hotel")
            await sold_out("hotel")
    except ActivityFailed as failed:
        return failed.message
    return "booked"


@pytest.mark.parametrize("call", [tries_again, patient, lambda: fans_out(3), lambda: in_time(False), by_number, trip])
def test_what_an_engine_can_do_bears_every_crash(call: Any) -> None:
    report = tried(call(), state=charges, reset=reset).assert_ok()

    assert report.points == report.places > 8
    assert report.unreached == []
    assert report.advice == []


def test_a_plain_function_that_hangs_takes_real_time_and_is_cancelled_all_the_same() -> None:
    report = tried(in_time(True), crash_at="before effect 2")

    assert report.ok
    assert report.outcome == "completed with 'txn-late'"


@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize("twice", [False, True])
def test_it_bears_two_crashes_one_after_the_other_on_either_store(store: str, twice: bool) -> None:
    places = None if store == "memory" else ["inside commit 2, lost", "inside commit 2, kept", "before effect 2"]
    report = tried(trip(), state=charges, reset=reset, store=store, twice=twice, crash_at=places).assert_ok()

    assert report.points == (len(places) if places else report.places)
    assert report.advice == []


@activity(queue="far")
async def far(what: str) -> str:
    return await charge_once.fn(what)


@activity(queue="far")
def far_and_plain(what: str) -> str:
    return ship.fn(what)


@activity(queue="far")
async def far_twice(what: str) -> str:
    return await charge.fn(what)


@activity(queue="far", retry=1)
async def far_once(what: str) -> str:
    return what


@workflow
async def far_away() -> str:
    await sleep("1h")
    return await far("ada") + await far_and_plain("book")


@workflow
async def far_in_parallel() -> list[str]:
    return await asyncio.gather(*(far(str(n)) for n in range(3)))


@workflow
async def far_careless() -> str:
    return await far_twice("ada")


@workflow
async def far_impatient() -> str:
    return await far_once("ada")


def test_a_worker_of_queues_dies_alone_before_and_after_it_takes_a_task_and_brings_its_end() -> None:
    report = tried(far_away(), state=charges, reset=reset).assert_ok()

    assert (report.commits, report.exchanges, report.effects) == (4, 4, 2)
    assert report.points == report.places == 4 * 4 + 2 * 4 + 2
    assert report.run_seconds == 3_600
    assert report.unreached == []
    texts = [row.text for row in report.rows if row.what == "exchange"]
    assert texts == [
        "a worker takes far [0:2]",
        "a worker brings the result of far [0:2]",
        "a worker takes far_and_plain [0:3]",
        "a worker brings the result of far_and_plain [0:3]",
    ]
    (harmless,) = report.harmless
    assert {"before exchange 2", "before exchange 4"} <= set(harmless.at)
    assert "after exchange 1" not in harmless.at  # taken, and not called yet
    assert "exchange: what a worker of a queue writes" in str(report)


def test_what_a_worker_does_twice_is_found_and_how_it_came_to_that() -> None:
    report = tried(far_careless(), state=charges, reset=reset)

    (finding,) = report.violations
    assert (finding.kind, finding.at) == ("state", ["before exchange 2"])
    assert finding.facts == [
        "charge ada: 1 → 2",
        "far_twice [0:1] was called again there: it was in flight when the process died",
    ]
    told = str(report)
    assert "✗ the worker dies: before exchange 2\n  commit 2  attempt 1 of far_twice [0:1] is lost" in told
    assert "again: crash_everywhere(..., crash_at='before exchange 2')" in told


def test_an_attempt_that_is_lost_with_its_worker_counts() -> None:
    report = tried(far_impatient())

    (finding,) = report.violations
    assert finding.kind == "outcome"
    assert {"after exchange 1", "before exchange 2"} <= set(finding.at)
    assert "one attempt more" in finding.hint


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_the_worker_that_comes_then_may_die_as_well(store: str) -> None:
    places = ["before exchange 1", "after exchange 1", "before exchange 2", "after exchange 4"]
    report = tried(far_away(), state=charges, reset=reset, store=store, twice=True, crash_at=places).assert_ok()

    assert report.unreached == []


def test_tasks_of_workers_are_taken_and_brought_in_one_order() -> None:
    first, second = (tried(far_in_parallel(), state=charges, reset=reset) for _ in range(2))

    assert first.assert_ok().unreached == []
    assert text_of(first) == text_of(second)
    assert first.rows[1].text == "a worker takes far [0.1:1], far [0.2:1], far [0.3:1]"


@activity(queue="far", heartbeat="1m")
async def far_in_parts(parts: int) -> int:
    for part in range(activity.info().heartbeat_details or 0, parts):
        ledger.append(f"part {part}")
        activity.heartbeat(part + 1)
        await asyncio.sleep(30)
    return parts


@workflow
async def far_and_long() -> int:
    return await far_in_parts(3)


def test_what_a_worker_has_told_of_how_far_it_is_is_known_when_it_dies_afterwards() -> None:
    report = tried(far_and_long(), state=charges, reset=reset)

    told = [row.number for row in report.rows if row.text == "a worker tells how far it is with far_in_parts [0:1]"]
    assert told == [2, 3, 4]
    assert report.run_seconds == 90
    (finding,) = report.violations
    assert finding.at[:3] == ["before exchange 2", "before exchange 3", "before exchange 4"]
    assert finding.facts[-1] == "before exchange 4: part 2: 1 → 2"
    assert not any(at.startswith("after exchange") for at in finding.at)


@activity(queue="far", timeout="1h", retry=2)
async def far_too_long() -> str:
    if activity.info().attempt == 1:
        await asyncio.Event().wait()
    return "at last"


@workflow
async def far_and_late() -> str:
    return await far_too_long()


def test_a_worker_gives_up_what_takes_too_long() -> None:
    report = tried(far_and_late(), crash_at=["before commit 1", "after exchange 4"])

    assert report.assert_ok().outcome == "completed with 'at last'"
    assert report.run_seconds >= 3_600
    assert "a worker brings the failure of far_too_long [0:1]" in [row.text for row in report.rows]


@activity(heartbeat="1m")
async def beats() -> int:
    begins_at = activity.info().heartbeat_details or 0
    for done in range(begins_at, 30):  # many, as a thread encodes the details, and the clock jumps meanwhile
        activity.heartbeat(done + 1)
        await asyncio.sleep(30)
    return 3


@activity
async def asks_a_process() -> str:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print('hi')", stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    return await asyncio.to_thread(said.decode)


@workflow
async def takes_real_time() -> str:
    async with asyncio.timeout(36_000):
        return f"{await beats()} {await asks_a_process()}"


class Zip:
    """A codec."""

    name = "zip"
    encode = staticmethod(zlib.compress)
    decode = staticmethod(zlib.decompress)


@pytest.mark.filterwarnings("error")
def test_processes_threads_heartbeats_and_a_codec_take_real_time_and_no_harm() -> None:
    places = ["after commit 1", "before effect 1", "before commit 3", "before effect 2"]
    report = tried(takes_real_time(), definitions=[beats, asks_a_process], codec=Zip(), crash_at=places).assert_ok()

    assert report.outcome == "completed with '3 hi\\n'"
    assert "attempt 1 of beats [0:2] lives" in [row.text for row in report.rows]
    assert report.unreached == []


@workflow
async def day_of(account: str) -> str:
    await sleep("1 day")
    return await charge_once(account)


@workflow
async def family() -> list[str]:
    return await asyncio.gather(day_of("ada"), day_of("bob"))


@workflow
async def months(month: int) -> int:
    await charge_once(f"month {month}")
    await sleep("30 days")
    if month < 4:
        continue_as_new(months(month + 1))
    return month


@activity
async def speaks(words: int) -> int:
    tokens = stream("tokens", str)
    for word in range(words):
        await tokens.write(str(word))
    return words


@workflow
async def chats() -> int:
    stream("log").write("asking")
    said = await speaks(3)
    stream("log").write("answered")
    return said


def test_children_bear_crashes_and_their_steps_have_names_of_their_own() -> None:
    report = tried(family(), state=charges, reset=reset).assert_ok()

    assert report.points == report.places == 30
    assert report.run_seconds == 86_400
    texts = [row.text for row in report.rows]
    assert "family begins, day_of started as child 0.1:1, day_of started as child 0.2:1" in texts
    assert "charge_once [0:2] of child 0.1:1 is called" in texts
    assert "charge_once [0:2] of child 0.2:1 done, child 0.2:1 completed" in texts


def test_a_run_that_continues_as_new_bears_crashes() -> None:
    report = tried(months(1), state=charges, reset=reset).assert_ok()

    assert report.outcome == "completed with 4"
    assert report.points == report.places == 52
    assert report.run_seconds == 120 * 86_400


def test_streams_bear_crashes() -> None:
    report = tried(chats()).assert_ok()

    assert report.outcome == "completed with 3"
    assert report.points == report.places > 8


@workflow
class Loan:
    def __init__(self) -> None:
        self.amount = 0
        self.approved_by: list[str] = []

    @workflow.run
    async def run(self, amount: int) -> str:
        self.amount = amount
        await wait_until(lambda: bool(self.approved_by))
        await sleep("1 day")
        return f"{await charge_once(str(self.amount))}, by {' and '.join(self.approved_by)}"

    @workflow.signal
    def approve(self, who: str) -> None:
        self.approved_by.append(who)

    @workflow.update
    async def raise_to(self, amount: int) -> int:
        await sleep("2h")
        await charge_once("a fee")
        self.amount = amount
        return amount

    @workflow.query
    def asked_for(self) -> int:
        return self.amount


async def talks(engine: Any, handle: Any) -> None:
    await engine.sleep("1h")
    assert await handle.as_request("raise").update(Loan.raise_to, 50) == 50
    assert await handle.query(Loan.asked_for) == 50
    await handle.as_request("approve").signal(Loan.approve, "ada")


async def talks_carelessly(engine: Any, handle: Any) -> None:
    await engine.sleep("1h")
    await handle.signal(Loan.approve, "ada")


def test_messages_bear_crashes_if_they_have_ids() -> None:
    report = tried(Loan.run(10), script=talks, state=charges, reset=reset).assert_ok()

    assert report.outcome == "completed with 'txn-50, by ada'"
    assert report.run_seconds == 86_400 + 3 * 3_600
    assert report.points == report.places == 30
    assert "signal approve, timer [0:1] set" in [row.text for row in report.rows]


def test_a_message_without_an_id_is_sent_twice_by_a_client_that_dies() -> None:
    report = tried(Loan.run(10), script=talks_carelessly, reset=reset)

    assert set(kinds(report)) == {"outcome"}
    assert "by ada and ada" in report.violations[0].facts[1]


news = channel("news", str)


@workflow
async def listens(count: int) -> list[str]:
    heard: list[str] = []
    while len(heard) < count:
        heard.append(await news.receive())
        publish("heard", len(heard))
        await charge_once(heard[-1])
    return heard


async def tells(engine: Any, handle: Any) -> None:
    for n in range(3):
        await handle.as_request(f"news-{n}").signal(news, f"news {n}")
        await engine.sleep("1h")


def test_channels_bear_crashes() -> None:
    report = tried(listens(3), script=tells, state=charges, reset=reset).assert_ok()

    assert report.points == report.places == 31


@workflow
async def asks_people(amount: int) -> str:
    approved = await task("Approve", form=bool, assignees=["ada"], remind="1 day")
    return await charge_once(str(amount)) if approved else "refused"


async def ada_answers(engine: Any, handle: Any) -> None:
    await engine.sleep("30h")
    await engine.tasks.complete("crash-test/0:1", True, by="ada", request_id="once")


def test_human_tasks_bear_crashes_and_have_words_of_their_own() -> None:
    report = tried(asks_people(7), script=ada_answers, state=charges, reset=reset).assert_ok()

    assert report.points == report.places == 17
    texts = [row.text for row in report.rows if row.what == "commit"]
    assert texts[:3] == [
        'asks_people begins, task "Approve" [0:1] asked',
        "reminder of task [0:1]",
        "task [0:1] answered by ada, charge_once [0:2] scheduled",
    ]


tokens: list[str] = []


@activity
async def asks_somebody() -> str:
    tokens.append(activity.token())
    activity.complete_later()


@workflow
async def waits_for_an_answer() -> str:
    return await asks_somebody()


async def answers(engine: Any, handle: Any) -> None:
    await engine.sleep("1h")
    with contextlib.suppress(TokenRefused):  # answered before the crash
        await engine.attempt(tokens[-1]).complete("yes")


def test_a_script_completes_a_step_by_its_token() -> None:
    report = tried(waits_for_an_answer(), script=answers, reset=tokens.clear).assert_ok()

    assert report.outcome == "completed with 'yes'"
    assert report.points == report.places == 13


# what is wrong with a workflow


@workflow
async def counts() -> str:
    return await (charge_once if next(counter) % 2 else charge)("ada")


@workflow
async def gambles() -> str:
    first = await charge_once("ada")
    return first + await (charge_once if dice.random() < 0.5 else charge)("bob")


@pytest.mark.parametrize("call", [counts, gambles])
def test_a_workflow_that_is_not_deterministic_diverges_and_its_line_is_named(call: Any) -> None:
    report = tried(call())

    assert "divergence" in kinds(report)
    finding = next(each for each in report.violations if each.kind == "divergence")
    assert finding.facts[0].startswith("history:  activity charge")
    assert finding.facts[1].startswith("code:     activity charge")
    assert re.fullmatch(rf"at {re.escape(__file__)}:\d+", finding.facts[2])
    with pytest.raises(CrashTestFailed, match="does not do the same again"):
        report.assert_ok()


known: dict[str, str] = {}


@workflow
async def remembers(account: str) -> str:
    if account not in known:
        known[account] = await charge_once(account)
    return await ship(known[account])


def test_what_a_variable_keeps_from_run_to_run_is_found_without_any_crash() -> None:
    known.clear()
    report = tried(remembers("ada"), reset=reset)

    (finding,) = report.violations
    assert (finding.kind, finding.at) == ("divergence", [])
    assert finding.what.endswith("when it is shown its history, in the process that has made it")
    assert finding.facts[:2] == ["history:  activity charge_once [0:1]", "code:     activity ship [0:1]"]
    assert "not a variable that other runs change" in finding.hint
    assert str(report).splitlines()[1].startswith("✗ wrong without any crash; ")


def test_what_crashes_find_as_well_is_told_once() -> None:
    report = tried(remembers("ada"), reset=lambda: (reset(), known.clear()))

    (finding,) = report.violations
    assert finding.kind == "divergence"
    assert "before commit 2" in finding.at


class Unlike:
    """An object that is equal to nothing but itself."""


def test_a_state_that_cannot_be_compared_is_told_as_that() -> None:
    report = tried(sound_order("ada"), state=Unlike, reset=reset)

    (finding,) = report.violations
    assert finding.what == "state() is not the same in two runs without any crash"
    assert finding.hint.startswith("let state= give something that can be compared, like a list, a dict or a number")


def test_of_a_run_that_never_ends_it_is_told_how_to_end_it() -> None:
    watch = Watch()
    trial = Trial(None, "late", None, [], None, watch, [], 0.0, "timer")
    waits = unended(trial)[0]
    watch.rows += [Row("commit", n, "timer set", 1) for n in range(2_000)]
    goes_on = unended(trial)[0]

    assert "stand-in" in waits.hint
    assert goes_on.facts == ["it has made 2,000 commits, and goes on"]
    assert "await handle.cancel()" in goes_on.hint


@workflow
async def counts_aloud() -> int:
    await charge_once("ada")
    return next(counter)


def test_what_outlives_a_run_is_found_without_any_crash() -> None:
    report = tried(counts_aloud())

    assert kinds(report) == ["unrepeatable"]
    assert "the outcome is not the same in two runs without any crash" in str(report)
    assert "✗ wrong without any crash" in str(report)
    assert report.points == report.places


def test_a_world_that_is_not_put_back_is_found_without_any_crash() -> None:
    report = tried(order("ada"), state=charges)

    assert kinds(report) == ["unrepeatable"]
    assert report.violations[0].facts == ["charge ada: 1 → 2"]
    assert "reset=" in report.violations[0].hint


def test_an_effect_that_is_not_idempotent_is_found_by_the_state_of_the_world() -> None:
    report = tried(order("ada"), state=charges, reset=reset)

    (finding,) = report.violations
    assert (finding.kind, finding.at) == ("state", ["before commit 2", "inside commit 2, lost"])
    assert finding.facts == [
        "charge ada: 1 → 2",
        "charge [0:1] was called again there: it was in flight when the process died",
    ]
    assert "idempotency_key" in finding.hint


@activity(retry=1)
async def only_once(what: str) -> str:
    return what


@workflow
async def impatient() -> str:
    return await only_once("bread")


def test_an_activity_that_may_not_be_tried_again_fails_by_the_crash() -> None:
    report = tried(impatient())

    assert kinds(report) == ["outcome"]
    assert "AttemptLost" in report.violations[0].facts[1]
    assert "one attempt more" in report.violations[0].hint


@activity(at_most_once=True)
async def dangerous(what: str) -> str:
    ledger.append(what)
    return what


@workflow
async def careful() -> str:
    try:
        return await dangerous("launch")
    except OutcomeUnknown:
        return "somebody has to look"


def test_another_outcome_can_be_accepted() -> None:
    report = tried(careful(), accept=lambda outcome: outcome == "somebody has to look", reset=reset)

    assert report.ok
    assert "≈" in report.marks.values()
    assert "each with an outcome that is accepted" in str(report)
    assert not tried(careful(), reset=reset).ok


@activity
async def bugged() -> str:
    if not mended:
        raise TypeError("a bug")
    return "mended"


@workflow
async def calls_bugged() -> str:
    return await bugged()


def test_a_run_that_is_held_without_a_crash_is_compared_as_it_is() -> None:
    report = tried(calls_bugged())

    assert report.ok
    assert "held by a bug in activity bugged" in report.outcome


@workflow
async def has_a_bug() -> str:
    raise TypeError("a bug")


def test_a_run_that_is_blocked_without_a_crash_is_not_tried_further() -> None:
    report = tried(has_a_bug())

    assert kinds(report) == ["blocked"]
    assert report.points == 0
    assert "a bug" in str(report)


@activity
async def later() -> str:
    activity.complete_later()


@workflow
async def waits_for_somebody() -> str:
    return await later()


def test_a_run_that_waits_for_ever_is_told_of() -> None:
    report = tried(waits_for_somebody())

    assert kinds(report) == ["unended"]
    assert "script=" in report.violations[0].hint


# scripts


@workflow
async def sleeps() -> str:
    try:
        await sleep("10 days")
    finally:
        await charge_once("broom")
    return "slept"


async def cancels_after_a_day(engine: Any, handle: Any) -> None:
    await engine.sleep("1 day")
    await handle.cancel("enough")


def test_a_script_cancels_the_run_and_begins_anew_after_a_crash() -> None:
    report = tried(sleeps(), script=cancels_after_a_day, state=charges, reset=reset)

    assert report.assert_ok().outcome == "RunCancelled: run 'crash-test' was cancelled: enough"
    assert report.run_seconds == 86_400
    assert report.points == report.places == 13


async def mends_and_retries(engine: Any, handle: Any) -> None:
    await engine.sleep("1h")
    mended.append("yes")
    await handle.retry()


def test_a_script_lets_a_run_go_on_that_a_bug_holds() -> None:
    report = tried(calls_bugged(), script=mends_and_retries, reset=reset)

    assert report.assert_ok().outcome == "completed with 'mended'"


async def starts_another(engine: Any, handle: Any) -> None:
    await engine.start(sound_order("bob"), id="other")


async def starts_any_other(engine: Any, handle: Any) -> None:
    await engine.start(sound_order("bob"))


def test_runs_beside_it_are_waited_for_and_counted() -> None:
    once = tried(sound_order("ada"), script=starts_another, state=charges, reset=reset)
    again = tried(sound_order("ada"), script=starts_any_other, reset=reset)

    assert once.assert_ok().effects == 4
    assert kinds(again) == ["runs"] * len(again.violations) != []
    assert again.violations[0].facts == ["2 x sound_order completed, and now 3"]


async def raises(engine: Any, handle: Any) -> None:
    raise LookupError("nothing there")


def test_a_script_that_raises_without_a_crash_raises() -> None:
    with pytest.raises(LookupError, match="nothing there"):
        tried(sound_order("ada"), script=raises)


async def does_not_bear_it(engine: Any, handle: Any) -> None:
    if mended:
        raise LookupError("done already")
    mended.append("yes")


def test_a_script_that_does_not_bear_to_begin_anew_is_a_finding() -> None:
    report = tried(sound_order("ada"), script=does_not_bear_it, reset=reset)

    assert kinds(report) == ["script"]
    assert report.violations[0].facts == ["LookupError: done already"]


# what is wrong with an engine


def found_with(stores: Any, call: Any) -> CrashReport:
    call.take()
    setting = Setting(call, listed_definitions(call, None), {}, None, None, reset, BEGINNING, {}, stores)
    return Work(setting, None, None, 1_000, 0, False).report()


TABLES = {name for name, value in vars(Shelf()).items() if isinstance(value, dict | list | set | int)} - {
    "listeners",
    "on_nudge",
    "owner",
}


@contextlib.contextmanager
def on_a_lying_disk() -> Iterator[Any]:
    """The last commit before a crash is not there after it, although the store had said that it was durable."""
    shelf = Shelf()
    before: dict[str, Any] = {}
    handles = itertools.count(1)

    def opened(faults: Any) -> MemoryStore:
        if next(handles) == 3:  # one of the trial, one of the life that died
            vars(shelf).update(before)

        def noted(moment: Any, batch: Any) -> Any:
            if moment == "before":
                before.update({name: copy.deepcopy(value) for name, value in vars(shelf).items() if name in TABLES})
            return faults(moment, batch)

        return MemoryStore(shelf=shelf, faults=None if faults is None else noted)

    yield opened


def test_a_store_that_forgets_a_commit_is_found() -> None:
    report = found_with(on_a_lying_disk, sound_order("ada"))

    broken = [finding.what for finding in report.violations if finding.kind == "promise"]
    assert "charge_once [0:1] was called again, although its end had been recorded in commit 2" in broken
    assert "docs/guarantees.md" in report.violations[0].hint


class LateJournal:
    """Says that a batch is durable before it is: it is written with the next one, or when a client asks."""

    def __init__(self, store: MemoryStore) -> None:
        self.journal = store.journal
        self.settle = store.journal.settle
        self.waiting: list[Any] = []

    def commit(self, batch: Any) -> None:
        self.write()
        self.waiting.append(batch)

    def write(self) -> None:
        while self.waiting:
            self.journal.commit(self.waiting.pop())


@contextlib.contextmanager
def late_stores() -> Iterator[Any]:
    shelf = Shelf()

    def opened(faults: Any) -> MemoryStore:
        store = MemoryStore(shelf=shelf, faults=faults)
        journal = LateJournal(store)
        end_of_chain = store.views.end_of_chain
        store.journal = journal  # type: ignore[assignment]
        store.views.end_of_chain = lambda key: journal.write() or end_of_chain(key)  # type: ignore[method-assign,func-returns-value]
        return store

    yield opened


def test_an_activity_that_is_called_before_the_commit_is_found() -> None:
    report = found_with(late_stores, sound_order("ada"))

    broken = [finding.what for finding in report.violations if finding.kind == "promise"]
    assert "charge_once [0:1] was called before the store knew of its attempt 1" in broken
    assert not report.ok


# how it is asked for


async def of_a_coroutine() -> CrashReport:
    return await crash_everywhere(sound_order("ada"), progress=False)


def test_in_a_coroutine_it_is_awaited() -> None:
    assert asyncio.run(of_a_coroutine()).ok


def test_state_and_reset_may_be_coroutine_functions() -> None:
    async def look() -> dict[str, int]:
        await asyncio.sleep(0)
        return charges()

    async def put_back() -> None:
        await asyncio.sleep(0)
        reset()

    assert tried(sound_order("ada"), state=look, reset=put_back).ok
    assert kinds(tried(order("ada"), state=look, reset=put_back)) == ["state"]


def test_an_activity_that_was_not_given_blocks_the_run_without_a_crash() -> None:
    report = tried(order("ada"), definitions=[charge])

    assert kinds(report) == ["blocked"]
    assert "'ship' is not among those the engine was given" in str(report)


def test_on_a_terminal_a_line_shows_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(8, True, patience=0.0) as progress:
        progress.commit(1_234)
        progress._next = 0.0
        for _ in range(3):
            progress.step()

    shown = capsys.readouterr().err
    assert "crashing  ━━━─────────────────────  1 of 8" in shown
    assert "without a crash first: commit 1,234" in shown
    assert shown.endswith("\r\x1b[K")


def test_stand_ins_are_called_instead_of_activities() -> None:
    def pretend(account: str) -> str:
        return f"pretended {account}"

    report = tried(order("ada"), activities={charge: pretend}, state=charges, reset=reset)

    assert report.assert_ok().outcome == "completed with 'pretended ada, parcel of book'"


def test_definitions_can_be_given() -> None:
    report = tried(order("ada"), definitions=[charge, ship])

    assert report.ok


def test_definitions_of_a_function_are_found() -> None:
    @activity
    async def inner() -> str:
        return "inner"

    @workflow
    async def outer() -> str:
        return await inner()

    assert tried(outer()).assert_ok().outcome == "completed with 'inner'"


STEPS = """
from perdure import activity, workflow

@activity
async def charge(account: str) -> str:
    return f"txn-{account}"

@activity
async def ship(item: str) -> str:
    return f"parcel of {item}"

@workflow
async def parcel(item: str) -> str:
    return await ship(item)
"""
SHOP = """
import crash_steps
from crash_steps import parcel
from perdure import workflow

@workflow
async def buy(item: str) -> str:
    return await crash_steps.charge(await parcel(item))
"""


def test_definitions_in_modules_and_those_of_children_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "crash_steps.py").write_text(STEPS)
    (tmp_path / "crash_shop.py").write_text(SHOP)
    monkeypatch.syspath_prepend(str(tmp_path))
    buy = importlib.import_module("crash_shop").buy

    assert tried(buy("lamp")).assert_ok().outcome == "completed with 'txn-parcel of lamp'"
    assert {each.name for each in listed_definitions(buy("x").take(), None)} == {"buy", "charge", "ship", "parcel"}


def test_a_certain_point_can_be_tried_alone() -> None:
    report = tried(order("ada"), crash_at="before commit 2", state=charges, reset=reset)

    assert (report.points, report.places) == (1, 18)
    assert report.violations[0].at == ["before commit 2"]
    assert "again: crash_everywhere(..., crash_at='before commit 2')" in str(report)


def test_of_many_points_some_are_tried_evenly_and_the_report_says_so() -> None:
    report = tried(sound_order("ada"), max_points=5, seed=4)

    assert report.points == 5
    assert "5 of 18 places were tried (max_points=, crash_at=; seed=4)" in str(report)


def test_the_clock_begins_where_it_is_asked_to() -> None:
    @workflow
    async def today() -> datetime:
        return workflow.now()

    report = tried(today(), start=datetime(2024, 2, 29, tzinfo=UTC))

    assert "datetime.datetime(2024, 2, 29, 0, 0, tzinfo=datetime.timezone.utc)" in report.outcome


def test_a_report_is_the_same_each_time() -> None:
    first, second = (tried(order("ada"), state=charges, reset=reset) for _ in range(2))

    assert text_of(first) == text_of(second)


def test_a_report_can_be_read() -> None:
    report = tried(order("ada"), state=charges, reset=reset)

    assert text_of(report) == REPORT


REPORT = """\
crash_everywhere(order('ada'))
✗ 2 of 18 crash points went wrong  (4 commits, 2 effects, …)
without a crash: completed with 'txn-ada, parcel of book', 3d by its own clock

                                                     before  lost  kept  after
  commit 1  order begins, charge [0:1] scheduled       ·      ·     ·      ·
    effect 1  charge [0:1] is called                   ·
  commit 2  charge [0:1] done, timer [0:2] set         ✗      ✗     ·      ·
  commit 3  timer [0:2] fires, ship [0:3] scheduled    ·      ·     ·      ·
    effect 2  ship [0:3] is called                     ·
  commit 4  ship [0:3] done, run completed             ↻      ↻     ·      ·

· as without a crash   ↻ a step in flight is called again   ✗ wrong
before: nothing of it is written   lost: all is written, nothing of it is there afterwards
kept: it is durable, nobody has heard so   after: its effects have not begun

✗ state() is not what it is without a crash
    at 2 crash points: before commit 2; inside commit 2, lost
    charge ada: 1 → 2
    charge [0:1] was called again there: it was in flight when the process died
  hint: give what it calls activity.info().idempotency_key, which is the same for all attempts of a step and for no \
other step

✓ ship [0:3] was called again, having been in flight when the process died, and state() did not change
    at 2 crash points: before commit 4; inside commit 4, lost

crash before commit 2:
  commit 1  order begins, charge [0:1] scheduled
    effect 1  charge [0:1] is called
  ✗ the engine dies: before commit 2
  commit 3  attempt 1 of charge [0:1] is lost
  commit 4  attempt 2 of charge [0:1] begins
    effect 2  charge [0:1] is called, attempt 2
  commit 5  charge [0:1] done, timer [0:2] set
  commit 6  timer [0:2] fires, ship [0:3] scheduled
    effect 3  ship [0:3] is called
  commit 7  ship [0:3] done, run completed

again: crash_everywhere(..., crash_at='before commit 2')"""


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda: crash_everywhere(order), "takes a call of a workflow, like process_order"),  # type: ignore[arg-type]
        (lambda: crash_everywhere(charge("ada")), "takes a call of a workflow"),
        (lambda: crash_everywhere(order("ada"), max_points=0), "max_points is a whole number from 1 on, not 0"),
        (
            lambda: crash_everywhere(order("ada"), store="postgres"),
            "store is one of 'memory', 'sqlite', not 'postgres'",
        ),
        (lambda: crash_everywhere(order("ada"), crash_at="commit 7"), "no place for a crash; they are called"),
        (lambda: crash_everywhere(order("ada"), start=datetime(2024, 1, 1)), "start is a time with a zone"),
        (lambda: tried(order("ada"), crash_at="before commit 99"), "there are 4 commits, 2 effects"),
        (lambda: tried(order("ada"), activities={charge: lambda: "x"}), "cannot be called like it"),
    ],
)
@pytest.mark.filterwarnings("ignore:call of")
def test_bad_input_is_refused(wrong: Any, told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        wrong()


ENDLESS = """
from perdure import activity, sleep, workflow
from perdure.testing import crash_everywhere

@activity
async def tell() -> None:
    print("begun", flush=True)

@workflow
async def endless() -> None:
    await tell()
    while True:
        await sleep("1 day")

crash_everywhere(endless()).wait()
"""


def test_ctrl_c_ends_it_without_further_noise(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text(ENDLESS)
    with subprocess.Popen(
        [sys.executable, "endless.py"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=600)

    assert process.returncode != 0
    assert told.endswith("KeyboardInterrupt\n")
    assert "destroyed" not in told


# points


def test_a_point_is_named_and_found_by_its_name() -> None:
    points = points_of([("commit", 1), ("effect", 1), ("crash", 0), ("commit", 2)])

    assert len(points) == 9
    assert [point_of(str(point)) for point in points] == points
    assert [point.kind for point in points[:5]] == [*KINDS, "effect"]


def test_a_sample_takes_one_of_each_stretch() -> None:
    points = [Point("before", n) for n in range(1, 101)]

    chosen = [point.number for point in sample(points, 10, seed=1)]

    assert [(number - 1) // 10 for number in chosen] == list(range(10))
    assert chosen == [point.number for point in sample(points, 10, seed=1)]
    assert chosen != [point.number for point in sample(points, 10, seed=2)]
    assert sample(points, 1_000, seed=1) == points

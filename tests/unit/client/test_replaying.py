"""Recorded histories and the code at hand: each way in which they may not fit has a verdict of its own."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from perdure import Engine, RunDidNotComplete, activity, sleep, workflow
from perdure.client.export import ExportedRun, read_export
from perdure.client.redaction import redacted
from perdure.client.replaying import Replays, Report, Verdict, replayed
from perdure.kernel import events as ev
from perdure.kernel import wire


@activity
async def charge(amount: int) -> int:
    return amount


@activity
async def mail(to: str) -> None: ...


@activity(name="charge")
async def charge_in_words(amount: int) -> list[str]:
    return [str(amount)]


@activity
async def swell(size: int) -> str:
    return "x" * size


@workflow(name="order")
async def recorded(amount: int) -> int:
    paid = await charge(amount)
    await mail("ada")
    return paid


def order(code: Callable[..., Any]) -> Any:
    """Another version of the workflow."""
    return workflow(name="order")(code)


def recording(of: Any, *arguments: Any, activities: Any = (charge, mail, swell), ends: bool = True) -> ExportedRun:
    """The export of a run, read back from its document."""
    with Engine("memory://", [of, *activities]) as engine:
        handle = engine.start(of(*arguments), id="order-1").wait()
        if ends:
            with suppress(RunDidNotComplete):
                handle.result().wait()
        return read_export(handle.export().wait().to_json())


def judged(run: ExportedRun, *definitions: Any, stuck_after: float = 60.0) -> Verdict:
    with Replays(definitions, stuck_after=stuck_after) as replays:
        return replays.judge("order-1.json", run)


ORDER = recording(recorded, 7)


def test_the_code_that_has_recorded_a_history_does_what_it_has() -> None:
    verdict = judged(ORDER, recorded, charge, mail)

    assert verdict == Verdict("order-1.json", "order-1", "order", "completed", 6, 6)
    assert verdict.kind == "ok"
    assert verdict.lines() == ["order-1.json has 6 events"]


def test_steps_in_another_order_diverge_and_the_line_is_named() -> None:
    @order
    async def swapped(amount: int) -> int:
        await mail("ada")
        return await charge(amount)

    verdict = judged(ORDER, swapped, charge, mail)

    line = swapped.fn.__code__.co_firstlineno + 2
    assert verdict.kind == "divergence"
    assert verdict.lines() == [
        "order-1.json diverges after event 1",
        "history:  activity charge [0:1]    code:  activity mail [0:1]",
        f"at {__file__}:{line}  (the history has mail later, as event 4: did the order of the steps change?)",
        'keep the old way for old runs:  if patched("name-of-the-change"): ... else: ...',
    ]


def test_a_step_that_is_left_out_diverges() -> None:
    @order
    async def short(amount: int) -> int:
        return await charge(amount)

    verdict = judged(ORDER, short, charge, mail)

    assert verdict.after == 3
    assert verdict.lines()[1] == "history:  activity mail [0:2]    code:  completion"


def test_a_step_more_diverges() -> None:
    @order
    async def long(amount: int) -> int:
        _, paid = await asyncio.gather(mail("bob"), charge(amount))
        await mail("ada")
        return paid

    verdict = judged(ORDER, long, charge, mail)

    assert verdict.kind == "divergence"
    assert "the code does more than was done" in verdict.lines()[2] or "later" in verdict.lines()[2]


def test_a_bug_in_the_code_is_a_bug() -> None:
    @order
    async def buggy(amount: int) -> int:
        await charge(amount)
        return amount.no_such_thing  # type: ignore[attr-defined]

    verdict = judged(ORDER, buggy, charge, mail)

    assert verdict.lines()[:2] == [
        "order-1.json meets a bug after event 3",
        "AttributeError: 'int' object has no attribute 'no_such_thing'",
    ]
    assert verdict.lines()[2].startswith(f"at {__file__}:")


def test_a_value_that_can_no_longer_be_read_is_named() -> None:
    @order
    async def in_words(amount: int) -> list[str]:
        paid = await charge_in_words(amount)
        await mail("ada")
        return paid

    verdict = judged(ORDER, in_words, charge_in_words, mail)

    assert verdict.kind == "undecodable"
    assert verdict.lines()[0] == "order-1.json has a value that can no longer be read after event 3"
    assert "the result of activity charge [0:1] can no longer be read" in verdict.lines()[1]


def test_a_side_effect_that_was_not_recorded_is_named() -> None:
    @order
    async def curious(amount: int) -> int:
        workflow.side_effect(int)
        return amount

    verdict = judged(ORDER, curious, charge, mail)

    assert verdict.kind == "divergence"
    assert "asks for the side effect [0:1], which the history does not have" in verdict.lines()[1]


def test_an_activity_that_is_not_here_is_named() -> None:
    verdict = judged(ORDER, recorded, charge)

    assert verdict.kind == "unknown-activity"
    assert "mail" in verdict.lines()[1]


def test_a_workflow_that_is_not_here_is_named_with_those_that_are() -> None:
    @workflow
    async def shipping() -> None: ...

    verdict = judged(ORDER, shipping, charge)

    assert verdict.lines() == [
        "order-1.json is of a workflow that is not here",
        "'order' was not given; there are: shipping",
        "give it, too;  if it has another name now:  @workflow(aliases=['order'])",
    ]


def test_code_that_does_not_come_to_an_await_is_interrupted() -> None:
    @order
    async def endless(amount: int) -> int:
        while True:
            amount += 1

    assert judged(ORDER, endless, charge, mail, stuck_after=0.3).kind == "stuck"


def test_an_open_run_is_replayed_as_far_as_it_has_come() -> None:
    @workflow
    async def patient() -> None:
        await charge(1)
        await sleep("30 days")

    with Engine("memory://", [patient, charge]) as engine:
        handle = engine.start(patient(), id="p").wait()
        while handle.describe().wait().status != "waiting":
            pass
        run = handle.export().wait()

    assert judged(run, patient, charge) == Verdict("order-1.json", "p", "patient", "waiting", 4, 4)


@order
async def broken(amount: int) -> int:
    await charge(amount)
    raise TypeError("what was I thinking")


def test_a_blocked_run_is_asked_for_the_answer_it_owes() -> None:
    blocked = recording(broken, 7)
    assert blocked.run.open_tail

    assert judged(blocked, broken, charge, mail).kind == "bug"
    assert judged(blocked, recorded, charge, mail).kind == "ok", "mended code would go on with it"


def test_what_a_blocked_run_would_do_next_is_not_done() -> None:
    blocked = recording(broken, 7)
    made: list[int] = []

    @order
    async def mended(amount: int) -> str:
        await charge(amount)
        made.append(amount)
        return "x" * 200_000

    assert judged(blocked, mended, charge, mail).kind == "ok"
    assert made == [7]
    assert blocked == read_export(blocked.to_json())


def test_a_failure_that_was_recorded_is_an_answer_like_others() -> None:
    @order
    async def declines(amount: int) -> int:
        await charge(amount)
        raise ValueError("declined")

    run = recording(declines, 7)

    assert run.run.note == "ValueError: declined"
    assert judged(run, declines, charge, mail).kind == "ok"
    assert judged(run, recorded, charge, mail).kind == "divergence"


def test_large_values_are_found_and_missing_ones_are_told() -> None:
    @order
    async def swells(size: int) -> int:
        return len(await swell(size))

    run = recording(swells, 100_000)
    (blob,) = run.blobs
    gone = msgspec.structs.replace(run, blobs=[])
    spoiled = msgspec.structs.replace(run, blobs=[msgspec.structs.replace(blob, data=b'"y"')])

    assert hashlib.sha256(blob.data).hexdigest() == blob.sha256
    assert judged(run, swells, swell).kind == "ok"
    for damaged in (gone, spoiled):
        verdict = judged(damaged, swells, swell)
        assert verdict.kind == "undecodable"
        assert f"the payload sha256:{blob.sha256} is missing" in verdict.lines()[1]


def test_what_is_redacted_is_refused_and_not_called_a_divergence() -> None:
    verdict = judged(redacted(ORDER), recorded, charge, mail)

    assert verdict.kind == "unreadable"
    assert verdict.id == "order-1"
    assert verdict.lines() == [
        "order-1.json cannot be replayed",
        "its values are redacted, so the code cannot be shown what really happened",
        "export it without --redact",
    ]


def remade(*events: ev.HistoryEvent) -> ExportedRun:
    run = msgspec.structs.replace(ORDER.run, seq=len(events))
    wires = [type(ORDER.events[0])(wire.encode(event)) for event in events]
    return msgspec.structs.replace(ORDER, run=run, events=wires)


def test_a_history_that_no_run_can_have_is_unreadable() -> None:
    started, *rest = wire.decode_history(ORDER.stored().history)

    assert judged(remade(*rest), recorded, charge, mail).lines()[1] == "it does not begin with RunStarted"
    assert judged(remade(started, started), recorded, charge, mail).kind in ("unreadable", "divergence")


def test_a_run_that_nobody_has_begun_has_nothing_to_replay() -> None:
    assert judged(remade(), recorded, charge, mail).kind == "ok"


def test_it_works_where_a_loop_runs_already() -> None:
    async def in_a_test() -> Verdict:
        verdict = judged(ORDER, recorded, charge, mail)
        await asyncio.sleep(0)
        return verdict

    assert asyncio.run(in_a_test()).kind == "ok"


def test_an_engine_in_the_same_process_is_not_disturbed() -> None:
    """Its workflows are watched by its own watchdog alone."""

    @workflow
    async def slow() -> int:
        total = 0
        for n in range(3_000_000):
            total += n
        return total

    with (
        Engine("memory://", [slow], stuck_after=30) as engine,
        Replays([recorded, charge], stuck_after=0.02) as replays,
    ):
        handle = engine.start(slow(), id="s").wait()
        replays.judge("a", ORDER)

        assert handle.result().wait() == 4_499_998_500_000


def test_a_report_says_how_many_and_tells_of_each_that_does_not_fit() -> None:
    good = replayed([("a", ORDER), ("b", ORDER)], [recorded, charge, mail])
    mixed = replayed([("a", ORDER), ("b", redacted(ORDER))], [recorded, charge, mail])

    assert (len(good.verdicts), good.events, good.failed) == (2, 12, [])
    assert str(Report(good.verdicts, 1.25)) == "2 histories replayed, 12 events, 1.2 s"
    assert str(Report(mixed.verdicts, 0.04)) == (
        "b (order-1) cannot be replayed\n"
        "    its values are redacted, so the code cannot be shown what really happened\n"
        "    export it without --redact\n"
        "1 of 2 histories replayed, 12 events, 0.0 s"
    )

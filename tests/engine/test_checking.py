"""Before a deploy: `Checks` says what would become of the runs of a database, and changes nothing."""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from perdure import (
    Client,
    Engine,
    RunBlocked,
    RunCancelled,
    activity,
    channel,
    deprecate_patch,
    patched,
    sleep,
    task,
    workflow,
)
from perdure.client.checking import CheckReport, Checks
from perdure.handlers import Message
from perdure.stores.open import open_store
from tests.engine.clocks import Later


class Bill(msgspec.Struct):
    amount: int


class DatedBill(msgspec.Struct):
    amount: int
    due: str


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs.db"


@activity
async def charge(amount: int) -> int:
    return amount


@activity
async def mail(to: str) -> None: ...


@activity
async def bill_of(amount: int) -> Bill:
    return Bill(amount)


@activity(name="bill_of")
async def dated_bill_of(amount: int) -> DatedBill: ...  # type: ignore[empty-body]


@activity(queue="nobody")
async def send(bill: Bill) -> None: ...


@activity(name="send", queue="nobody")
async def send_dated(bill: DatedBill) -> None: ...


def order(code: Callable[..., Any]) -> Any:
    return workflow(name="order")(code)


@order
async def recorded(pause: float) -> None:
    await charge(7)
    await sleep(pause)
    await mail("ada")


@order
async def swapped(pause: float) -> None:
    await mail("ada")
    await charge(7)
    await sleep(pause)


@order
async def guarded(pause: float) -> None:
    if patched("greet first"):
        await mail("ada")
    await charge(7)
    await sleep(pause)


ALL = [charge, mail, bill_of, send]


def left(address: str, code: Any, *arguments: Any, ids: Any = ("o",), status: str = "waiting") -> None:
    """Open runs whose engine has ended."""
    with Engine(address, [code, *ALL]) as engine:
        for id in ids:
            engine.start(code(*arguments), id=id).wait()
        for id in ids:
            while engine.handle(id).describe().wait().status != status:
                pass


def looked(address: str, *definitions: Any, closed: int = 100) -> CheckReport:
    store = open_store(address, create=False, migrate=False)
    try:
        with Checks(definitions, store) as checks:
            return checks.all(closed)
    finally:
        store.admin.close()


def test_code_that_does_what_is_recorded_is_fit_for_all_runs(address: str):
    left(address, recorded, 3600, ids=("a", "b"))
    with Engine(address, [recorded, *ALL]) as engine:
        engine.run(recorded(0), id="c").wait()
    report = looked(address, recorded, *ALL)

    assert (report.open, report.closed, report.stuck, report.findings) == (2, 1, 0, [])
    assert report.events == 4 + 4 + 6


def test_equal_findings_are_one_with_the_number_of_runs_and_the_line(address: str):
    left(address, recorded, 3600, ids=[f"o-{n}" for n in range(12)])
    report = looked(address, swapped, *ALL)

    (finding,) = report.findings
    line = swapped.fn.__code__.co_firstlineno + 2
    assert (finding.runs, finding.open, len(finding.ids), report.stuck) == (12, True, 5, 12)
    assert finding.verdict.after == 1
    assert finding.verdict.block.recorded == "activity charge [0:1]"
    assert finding.verdict.block.produced == "activity mail [0:1]"
    assert finding.verdict.block.source == f"{__file__}:{line}"
    assert "if patched(" in finding.verdict.block.hint


def test_closed_runs_that_do_not_fit_are_told_and_do_not_count(address: str):
    with Engine(address, [recorded, *ALL]) as engine:
        for n in range(3):
            engine.run(recorded(0), id=f"o-{n}").wait()

    report = looked(address, swapped, *ALL, closed=2)
    assert (report.closed, report.stuck, len(report.blocking)) == (2, 0, 0)
    assert report.findings[0].runs == 2
    assert looked(address, swapped, *ALL, closed=0).closed == 0


def test_which_open_runs_still_need_the_old_way_is_counted(address: str):
    left(address, recorded, 3600, ids=("old-1", "old-2", "old-3"))
    left(address, guarded, 3600, ids=("new",))
    (patch,) = looked(address, guarded, *ALL).patches
    assert (patch.workflow, patch.id, patch.old, patch.new, patch.advice) == ("order", "greet first", 3, 1, "")


def test_the_next_step_of_a_change_is_named_when_its_time_has_come(address: str):
    @order
    async def deprecated(pause: float) -> None:
        deprecate_patch("greet first")
        await mail("ada")
        await charge(7)
        await sleep(pause)

    left(address, guarded, 3600, ids=("new",))
    assert "write deprecate_patch('greet first')" in looked(address, guarded, *ALL).patches[0].advice
    assert looked(address, deprecated, *ALL).patches[0].advice == ""
    with Client(address) as client:
        client.handle("new").terminate().wait()
    left(address, deprecated, 3600, ids=("newer",))
    assert "deprecate_patch('greet first') can go" in looked(address, deprecated, *ALL).patches[0].advice


def test_a_result_of_another_shape_is_found_and_then_blocks_the_run_and_nothing_else_happens_to_it(address: str):
    @order
    async def billed(pause: float) -> int:
        bill = await bill_of(7 if pause == 3600 else 8)
        await sleep(pause)
        return bill.amount

    @order
    async def dated(pause: float) -> int:
        bill = await dated_bill_of(7)
        await sleep(pause)
        return bill.amount

    left(address, billed, 3600)
    left(address, billed, 10_000, ids=("another",))
    (finding,) = looked(address, dated, dated_bill_of).findings
    assert (finding.verdict.kind, finding.runs) == ("undecodable", 2)
    assert "the result of activity bill_of [0:1] can no longer be read" in finding.verdict.block.message
    assert "missing required field due" in finding.verdict.block.message

    with Engine(address, [dated, dated_bill_of], world=Later()) as engine, pytest.raises(RunBlocked, match="due"):
        engine.handle("o").result().wait()
    with Engine(address, [billed, bill_of], world=Later()) as engine:  # the code that can read it
        assert engine.handle("o").result().wait() == 7


def test_arguments_of_a_step_without_a_result_are_read_too(address: str):
    @order
    async def sending(pause: float) -> None:
        await send(Bill(7))

    @order
    async def sending_dated(pause: float) -> None:
        await send_dated(DatedBill(7, "monday"))

    left(address, sending, 1)
    (finding,) = looked(address, sending_dated, send_dated).findings

    assert finding.verdict.kind == "undecodable"
    assert "the arguments of activity send [0:1] can no longer be read" in finding.verdict.block.message
    assert "due" in finding.verdict.block.message


def test_the_arguments_of_a_queued_run_are_read_too(address: str):
    @order
    async def wordy(pause: str) -> None: ...

    with Engine(address, [recorded, *ALL]):
        pass
    with Client(address) as client:
        client.start("order", [5], id="queued").wait()
    assert looked(address, recorded, *ALL).stuck == 0
    (finding,) = looked(address, wordy, *ALL).findings

    assert "the input of workflow order can no longer be read" in finding.verdict.block.message
    assert "pause" in finding.verdict.block.message


def test_names_nobody_has_are_found_with_the_line_to_write(address: str):
    @activity
    async def debit(amount: int) -> int:
        return amount

    @order
    async def renamed(pause: float) -> None:
        await debit(7)
        await sleep(pause)

    @workflow
    async def shipping() -> None: ...

    @order
    async def sending(pause: float) -> None:
        await send(Bill(7))

    left(address, recorded, 3600, ids=("a",))
    left(address, sending, 3600, ids=("b",))

    by_id = {finding.ids[0]: finding.verdict.block for finding in looked(address, renamed, debit, mail).findings}
    assert "@activity(aliases=['charge'])" in by_id["a"].hint
    (gone,) = looked(address, shipping).findings
    assert gone.runs == 2
    assert gone.verdict.kind == "unknown-workflow"
    assert "@workflow(aliases=['order'])" in gone.verdict.block.hint
    (missing,) = looked(address, sending, mail, charge).findings[:1]
    assert missing.verdict.kind in ("divergence", "unknown-activity")


def test_a_step_whose_activity_is_gone_is_found_though_the_workflow_does_not_call_it_any_more(address: str):
    @order
    async def sending(pause: float) -> None:
        await send(Bill(7))

    @activity(name="send", queue="nobody")
    async def other(bill: Bill) -> None: ...

    left(address, sending, 1)
    report = looked(address, sending, charge)

    assert report.findings[0].verdict.kind == "unknown-activity"
    assert looked(address, sending, other).stuck == 0


def files_of(address: str) -> Iterator[str]:
    for path in sorted(Path(address.removeprefix("sqlite:///")).parent.iterdir()):
        if path.suffix == ".db":
            yield hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_database_is_checked_while_an_engine_owns_it_and_is_not_changed(address: str):
    with Engine(address, [recorded, *ALL]) as engine:
        engine.start(recorded(3600), id="o").wait()
        while engine.handle("o").describe().wait().status != "waiting":
            pass
        assert looked(address, swapped, *ALL).stuck == 1
        assert engine.handle("o").describe().wait().status == "waiting"
    before = list(files_of(address))
    looked(address, swapped, *ALL)

    assert list(files_of(address)) == before


def test_runs_that_are_pinned_to_another_build_are_told_and_do_not_count(address: str):
    with Engine(address, [recorded, *ALL], build="monday") as engine:
        engine.start(recorded(3600), id="o", versioning="pinned").wait()
        engine.start(recorded(3600), id="free").wait()
        while {row.status for row in engine.list().wait()} != {"waiting"}:
            pass
    report = looked(address, swapped, *ALL)
    assert [(each.pinned, each.runs) for each in report.findings] == [("", 1), ("monday", 1)]
    assert (report.stuck, report.pinned) == (1, {"monday": 1})

    store = open_store(address, create=False, migrate=False)
    with Checks([swapped, *ALL], store, build="monday") as checks:
        report = checks.all()
    store.admin.close()
    assert (report.stuck, report.pinned) == (2, {})


def test_a_signal_that_can_no_longer_be_read_is_found_recorded_or_waiting(address: str):
    @workflow(name="order")
    class Approving:
        @workflow.run
        async def run(self, pause: float) -> None:
            await sleep(pause)

        @workflow.signal
        async def approve(self, bill: Bill) -> None: ...

    @workflow(name="order")
    class ApprovingDated:
        @workflow.run
        async def run(self, pause: float) -> None:
            await sleep(pause)

        @workflow.signal
        async def approve(self, bill: DatedBill) -> None: ...

    with Engine(address, [Approving]) as engine:
        for id in ("heard", "unheard"):
            engine.start(Approving.run(3600), id=id).wait()
        engine.handle("heard").signal("approve", Bill(7)).wait()
    with Client(address) as client:
        client.handle("unheard").signal("approve", Bill(8)).wait()
    assert looked(address, Approving).stuck == 0
    found = {each.ids[0]: each.verdict.block.message for each in looked(address, ApprovingDated).findings}

    assert "the signal approve can no longer be read" in found["heard"]
    assert "the signal approve, which waits to be read, can no longer be read" in found["unheard"]
    assert all("missing required field due" in message for message in found.values())
    with Engine(address, [ApprovingDated]) as engine, pytest.raises(RunBlocked, match="due"):
        engine.handle("heard").cancel().wait()
        engine.handle("heard").result().wait()
    with Engine(address, [Approving]) as engine, pytest.raises(RunCancelled):  # the code that can read it goes on
        engine.handle("heard").result().wait()


def test_arguments_that_can_no_longer_be_read_hold_the_attempt_until_code_that_can_read_them_comes(address: str):
    tries: list[int] = []

    @activity(name="charge")
    async def unlucky(amount: int) -> int:
        tries.append(amount)
        raise ConnectionError("not now")

    @activity(name="charge")
    async def in_bills(amount: Bill) -> int:
        return amount.amount

    @order
    async def charging(pause: float) -> int:
        return await unlucky(7)

    @order
    async def charging_bills(pause: float) -> int:
        return await in_bills(Bill(7))

    @order
    async def charging_at_last(pause: float) -> int:
        return await charge(7)

    with Engine(address, [charging, unlucky]) as engine:
        engine.start(charging(0), id="o").wait()
        while engine.handle("o").describe().wait().status != "retrying":
            pass
    with Engine(address, [charging_bills, in_bills]) as engine, pytest.raises(RunBlocked) as held:
        engine.handle("o").result().wait()
    assert "held by a bug in activity charge" in str(held.value)
    assert "Bill" in str(held.value)
    with Engine(address, [charging_at_last, charge]) as engine:
        assert engine.handle("o").result().wait() == 7


class Decision(msgspec.Struct):
    approved: bool


class ReasonedDecision(msgspec.Struct):
    approved: bool
    reason: str


class LaxDecision(msgspec.Struct):
    approved: bool
    reason: str = ""


def asking(form: Any) -> Any:
    @workflow(name="order")
    async def asks() -> None:
        await task("Approve", form=form)

    return asks


def test_a_human_task_whose_answer_could_not_be_read_any_more_is_found(address: str):
    left(address, asking(Decision))

    (found,) = looked(address, asking(ReasonedDecision)).findings

    assert found.verdict.block.message == (
        "human task Approve [0:1] is open, and no answer to what people are asked can be read: reason is required, and not "
        "asked for"
    )
    assert "give new fields a default" in found.verdict.block.hint
    assert looked(address, asking(LaxDecision)).findings == []


def test_a_signal_that_nobody_hears_any_more_is_found_with_what_to_write(address: str):
    news = channel("news", str)

    @order
    async def hears(pause: float) -> None:
        await news.receive()
        await sleep(pause)

    olds = channel("olds", str)

    @order
    async def deaf(pause: float) -> None:
        await olds.receive()

    with Engine(address, [hears]) as engine:
        engine.start(hears(3600), id="o").wait()
        engine.handle("o").signal("news", "new").wait()
        while engine.handle("o").describe().wait().note != "timer":
            pass
    (found,) = looked(address, deaf).findings

    assert "the signal news can no longer be heard" in found.verdict.block.message
    assert found.verdict.block.hint.startswith("keep its handler, or its channel")


def test_a_signal_that_comes_with_a_queued_start_is_read_too(address: str):
    def listening(kind: type) -> Any:
        news = channel("news", kind)

        @order
        async def hears(pause: float) -> None:
            await news.receive()

        return hears

    with Engine(address, [listening(Bill)]):
        pass
    with Client(address) as client:
        client.start("order", [1.0], id="o", signal=Message("news", [Bill(7)])).wait()
    assert looked(address, listening(Bill)).findings == []

    (found,) = looked(address, listening(DatedBill)).findings
    assert "the signal news, which waits to be read, can no longer be read" in found.verdict.block.message


def test_what_each_run_calls_by_a_name_of_its_own_is_one_finding(address: str):
    def asking_for(first: str) -> Any:
        @order
        async def asks(pause: float) -> None:
            if first:
                await mail(first)
            await task(f"Approve {workflow.info().id}")

        return asks

    left(address, asking_for(""), 1, ids=("a", "b", "c"))

    (found,) = looked(address, asking_for("ada"), mail).findings

    assert (found.runs, sorted(found.ids)) == (3, ["a", "b", "c"])
    assert re.fullmatch(r"human task Approve [abc] \[0:1\]", found.verdict.block.recorded)


def test_a_bug_that_names_its_run_is_one_finding(address: str):
    @order
    async def buggy(pause: float) -> None:
        raise TypeError(f"of {workflow.info().id}")

    left(address, recorded, 3600, ids=("a", "b", "c"))

    (found,) = looked(address, buggy).findings

    assert (found.runs, found.verdict.block.kind) == (3, "bug")


def test_a_child_that_was_renamed_is_found_with_the_alias_to_write(address: str):
    @workflow(name="pay")
    async def pay(pause: float) -> None:
        await sleep(pause)

    @workflow(name="charge")
    async def charge_it(pause: float) -> None:
        await sleep(pause)

    @workflow(name="charge", aliases=["pay"])
    async def charge_as_before(pause: float) -> None:
        await sleep(pause)

    def calling(child: Any) -> list[Any]:
        @order
        async def calls(pause: float) -> None:
            await child(pause)

        return [calls, child]

    with Engine(address, calling(pay)) as engine:
        engine.start("order", [3600.0], id="o").wait()
        while engine.handle("o").describe().wait().note != "child pay":
            pass
    hints = {
        found.verdict.workflow: found.verdict.block.hint for found in looked(address, *calling(charge_it)).findings
    }

    assert hints["order"].startswith("if pay is called charge now:  @workflow(aliases=['pay']);  else keep the old way")
    assert "@workflow(aliases=['pay'])" in hints["pay"]
    assert looked(address, *calling(charge_as_before)).findings == []

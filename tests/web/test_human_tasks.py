"""Human tasks on the page of a run."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from perdure import Engine, RunDescription, task, workflow
from perdure.stores.open import open_store
from perdure.testing import TestEngine
from perdure.web.reasons import Scene, reasons
from perdure.web.timeline import timeline
from tests.web.conftest import Looked, Web


@workflow
async def loan() -> bool:
    return await task(
        "Approve <b>loan</b>",
        form=bool,
        assignees=["ann", "group:credit"],
        due="2 days",
        remind="1 day",
        data={"amount": 5},
    )


@pytest.fixture
def engine() -> Iterator[TestEngine]:
    with TestEngine([loan]) as engine:
        engine.start(loan(), id="loan-17").wait()
        yield engine


def described(engine: TestEngine) -> RunDescription:
    return engine.handle("loan-17").describe().wait()


def chips(engine: TestEngine) -> list[str]:
    (row,) = timeline(described(engine), None, False).rows
    return [chip.text for chip in row.chips]  # type: ignore[union-attr]


def test_a_card_says_who_is_asked_and_what_to_type(engine: TestEngine) -> None:
    (card,) = reasons(described(engine), Scene())

    assert (card.title, card.what, card.detail) == ("Asks people", "Approve <b>loan</b>", "waits for ann, group:credit")
    assert card.command == "perdure task show loan-17/0:1"
    assert card.until is not None


def test_a_card_says_who_has_it_and_that_it_is_overdue(engine: TestEngine) -> None:
    engine.tasks.claim("loan-17", by="ann").wait()
    engine.sleep("2 days 1h").wait()

    (card,) = reasons(described(engine), Scene())

    assert (card.title, card.hue, card.detail) == ("Overdue", "fail", "claimed by ann · 1 reminder")


def test_the_row_of_a_task_says_whom_it_waits_for_who_has_it_and_who_has_done_it(engine: TestEngine) -> None:
    waits = chips(engine)
    engine.tasks.claim("loan-17", by="ann").wait()
    has = chips(engine)
    engine.sleep("2 days 1h").wait()
    late = chips(engine)
    engine.tasks.complete("loan-17", True, by="ann").wait()
    engine.handle("loan-17").result().wait()

    assert waits == ["waits for ann, group:credit"]
    assert has == ["ann has it"]
    assert late == ["ann has it", "overdue"]
    assert chips(engine) == ["by ann"]


def test_the_pages_of_a_run_with_a_task_are_shown(tmp_path: Path) -> None:
    with TestEngine([loan], store=f"sqlite:///{tmp_path}/runs.db") as engine:
        engine.start(loan(), id="loan-17").wait()
        web = Web(engine.store)
        page = web.get("/runs/loan-17?step=0:1").text
        events = web.get("/runs/loan-17/events").text

    assert "Approve &lt;b&gt;loan&lt;/b&gt;" in page
    assert "<b>loan</b>" not in page
    assert "i-person" in page
    assert "Human task" in page
    assert "TaskOpened" in events


def test_beside_the_timeline_is_said_whom_it_is_for_and_what_it_asks_before_what_it_shows(tmp_path: Path) -> None:
    with TestEngine([loan], store=f"sqlite:///{tmp_path}/runs.db") as engine:
        engine.start(loan(), id="loan-17").wait()
        web = Web(engine.store)
        before = web.get("/runs/loan-17?step=0:1").text
        engine.tasks.complete("loan-17", True, by="<i>zoe</i>", force=True).wait()
        engine.handle("loan-17").result().wait()
        after = web.get("/runs/loan-17?step=0:1").text

    assert (
        before.index("<dt>For</dt>") < before.index("<dt>answer</dt><dd>true or false</dd>") < before.index("<h2>Data")
    )
    assert "&lt;i&gt;zoe&lt;/i&gt; (by force)" in after
    assert "<dt>answer</dt>" not in after
    assert "<h2>Answer" in after


def test_the_title_of_a_task_is_seen_beside_those_it_waits_for(shows: Callable[..., Looked], tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'runs.db'}"

    def asks() -> None:
        with Engine(address, [loan]) as engine:
            engine.start(loan(), id="loan-17").wait()

    with ThreadPoolExecutor(1) as beside:  # a loop runs on this thread
        beside.submit(asks).result()
    store = open_store(address)
    page = shows(store, now=time.time_ns).open("/runs/loan-17")

    seen = page.evaluate(
        """() => [...document.querySelectorAll(".lab")].filter(lab => lab.querySelector(".x.long")).map(lab => ({
            title: lab.querySelector(".nm").getBoundingClientRect().width,
            over: lab.querySelector(".du").getBoundingClientRect().right - lab.getBoundingClientRect().right,
        }))"""
    )
    store.admin.close()

    assert len(seen) == 1
    assert seen[0]["title"] > 60
    assert seen[0]["over"] <= 0

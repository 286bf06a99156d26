"""What `perdure dev` says of runs: each change once, and never more lines than one can read."""

import time
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from perdure.cli import dev
from perdure.cli.options import Settings
from perdure.cli.telling import LINES, Telling
from perdure.kernel import events as ev
from perdure.stores.base import Batch, Store
from tests.unit.cli import corpus
from tests.unit.cli.conftest import corpus_time


@pytest.fixture
def telling(store: Store, monkeypatch: pytest.MonkeyPatch) -> Telling:
    monkeypatch.setenv("COLUMNS", "100")
    return Telling(store.views, Settings(corpus_time))


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.split(" ", 3)[-1] for line in capsys.readouterr().err.splitlines()]


def test_runs_that_were_there_before_are_not_told(telling: Telling, capsys: pytest.CaptureFixture[str]) -> None:
    telling.look()
    telling.look()

    assert said(capsys) == []


def test_a_run_that_changes_is_told_once(store: Store, telling: Telling, capsys: pytest.CaptureFixture[str]) -> None:
    telling.look()
    story = corpus.waiting()
    story.tell(0, ev.RunTerminated(story.ns(1), "enough"))
    store.journal.commit(Batch(updated=[story.row()], history=[story.history[-1]]))
    telling.look()
    telling.look()

    assert said(capsys) == ["■ onboard-acme-77  customer_onboarding  terminated  enough"]


def test_a_run_that_begins_and_ends_between_two_looks_is_told_by_its_end(
    store: Store, telling: Telling, capsys: pytest.CaptureFixture[str]
) -> None:
    telling.look()
    corpus.failed(102, "etl-2").write(store)
    telling.look()
    telling.look()

    assert said(capsys) == ["✗ etl-2  nightly_warehouse  failed  ActivityFailed: activity load_facts failed"]


def test_each_attempt_that_fails_is_told(store: Store, telling: Telling, capsys: pytest.CaptureFixture[str]) -> None:
    telling.look()
    story = corpus.retrying(104, "order-9")
    story.write(store)
    telling.look()
    story.start(18_980, "0:2", 5)
    story.fail(18_990, "0:2", 5, 18_980, corpus.failure("OSError", "no"), again=19_100)
    store.journal.commit(Batch(updated=[story.row()], attempts=list(story.attempts.values())))
    telling.look()

    assert said(capsys) == [
        "↻ order-9  process_order  retrying  charge_card 4/10",
        "↻ order-9  process_order  retrying  charge_card 5/10",
    ]


def test_many_changes_at_once_are_counted(store: Store, telling: Telling, capsys: pytest.CaptureFixture[str]) -> None:
    telling.look()
    for number in range(50):
        corpus.completed(200 + 2 * number, f"order-{number}").write(store)
    telling.look()

    lines = said(capsys)
    assert len(lines) == LINES + 1
    assert lines[-1].endswith("and 30 more changes")


def test_an_id_cannot_move_the_cursor(store: Store, telling: Telling, capsys: pytest.CaptureFixture[str]) -> None:
    telling.look()
    corpus.completed(102, "a\x1b[2Jb").write(store)
    telling.look()

    assert "\x1b" not in "".join(said(capsys))


class Quick:
    """An engine of `perdure dev` that has a run at its end as soon as it is begun."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def begin(self) -> None:
        corpus.failed(102, "etl-2").write(self._store)


class Still(SimpleQueue[Any]):
    """Nothing comes for one wait; then it is to end."""

    def __init__(self) -> None:
        super().__init__()
        self._gets = 0

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        self._gets += 1
        if self._gets > 1:
            return dev.STOP
        time.sleep(timeout or 0)
        raise Empty


def test_what_a_quick_engine_ends_before_anybody_has_looked_is_told_as_well(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")

    dev._serve(Settings(corpus_time), Still(), Quick(store), store)

    assert said(capsys) == ["✗ etl-2  nightly_warehouse  failed  ActivityFailed: activity load_facts failed"]

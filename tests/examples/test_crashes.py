"""The workflows of the examples bear that their engine dies anywhere; and what the examples warn of is seen if it is left out."""

import hashlib
import itertools
import os
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from examples import quickstart, rollback
from examples.orders import workflows as orders
from examples.orders.model import Order, read_orders
from examples.subscriptions import workflows as subscriptions
from examples.subscriptions.bank import Bank
from examples.trips import workflows as trips
from examples.trips.providers import Providers
from perdure import activity
from perdure.testing import CrashReport, crash_everywhere


def tried(call: Any, **options: Any) -> CrashReport:
    return crash_everywhere(call, progress=False, **options).wait()


class Business:
    """The shop's database, a new one for each run, and a payment service that honours keys, or does not."""

    def __init__(self, folder: Path, honours_keys: bool = True) -> None:
        self._paths = (folder / f"shop-{number}.db" for number in itertools.count())
        self._honours_keys = honours_keys
        self._path = folder
        self.booked: list[tuple[str, str, int]] = []

    def open(self, order: Order) -> None:
        orders.shop.cache_clear()
        self._path = next(self._paths)
        os.environ["ORDERS_SHOP"] = str(self._path)
        orders.shop().fill([order])
        self.booked = []

    def _book(self, kind: str, order_id: int) -> str:
        entry = (activity.info().idempotency_key, kind, order_id)
        if entry not in self.booked or not self._honours_keys:
            self.booked.append(entry)
        return f"{kind}-{self.booked.index(entry) + 1}"

    async def charge(self, order_id: int, amount_cents: int) -> str:
        return self._book("charge", order_id)

    async def refund(self, order_id: int, amount_cents: int, charge_id: str) -> str:
        return self._book("refund", order_id)

    def state(self) -> dict[str, Any]:
        with sqlite3.connect(self._path) as db:
            tables = {
                table: db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall()
                for table in ("stock", "reservations", "shipments", "notifications")
            }
        db.close()
        return {"booked": sorted(self.booked), **tables}

    def tried(self, order: Order) -> CrashReport:
        return tried(
            orders.process_order(order),
            activities={orders.charge: self.charge, orders.refund: self.refund},
            state=self.state,
            reset=lambda: self.open(order),
        )


@pytest.fixture(autouse=True)
def no_shop_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ORDERS_SHOP", "")
    yield
    orders.shop.cache_clear()


def an_order(refused: bool) -> Order:
    return next(order for order in read_orders() if (order.country == "Atlantis") == refused)


@pytest.mark.parametrize("refused", [False, True])
def test_an_order_is_charged_shipped_or_refunded_once_wherever_its_engine_dies(refused: bool, tmp_path: Path) -> None:
    report = Business(tmp_path).tried(an_order(refused)).assert_ok()

    assert report.points == report.places > 25
    assert report.advice == []
    assert report.harmless
    assert ("refund_id='refund-2'" in report.outcome) == refused


def test_without_a_key_money_is_taken_twice_and_that_is_seen(tmp_path: Path) -> None:
    report = Business(tmp_path, honours_keys=False).tried(an_order(refused=True))

    told = "\n".join(fact for finding in report.violations for fact in finding.facts)
    assert {finding.kind for finding in report.violations} == {"state", "outcome"}  # refunds have other numbers, too
    assert "charge [0:2] was called again there" in told
    assert "refund [0.1:1] was called again there" in told
    assert "ship" not in told


@pytest.mark.parametrize(
    ("city", "ending"), [("Lisbon", "completed"), ("Venice", "SoldOut"), ("Brigadoon", "RunFailed")]
)
def test_a_trip_is_booked_whole_or_undone_wherever_its_engine_dies(city: str, ending: str, tmp_path: Path) -> None:
    numbers = itertools.count()

    def reset() -> None:
        providers = Providers(tmp_path / f"ledger-{next(numbers)}.jsonl")
        providers.car.sold_out.add("Venice")
        providers.hotel.silent.add("Brigadoon")
        trips.providers.set(providers)

    def state() -> tuple[list[str], list[Any]]:
        ledger = trips.providers.get().ledger
        return ledger.standing(), ledger.entries()

    report = tried(trips.book_trip(city, 60), definitions=[trips], state=state, reset=reset).assert_ok()

    assert report.points == report.places > 12
    assert ending in report.outcome
    assert report.advice == []


def test_the_quickstart_bears_crashes_and_prints_what_is_done_again(capsys: pytest.CaptureFixture[str]) -> None:
    report = tried(quickstart.process_order(10, "acct", "item")).assert_ok()

    assert report.outcome == "completed with 'Order successful. Txn: txn-4711'"
    assert report.run_seconds == 1
    assert len(report.advice) == 1
    assert capsys.readouterr().out.count("charging 10.00 to acct") > report.points / 2


@pytest.mark.parametrize("seconds", [1, 3_600])
def test_a_migration_is_done_or_rolled_back_wherever_its_engine_dies(seconds: int) -> None:
    report = tried(rollback.migrate("eu-1", seconds)).assert_ok()

    assert ("rolled back" in report.outcome) == (seconds > 300)
    assert report.points == report.places


def test_thumbnails_are_all_there_wherever_the_engine_dies(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    from examples.thumbnails import workflows as thumbnails

    def reset() -> None:
        for file in tmp_path.iterdir():
            file.unlink()

    def state() -> dict[str, str]:
        return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(tmp_path.iterdir())}

    call = thumbnails.gallery(thumbnails.Order(2, str(tmp_path)))
    report = tried(call, state=state, reset=reset, max_points=12).assert_ok()

    assert (report.points, report.effects) == (12, 3)
    assert report.advice == []


@pytest.mark.parametrize("empty", [False, True])
def test_years_of_a_subscription_are_billed_once_a_month_wherever_the_engine_dies(empty: bool) -> None:
    def reset() -> None:
        subscriptions.bank.set(Bank())
        if empty:
            subscriptions.bank.get().empty["ada"] = datetime.max.replace(tzinfo=UTC)

    def state() -> dict[str, Any]:
        return dict(subscriptions.bank.get().charges)

    contract = subscriptions.Subscription("ada", 990, until=2 if empty else 14)
    report = tried(
        subscriptions.subscription(contract), definitions=[subscriptions], state=state, reset=reset, max_points=40
    ).assert_ok()

    assert report.outcome.startswith(
        "completed with 'suspended in month 1" if empty else "completed with 'ended after 14"
    )
    assert report.run_seconds == (15 if empty else 14 * 30) * 86_400

"""The trips of the example, and the providers it books with."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from examples.trips.providers import Entry, Ledger, Provider, SoldOut

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "examples.trips", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )


def deeds(folder: Path) -> list[str]:
    """The ledger without the numbers of trips."""
    return [f"{entry.what} {entry.provider}" for entry in Ledger(folder / "ledger.jsonl").entries()]


def test_the_trips_are_booked_whole_or_undone_backwards(tmp_path: Path) -> None:
    done = run(tmp_path)

    assert done.stderr == ""
    assert deeds(tmp_path) == [
        *("booked flight", "booked hotel", "booked car"),
        *("booked flight", "booked hotel", "void car", "cancelled hotel", "cancelled flight"),
        *("booked flight", "void hotel", "cancelled flight"),
        *("booked flight", "booked hotel", "void car", "cancelled hotel", "cancelled flight"),
    ]
    assert "compensation cancel_hotel failed after 3 attempts: ConnectionError: the hotel desk is closed" in done.stdout
    assert re.search(r"says the ledger: flight-(\w+), hotel-\1, car-\1$", done.stdout.rstrip())


def test_run_again_it_books_nothing_and_tells_the_same_ends(tmp_path: Path) -> None:
    run(tmp_path)
    before = deeds(tmp_path)
    again = run(tmp_path)

    assert deeds(tmp_path) == before
    assert again.stdout.count("not booked: ") == 3
    assert "TimeoutError" in again.stdout


@pytest.fixture
def hotel(tmp_path: Path) -> Provider:
    return Provider("hotel", Ledger(tmp_path / "ledger"))


def test_a_booking_asked_for_twice_is_made_once(hotel: Provider) -> None:
    for _ in range(2):
        asyncio.run(hotel.book("a", "Lisbon"))

    assert hotel.ledger.entries() == [Entry("hotel", "booked", "a")]


def test_what_is_cancelled_twice_is_cancelled_once(hotel: Provider) -> None:
    asyncio.run(hotel.book("a", "Lisbon"))
    for _ in range(2):
        asyncio.run(hotel.cancel("a"))

    assert [entry.what for entry in hotel.ledger.entries()] == ["booked", "cancelled"]
    assert hotel.ledger.standing() == []


def test_a_booking_that_comes_after_its_cancellation_is_none(hotel: Provider) -> None:
    asyncio.run(hotel.cancel("a"))
    asyncio.run(hotel.book("a", "Lisbon"))

    assert [entry.what for entry in hotel.ledger.entries()] == ["void"]
    assert hotel.ledger.standing() == []


def test_what_is_sold_out_is_not_booked(hotel: Provider) -> None:
    hotel.sold_out.add("Lisbon")

    with pytest.raises(SoldOut, match="no hotel in Lisbon"):
        asyncio.run(hotel.book("a", "Lisbon"))
    assert hotel.ledger.entries() == []

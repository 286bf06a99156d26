"""The airline, the hotel and the car rental: services of others, here within the process, with a ledger in a file.

Who books gives a reference of its own. Booking twice under one reference books once, cancelling twice cancels once. What
is cancelled before it is booked stays cancelled: the request may have been overtaken by its cancellation.
"""

import asyncio
import json
import threading
from pathlib import Path
from typing import NamedTuple


class SoldOut(Exception):
    """There is nothing left to book."""


class Entry(NamedTuple):
    """A line of the ledger. `what` happened: booked, cancelled, or void (cancelled, and had never been booked)."""

    provider: str
    what: str
    reference: str


class Ledger:
    """What really happened, in a file that outlives the process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        path.touch()

    def entries(self) -> list[Entry]:
        return [Entry(*json.loads(line)) for line in self._path.read_text().splitlines()]

    def book(self, provider: str, reference: str) -> None:
        with self._lock:
            if not self._known(reference):
                self._write(Entry(provider, "booked", reference))

    def cancel(self, provider: str, reference: str) -> None:
        with self._lock:
            known = self._known(reference)
            if not known & {"cancelled", "void"}:
                self._write(Entry(provider, "cancelled" if known else "void", reference))

    def standing(self) -> list[str]:
        """References of what is booked and not cancelled."""
        return [entry.reference for entry in self.entries() if self._known(entry.reference) == {"booked"}]

    def _known(self, reference: str) -> set[str]:
        return {entry.what for entry in self.entries() if entry.reference == reference}

    def _write(self, entry: Entry) -> None:
        with self._path.open("a") as file:
            file.write(f"{json.dumps(entry)}\n")


class Provider:
    """One of the three. `sold_out` and `silent` are cities; while `closed`, nothing is cancelled."""

    def __init__(self, name: str, ledger: Ledger) -> None:
        self.name = name
        self.ledger = ledger
        self.sold_out: set[str] = set()
        self.silent: set[str] = set()
        self.closed = False

    async def book(self, reference: str, city: str) -> str:
        if city in self.sold_out:
            raise SoldOut(f"no {self.name} in {city}")
        if city in self.silent:
            await asyncio.Event().wait()
        self.ledger.book(self.name, reference)
        return reference

    async def cancel(self, reference: str) -> None:
        if self.closed:
            raise ConnectionError(f"the {self.name} desk is closed")
        self.ledger.cancel(self.name, reference)


class Providers:
    """All three, on one ledger."""

    def __init__(self, ledger: Path) -> None:
        self.ledger = Ledger(ledger)
        self.flight = Provider("flight", self.ledger)
        self.hotel = Provider("hotel", self.ledger)
        self.car = Provider("car", self.ledger)

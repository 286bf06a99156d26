"""A bank that charges cards, once for each key, and whose cards may be empty for a while."""

from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime


class CardDeclined(Exception):
    """There is nothing to be had from this card today."""


@dataclass
class Charge:
    customer: str
    cents: int
    at: datetime


@dataclass
class Bank:
    """`empty` are cards that are declined, until a time."""

    charges: dict[str, Charge] = field(default_factory=dict)
    empty: dict[str, datetime] = field(default_factory=dict)
    mails: list[tuple[str, str]] = field(default_factory=list)

    def charge(self, key: str, customer: str, cents: int, at: datetime) -> None:
        """Asked again with the same key it has been done already."""
        if key in self.charges:
            return
        until = self.empty.get(customer)
        if until is not None and at < until:
            raise CardDeclined(f"the card of {customer} is empty")
        self.charges[key] = Charge(customer, cents, at)

    def paid(self) -> Counter[str]:
        """Cents by customer."""
        total: Counter[str] = Counter()
        for charge in self.charges.values():
            total[charge.customer] += charge.cents
        return total


bank: ContextVar[Bank] = ContextVar("bank")

"""Three customers: one stays for eight years, one has an empty card for a week, one for ever."""

import asyncio
from datetime import timedelta

from examples.subscriptions import workflows
from examples.subscriptions.bank import Bank, bank
from examples.subscriptions.workflows import Subscription, subscription
from perdure.testing import TestEngine

YEARS = 8


def counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


async def main() -> None:
    ledger = Bank()
    bank.set(ledger)
    async with TestEngine([workflows]) as engine:
        began = engine.now()
        ledger.empty["bob"] = began + timedelta(days=7)
        ledger.empty["eve"] = began + timedelta(days=10_000)
        months = {"ada": 12 * YEARS, "bob": 36, "eve": 24}
        handles = {
            customer: await engine.start(
                subscription(Subscription(customer, 900, until)), id=f"subscription-{customer}"
            )
            for customer, until in months.items()
        }
        for customer, handle in handles.items():
            result = await handle.result()
            runs = await engine.count(id_prefix=handle.id)
            bills = await engine.count(parent=handle.id)
            euros = ledger.paid()[customer] / 100
            print(f"{customer}: {result}; {counted(bills, 'bill')}, {euros:.2f} EUR, in {counted(runs, 'run')}")
        print(f"{(engine.now() - began).days / 365:.1f} years have passed")


if __name__ == "__main__":
    asyncio.run(main())

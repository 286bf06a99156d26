"""The 60-second example: `python examples/quickstart.py`.

Run it, and kill it at any moment (Ctrl-C, kill -9, pull the plug). Run it again: what was done is not done again, the
rest is. Once the order is complete, running it again only prints the result.
"""

import asyncio
import sys

from perdure import Engine, Retry, activity, workflow


@activity(timeout="1m", retry=Retry(initial="1s", max_attempts=5))
async def charge_customer(amount: float, account_id: str) -> str:
    print(f"charging {amount:.2f} to {account_id}")
    await asyncio.sleep(1)  # a payment service would be called here, with activity.info().idempotency_key
    return "txn-4711"


@activity
def update_inventory(item_id: str) -> None:
    print(f"taking {item_id} out of stock")


@workflow
async def process_order(amount: float, account_id: str, item_id: str) -> str:
    transaction_id = await charge_customer(amount, account_id)
    await update_inventory(item_id)
    return f"Order successful. Txn: {transaction_id}"


async def main(database: str) -> None:
    async with Engine(database, [process_order, charge_customer, update_inventory]) as engine:
        print(await engine.run(process_order(10, "acct", "item"), id="order-1"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///orders.db"))

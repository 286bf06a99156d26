"""The process that runs the orders, and that gets killed: `python -m examples.orders.engine`.

It keeps no notes about how far it came. It simply starts every order from the file: an id that exists is attached to,
not started twice, so running the script again *is* the recovery. Run it twice at the same time and the second process
stands by, and takes over within a second when the first one dies.
"""

import argparse
import asyncio

from examples.orders import workflows
from examples.orders.model import Order, read_orders
from examples.orders.processes import end_with_parent
from perdure import Engine


async def process_all(database: str, orders: list[Order], in_flight: int) -> None:
    slots = asyncio.Semaphore(in_flight)
    async with Engine(database, [workflows]) as engine:
        print("ready", flush=True)

        async def process(order: Order) -> None:
            async with slots:
                handle = await engine.start(workflows.process_order(order), id=f"order-{order.id}")
                await handle.result()

        await asyncio.gather(*(process(order) for order in orders))


def main() -> None:
    parser = argparse.ArgumentParser(description="Process the orders of orders.jsonl.")
    parser.add_argument("--db", required=True, help="such as sqlite:///orders.db")
    parser.add_argument("--orders", type=int, default=None, help="how many of them")
    parser.add_argument("--in-flight", type=int, default=40, help="how many at the same time")
    options = parser.parse_args()
    end_with_parent()
    asyncio.run(process_all(options.db, read_orders(options.orders), options.in_flight))


if __name__ == "__main__":
    main()

"""The process that runs the orders, and that gets killed: `python -m examples.orders.engine`.

It keeps no notes about how far it came. It simply starts every order from the file: an id that exists is attached to,
not started twice, so running the script again *is* the recovery. Run it twice at the same time on a file and the second
process stands by, and takes over within a second when the first one dies. In PostgreSQL all of them work.
"""

import argparse
import asyncio

from examples.orders import workflows
from examples.orders.model import Order, read_orders
from examples.orders.processes import end_with_parent
from perdure import Engine


async def process_all(database: str, orders: list[Order], in_flight: int, lease: str) -> None:
    slots = asyncio.Semaphore(in_flight)
    async with Engine(database, [workflows], lease=lease) as engine:
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
    parser.add_argument(
        "--part", default="0/1", help="like 1/3: begin with those orders, when three engines share the work"
    )
    parser.add_argument(
        "--lease", default="10s", help="how long an engine may be silent until others take over its runs"
    )
    options = parser.parse_args()
    end_with_parent()
    orders, (part, of) = read_orders(options.orders), map(int, options.part.split("/"))
    mine, others = orders[part::of], [order for n, order in enumerate(orders) if n % of != part]
    asyncio.run(process_all(options.db, mine + others, options.in_flight, options.lease))


if __name__ == "__main__":
    main()

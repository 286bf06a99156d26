"""If a step takes too long, cancel it and roll back: `python examples/rollback.py`.

The time limit is `asyncio.timeout`, as in any Python program. Here it is durable: it is counted from when the block was
entered, however often the process is killed and started again in between.
"""

import asyncio
import sys

from perdure import Engine, activity, workflow


@activity
async def copy_customers(target: str, seconds: float) -> int:
    print(f"copying to {target}, which takes {seconds:g} s")
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        print("copying was cancelled")
        raise
    return 1000


@activity
async def drop_copy(target: str) -> None:
    print(f"dropping the half copy in {target}")


@workflow
async def migrate(target: str, copy_seconds: float, limit_seconds: float = 300) -> str:
    try:
        async with asyncio.timeout(limit_seconds):
            count = await copy_customers(target, copy_seconds)
    except TimeoutError:
        await drop_copy(target)
        return f"rolled back: copying took longer than {limit_seconds:g} s"
    return f"copied {count} customers"


async def main(database: str) -> None:
    async with Engine(database, [migrate, copy_customers, drop_copy]) as engine:
        print(await engine.run(migrate("eu-1", 0.1, limit_seconds=60), id="migrate-quick"))
        print(await engine.run(migrate("eu-2", 60, limit_seconds=0.5), id="migrate-slow"))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "sqlite:///rollback.db"))

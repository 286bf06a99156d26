"""Records a database with runs in many states, by the code at hand: `python -m tests.engine.databases.record`.

Written once for each version of the schema, before the next one comes, as the statements that make it. What is recorded
stays: newer code brings it to its own schema, and goes on with the runs.
"""

import asyncio
import contextlib
import sqlite3
import tempfile
from pathlib import Path

from perdure import Client, Engine, Retry, activity, workflow

HERE = Path(__file__).parent


@activity
async def fetch(what: str) -> str:
    return f"<{what}>"


@activity(retry=Retry(initial="1 day", maximum="1 day"))
async def refuses(what: str) -> str:
    if activity.info().attempt == 1:
        raise ConnectionError("not today")
    return what


@workflow
async def quick(what: str) -> str:
    return await fetch(what)


@workflow
async def sleeps(what: str) -> str:
    got = await fetch(what)
    await workflow.sleep("1 day")
    return await fetch(got)


@workflow
async def tries(what: str) -> str:
    return await refuses(what)


@workflow(retry=Retry(initial="1 day", maximum="1 day"))
async def tries_again(what: str) -> str:
    if workflow.info().attempt == 1:
        raise ValueError("not today")
    return await fetch(what)


ALL = [quick, sleeps, tries, tries_again, fetch, refuses]
RESULTS = {
    "done": "<a>",
    "sleeping": "<<b>>",
    "retrying": "c",
    "next attempt": "<d>",
    "delayed": "<e>",
    "mailed": "<f>",
}


async def fill(address: str) -> None:
    """A run that is done, and others that wait for a timer, a further attempt, their time to begin, and an engine."""
    async with Engine(address, ALL) as engine:
        await engine.run(quick("a"), id="done")
        await engine.start(sleeps("b"), id="sleeping")
        await engine.start(tries("c"), id="retrying")
        await engine.start(tries_again("d"), id="next attempt", request_id="once")
        await engine.start(quick("e"), id="delayed", start_delay="1 day", execution_timeout="9 days")
        while not (await engine.count(status="retrying") and await engine.count(status="waiting")):
            await asyncio.sleep(0.01)
    async with Client(address) as client:
        await client.start("quick", ["f"], id="mailed")


def dump(path: Path) -> tuple[int, str]:
    """The version of the schema, and the statements that make the database."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        (version,), (program,) = (
            connection.execute(f"PRAGMA {name}").fetchone() for name in ("user_version", "application_id")
        )
        ours = (f"PRAGMA user_version = {version};", f"PRAGMA application_id = {program};")
        return version, "\n".join([*ours, *connection.iterdump(), ""])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "runs.db"
        asyncio.run(fill(f"sqlite:///{path}"))
        version, statements = dump(path)
    recorded = HERE / f"schema-{version}.sql"
    if recorded.exists():
        raise SystemExit(f"{recorded.name} is recorded already, and stays as it is")
    recorded.write_text(statements)


if __name__ == "__main__":
    main()

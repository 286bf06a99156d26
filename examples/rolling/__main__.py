"""Deploys three versions of a workflow, one after the other, while its runs are open. Each version is an engine of its own,
in a process of its own; `perdure check` is asked before each deploy.
"""

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from perdure import Client

ROOT = Path(__file__).resolve().parents[2]
LOOK_SECONDS = 0.05


@asynccontextmanager
async def deployed(version: str, address: str) -> AsyncIterator[None]:
    """An engine with that version, as `perdure worker` on a server would be. It ends when it is told to, and its runs wait."""
    command = [
        sys.executable,
        "-m",
        "perdure",
        "worker",
        "--quiet",
        "--db",
        address,
        "--build",
        version,
        "--drain",
        "1s",
    ]
    process = subprocess.Popen([*command, f"examples.rolling.{version}"], cwd=ROOT)
    print(f"\n{version}.py is deployed")
    try:
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


def checked(version: str, address: str) -> bool:
    """Whether the open runs would go on with that version; says so."""
    print(
        f"\n$ perdure check examples.rolling.{version} --against {os.path.relpath(address.removeprefix('sqlite:///'))}"
    )
    command = [sys.executable, "-m", "perdure", "check", f"examples.rolling.{version}", "--against", address]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


async def started(client: Client, names: list[str], pause: float) -> None:
    """Begin orders, and wait until all of them sleep."""
    for name in names:
        await client.start("order", [name, pause], id=name)
    while {row.status for row in await client.list()} - {"waiting", "completed"}:
        await asyncio.sleep(LOOK_SECONDS)


async def deploy(address: str, runs: int, pause: float) -> bool:
    """All of it. Whether everything has come as it should."""
    old, new = ([f"{day}-{n}" for n in range(1, runs + 1)] for day in ("old", "new"))
    with Client(address, create=True) as client:
        async with deployed("monday", address):
            await started(client, old, pause)
            good = not checked("careless", address)
            good &= checked("tuesday", address)
        async with deployed("tuesday", address):
            await started(client, new, pause)
            for name in old:
                print(f"{name}: {await client.handle(name).result()}")
            good &= checked("wednesday", address)
        async with deployed("wednesday", address):
            for name in new:
                print(f"{name}: {await client.handle(name).result()}")
        results = {name: await client.handle(name).result() for name in (*old, *new)}
    wanted = dict.fromkeys(old, "reserved, charged") | dict.fromkeys(new, "checked, reserved, charged")
    return good and results == wanted


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.rolling", description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="orders of each kind, by default 3")
    parser.add_argument("--pause", type=float, default=5.0, help="seconds an order waits to be charged, by default 5")
    parser.add_argument("--dir", type=Path, default=ROOT / ".demo" / "rolling", help="where the database is made anew")
    options = parser.parse_args()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  beside the words of the processes, in order
    options.dir.mkdir(parents=True, exist_ok=True)
    for left in options.dir.glob("runs.db*"):
        left.unlink()
    address = f"sqlite:///{options.dir.resolve()}/runs.db"
    good = asyncio.run(deploy(address, options.runs, options.pause))
    print("\nold orders ended the old way, new ones the new way" if good else "\nsomething went another way")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

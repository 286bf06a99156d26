"""Workflows whose deeds are written down outside the database, as a payment service would write them."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from perdure import Engine, Handle, activity, channel, workflow

go = channel("go", str)
deeds: defaultdict[str, list[str]] = defaultdict(list)
"""What was done, with the idempotency key of each time."""

weighed = threading.Event()
"""Until it is set, whoever weighs is not done."""


@activity
def book(entry: str) -> str:
    deeds[entry].append(activity.info().idempotency_key)
    return entry


@activity
def weigh(entry: str) -> str:
    deeds[entry].append(activity.info().idempotency_key)
    weighed.wait()
    return entry


@workflow
async def shipment(name: str) -> list[str]:
    paid = await book(f"{name}/paid")
    await go.receive()
    return [paid, await book(f"{name}/sent")]


@workflow
async def weighing(name: str) -> str:
    return await weigh(f"{name}/weight")


ALL = [book, weigh, shipment, weighing]


def begun(engine: Engine, names: Sequence[str]) -> dict[str, Handle[list[str]]]:
    """Shipments that are paid and wait for their signal."""
    handles = {name: engine.start(shipment(name), id=name).wait() for name in names}
    until(lambda: all(handle.describe().wait().status == "waiting" for handle in handles.values()))
    return handles


def sent(handles: dict[str, Handle[list[str]]]) -> None:
    """They get their signal, and end."""
    for handle in handles.values():
        handle.signal(go, "now").wait()
    for name, handle in handles.items():
        assert handle.result().wait() == [f"{name}/paid", f"{name}/sent"]


def until(holds: Callable[[], bool]) -> None:
    while not holds():
        time.sleep(0.01)

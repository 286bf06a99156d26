"""The workflow as it was: an item is reserved, and charged some time later."""

from examples.rolling.steps import charge, reserve
from perdure import sleep, workflow


@workflow
async def order(item: str, pause: float) -> str:
    done = [await reserve(item)]
    await sleep(pause)
    done.append(await charge(item))
    return ", ".join(done)

"""Orders are checked first, but for those that have been reserved without."""

from examples.rolling.steps import charge, check_fraud, reserve
from perdure import patched, sleep, workflow


@workflow
async def order(item: str, pause: float) -> str:
    done = [await check_fraud(item)] if patched("check first") else []
    done.append(await reserve(item))
    await sleep(pause)
    done.append(await charge(item))
    return ", ".join(done)

"""No order is left that was reserved without a check: the old way is gone, and a run that needed it would be blocked."""

from examples.rolling.steps import charge, check_fraud, reserve
from perdure import deprecate_patch, sleep, workflow


@workflow
async def order(item: str, pause: float) -> str:
    deprecate_patch("check first")
    done = [await check_fraud(item)]
    done.append(await reserve(item))
    await sleep(pause)
    done.append(await charge(item))
    return ", ".join(done)

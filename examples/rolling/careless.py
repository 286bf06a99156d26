"""Orders are to be checked first. Runs that are open have not been, and would do otherwise than their histories have."""

from examples.rolling.steps import charge, check_fraud, reserve
from perdure import sleep, workflow


@workflow
async def order(item: str, pause: float) -> str:
    done = [await check_fraud(item)]
    done.append(await reserve(item))
    await sleep(pause)
    done.append(await charge(item))
    return ", ".join(done)

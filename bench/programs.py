"""The workflows that are measured. Their activities do nothing, so that what is left is the engine."""

import asyncio

from perdure import activity, workflow


@activity
async def no_op(number: int) -> int:
    return number


@activity
async def endless(number: int) -> int:
    await asyncio.Event().wait()
    return number


@activity
def no_op_in_thread(number: int) -> int:
    return number


@activity(runs_in="process")
def no_op_in_process(number: int) -> int:
    return number


@workflow
async def in_thread(number: int) -> int:
    return await no_op_in_thread(number)


@workflow
async def in_process(number: int) -> int:
    return await no_op_in_process(number)


@workflow
async def three_steps(number: int) -> int:
    first = await no_op(number)
    second = await no_op(first)
    return await no_op(second)


@workflow
async def sequence(steps: int) -> int:
    for number in range(steps):
        await no_op(number)
    return steps


@workflow
async def fan_out(width: int) -> int:
    return len(await asyncio.gather(*(no_op(number) for number in range(width))))


@workflow
async def child(number: int) -> int:
    return await no_op(number)


@workflow
async def parent_of_many(width: int) -> int:
    return len(await asyncio.gather(*(child(number) for number in range(width))))


@activity(queue="bench")
async def remote_no_op(number: int) -> int:
    return number


@workflow
async def remote_fan_out(width: int) -> int:
    return len(await asyncio.gather(*(remote_no_op(number) for number in range(width))))


@workflow
async def remote_steps(number: int) -> int:
    first = await remote_no_op(number)
    second = await remote_no_op(first)
    return await remote_no_op(second)


@workflow
async def idle(number: int) -> int:
    return await endless(number)


@workflow
async def sleeper(seconds: float) -> float:
    """How long it has slept, by the clock of the run."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.sleep(seconds)
    return loop.time() - began


PLACES = [in_thread, in_process, no_op_in_thread, no_op_in_process]
DEFINITIONS = [three_steps, sequence, fan_out, parent_of_many, child, idle, sleeper, no_op, endless]
DEFINITIONS += [remote_fan_out, remote_steps, remote_no_op]

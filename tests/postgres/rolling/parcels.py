"""What members of both versions run: a little of all that has a table. Which version took a step, the step says."""

import asyncio
import os

from perdure import activity, publish, stream, wait_until, workflow

LARGE = 100_000
"""Characters of a value that lies apart."""


@activity
async def weigh(parcel: str) -> str:
    return f"{os.environ.get('VERSION', 'this')}{'.' * LARGE}"


@activity(transactional=True)
def stamp(parcel: str) -> str:
    return parcel


@workflow
async def leg(parcel: str) -> str:
    await asyncio.sleep(0.01)
    return await stamp(parcel)


@workflow
class Delivery:
    def __init__(self) -> None:
        self.signed = ""

    @workflow.run
    async def run(self, parcel: str) -> str:
        out = stream("way")
        out.write("begun")
        workflow.set_attributes({"parcel": parcel})
        weighed = await weigh(parcel)
        publish("state", "under way")
        stamped = await leg(parcel)
        await wait_until(lambda: bool(self.signed))
        out.write("done")
        return f"{stamped} {weighed.rstrip('.')} {self.signed}"

    @workflow.update
    async def sign(self, name: str) -> str:
        self.signed = name
        return f"thank you, {name}"

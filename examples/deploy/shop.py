"""What the containers and units of this folder run: a workflow that charges and ships."""

from perdure import Retry, activity, workflow


@activity(timeout="1m", retry=Retry(initial="1s", max_attempts=5))
async def charge(order: str) -> str:
    return f"receipt of {order}"


@activity
def ship(order: str) -> str:
    return f"parcel of {order}"


@workflow
async def process(order: str) -> list[str]:
    return [await charge(order), await ship(order)]

"""Code that does what the histories of the tests have."""

from perdure import activity, workflow


@activity
async def charge(amount: int) -> int:
    return amount


@activity
async def mail(to: str) -> None: ...


@workflow
async def order(amount: int) -> int:
    paid = await charge(amount)
    await mail("ada")
    return paid

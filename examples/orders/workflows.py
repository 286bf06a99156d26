"""The order workflow, and the activities that touch the world for it.

The workflow is ordinary async Python that may stop at any line and goes on from there in another process. What it has
awaited is recorded and never run again. One gap no engine can close: an activity that did its work, and whose process
died before that could be written down, runs once more. So every activity here may run twice without harm, in one of
three ways:

    validate                         changes nothing
    reserve_stock, ship, release     the order's number is a natural key: what it did is there to be found
    charge, refund, notify           carry the idempotency key, which is the same for all attempts of one step
"""

import asyncio
import json
import os
from functools import cache
from typing import Any

from examples.orders.model import PRICES_CENTS, Line, Order, Receipt
from examples.orders.shop import OutOfStock, Shop
from perdure import ActivityFailed, Retry, activity, sleep, workflow

PATIENCE = Retry(initial="100ms", maximum="1s")  # no limit of attempts: the service will come back some day


@workflow
async def process_order(order: Order) -> Receipt:
    await validate(order)
    charge_id = await charge(order.id, order.amount_cents)
    try:
        await reserve_stock(order.id, order.lines)
        await sleep("500ms")  # picking and packing; a durable timer, "3 days" would be no dearer
        parcel = await ship(order.id, order.country)
    except ActivityFailed as failure:
        # The money was taken and the goods cannot go out: undo both, at the same time.
        refund_id, _ = await asyncio.gather(refund(order.id, order.amount_cents, charge_id), release_stock(order.id))
        await notify(order.id, f"refunded: {failure.message}")
        return Receipt(order.id, charge_id, refund_id=refund_id)
    await notify(order.id, f"shipped: {parcel}")
    return Receipt(order.id, charge_id, parcel=parcel)


class OrderInvalid(activity.NonRetryable):
    """Trying again would not make the order any better."""


class ShipmentRefused(activity.NonRetryable):
    """The carrier has said no, and means it."""


@activity
def validate(order: Order) -> None:
    if not order.lines or any(line.quantity < 1 for line in order.lines):
        raise OrderInvalid(f"order {order.id} orders nothing")
    unknown = [line.sku for line in order.lines if line.sku not in PRICES_CENTS]
    if unknown:
        raise OrderInvalid(f"order {order.id}: we do not sell {', '.join(unknown)}")
    total = sum(PRICES_CENTS[line.sku] * line.quantity for line in order.lines)
    if total != order.amount_cents:
        raise OrderInvalid(f"order {order.id} says {order.amount_cents} cents, its lines make {total}")


# A service that hangs is given one second; then the attempt is cancelled and the next one made.
@activity(timeout="1s", retry=PATIENCE)
async def charge(order_id: int, amount_cents: int) -> str:
    answer = await post("/charges", {"order": order_id, "amount_cents": amount_cents})
    return answer["id"]


@activity(timeout="1s", retry=PATIENCE)
async def refund(order_id: int, amount_cents: int, charge_id: str) -> str:
    # A refund is a step of its own and so has a key of its own: it cannot be mistaken for the charge.
    answer = await post("/refunds", {"order": order_id, "amount_cents": amount_cents, "charge": charge_id})
    return answer["id"]


@activity
def reserve_stock(order_id: int, lines: list[Line]) -> None:
    try:
        shop().reserve(order_id, lines)
    except OutOfStock as error:
        raise activity.NonRetryable(str(error)) from error


@activity
def release_stock(order_id: int) -> None:
    shop().release(order_id)


@activity
def ship(order_id: int, country: str) -> str:
    if country == "Atlantis":
        raise ShipmentRefused("no carrier goes to Atlantis")
    return shop().ship(order_id)


@activity
def notify(order_id: int, text: str) -> None:
    shop().notify(activity.info().idempotency_key, order_id, text)


@cache
def shop() -> Shop:
    return Shop(os.environ["ORDERS_SHOP"])


async def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
    """POST to the payment service, as the attempt that is running.

    Raises:
        ConnectionError: the connection broke or the service failed; whether it has booked, nobody knows.
        activity.NonRetryable: the service understood, and refuses.
    """
    content = json.dumps(body)
    head = [
        f"POST {path} HTTP/1.0",
        f"Idempotency-Key: {activity.info().idempotency_key}",
        f"X-Worker: {os.getpid()}",
        f"Content-Length: {len(content)}",
    ]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["ORDERS_PAYMENT_PORT"]))
    try:
        writer.write("\r\n".join([*head, "", content]).encode())
        answer = (await reader.read()).decode()
    finally:
        writer.close()
    status_line, _, _ = answer.partition("\r\n")
    status = status_line.split(" ", 2)[1] if status_line else "no answer"
    if status == "200":
        return json.loads(answer.partition("\r\n\r\n")[2])
    if status.startswith("4"):
        raise activity.NonRetryable(f"{path}: {answer}")
    raise ConnectionError(f"payment service: {status}")

"""A trip is a saga: whatever was booked is cancelled, the last first, if the rest cannot be had.

Each cancellation is registered before its booking is tried. If the answer to a booking is lost, nobody knows whether it
was made; so the reference is chosen here, and cancelling what was never booked must do no harm.
"""

import asyncio
from contextvars import ContextVar

from examples.trips.providers import Providers, SoldOut
from perdure import Retry, activity, saga, workflow

providers: ContextVar[Providers] = ContextVar("providers")
"""Set before the engine is entered: activities run in the context of that moment."""

BOOKING = Retry(initial="50ms", max_attempts=5, non_retryable=(SoldOut,))
CANCELLING = Retry(initial="50ms", max_attempts=3)


@activity(retry=BOOKING)
async def book_flight(reference: str, city: str) -> str:
    return await providers.get().flight.book(reference, city)


@activity(retry=CANCELLING)
async def cancel_flight(reference: str) -> None:
    await providers.get().flight.cancel(reference)


@activity(retry=BOOKING)
async def book_hotel(reference: str, city: str) -> str:
    return await providers.get().hotel.book(reference, city)


@activity(retry=CANCELLING)
async def cancel_hotel(reference: str) -> None:
    await providers.get().hotel.cancel(reference)


@activity(retry=BOOKING)
async def rent_car(reference: str, city: str) -> str:
    return await providers.get().car.book(reference, city)


@activity(retry=CANCELLING)
async def return_car(reference: str) -> None:
    await providers.get().car.cancel(reference)


@workflow
async def book_trip(city: str, seconds: float) -> list[str]:
    """Book everything within so many seconds, or nothing."""
    trip = workflow.info().run_id[:8]
    flight, hotel, car = f"flight-{trip}", f"hotel-{trip}", f"car-{trip}"
    async with asyncio.timeout(seconds), saga() as undo:
        undo(cancel_flight, flight)
        await book_flight(flight, city)
        undo(cancel_hotel, hotel)
        await book_hotel(hotel, city)
        undo(return_car, car)
        await rent_car(car, city)
    return [flight, hotel, car]

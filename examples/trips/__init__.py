"""Trips of a flight, a hotel and a car, booked whole or not at all. Run it: `python -m examples.trips`.

Read in this order:

    workflows.py     what a user of Perdure writes: the saga and its activities
    providers.py     the airline, the hotel and the car rental, and the ledger they share: outside of the engine
    __main__.py      four trips, of which one works out
"""

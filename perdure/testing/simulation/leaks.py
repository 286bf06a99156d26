"""What may be left when runs have ended: in the store, and in the memory of an owner."""

import sqlite3
from contextlib import closing

from perdure.kernel.run import Status
from perdure.runtime.owner import Owner
from perdure.runtime.slots import KINDS
from perdure.stores.base import Store
from perdure.stores.memory import MemoryStore, Shelf
from perdure.testing.simulation.histories import demand

MOST_DEADLINES = 256
"""Deadlines of attempts that ended in time, at most, before they are forgotten; and twice as many as there are in the air."""

_OF_OPEN_RUNS = ("mail", "tasks", "human", "human_people")
_OF_RUNS = ("history", "attempts", "attributes", "blobs", "updates", "published", "streams", "writers")
"""Tables of a file. Of the first kind a run has nothing any more when it has ended; rows of the second stay with it."""


def left_in(store: Store) -> list[str]:
    """Rows that belong to nobody, or to runs that have ended and should have taken them with them."""
    if isinstance(store, MemoryStore):
        return [*_left_on(store.shelf), *_owned_on(store.shelf)]
    return _left_in_file(store.address.removeprefix("sqlite:///"))


def _left_on(shelf: Shelf) -> list[str]:
    open_runs = {row.key for row in shelf.open_runs()}
    of_open_runs: dict[str, set[int]] = {
        "mail": {mail.run for mail in shelf.mail.values()},
        "tasks": {run for run, _ in shelf.tasks},
        "human": {run for run, _ in shelf.human},
    }
    of_runs: dict[str, set[int]] = {
        "history": set(shelf.history),
        "attempts": {run for run, _, _ in shelf.attempts},
        "attributes": set(shelf.attributes),
        "blobs": {run for run, _ in shelf.blobs},
        "updates": {run for run, _ in shelf.updates},
        "published": {run for run, _ in shelf.published},
        "streams": set(shelf.streams),
        "writers": {run for run, _ in shelf.writers},
        "claims": set(shelf.claims),
    }
    left = [f"{name} of runs that have ended" for name, keys in of_open_runs.items() if keys - open_runs]
    return left + [f"{name} of runs that are not there" for name, keys in of_runs.items() if keys - shelf.runs.keys()]


def _owned_on(shelf: Shelf) -> list[str]:
    left = []
    if shelf.owners.keys() - {row.key for row in shelf.open_runs()}:
        left.append("owners of runs that have ended")
    if shelf.listeners.keys() - shelf.workers.keys():
        left.append("somebody who listens for workers that are gone")
    if any(seat.fenced or seat.pending for seat in shelf.seats.values()):
        left.append("transactions that are open")
    return left


def _left_in_file(path: str) -> list[str]:
    try:
        return _left_in_rows(path)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_IOERR:
            raise
        return []  # a failing disk may refuse who looks, too: the engine has done nothing wrong


def _left_in_rows(path: str) -> list[str]:
    left: list[str] = []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as file:
        for table in _OF_OPEN_RUNS:
            open_runs = f"SELECT key FROM runs WHERE status < {int(Status.COMPLETED)}"
            if file.execute(f"SELECT 1 FROM {table} WHERE run NOT IN ({open_runs}) LIMIT 1").fetchone():
                left.append(f"{table} of runs that have ended")
        for table in _OF_RUNS:
            if file.execute(f"SELECT 1 FROM {table} WHERE run NOT IN (SELECT key FROM runs) LIMIT 1").fetchone():
                left.append(f"{table} of runs that are not there")
        if file.execute("SELECT 1 FROM chunks WHERE stream NOT IN (SELECT id FROM streams) LIMIT 1").fetchone():
            left.append("chunks of streams that are not there")
    return left


def demand_in_order(owner: Owner, cached: int) -> None:
    """Of an owner's memory, whenever it has made a round: nothing is claimed and not taken, what is free and what is in the
    air are all slots, and only open runs are here, with no more of those that wait than may be."""
    slots, roster = owner.slots, owner._roster
    flights = slots.all()
    in_use = [sum(flight.kind == kind for flight in flights) for kind in KINDS]
    demand(not slots.claimed, f"attempts were claimed, and neither began nor were given back: {slots.claimed}")
    for kind, (free, used, most) in enumerate(zip(slots._free, in_use, slots._most, strict=True)):
        demand(free + used == most, f"of {most} slots of kind {kind} {free} are free and {used} are in use (9)")
    demand(slots.in_air() == len(flights), f"{slots.in_air()} attempts count as in the air, and {len(flights)} are")
    for actor in roster._actors.values():
        stays = actor.run.is_open and actor.run.block is None
        demand(stays, f"{actor.run.id} is {actor.run.status.word}, and stays in memory (9)")
    demand(roster._parked.keys() <= roster._actors.keys(), "runs count as parked that are not in memory")
    waiting = sum(not roster._actors[key].alarm for key in roster._parked)  # others go on in a moment
    demand(waiting <= cached, f"{waiting} runs wait in memory, at most {cached} may (9)")
    demand(len(roster._aside) <= cached, f"{len(roster._aside)} runs are kept aside, at most {cached} may be (9)")
    most = 2 * len(flights) + MOST_DEADLINES
    demand(len(owner._deadlines._heap) <= most, f"there are {len(owner._deadlines._heap)} deadlines (9)")


def kept_by(owner: Owner) -> dict[str, object]:
    """What an owner has in its memory of runs, attempts, callers and workers: nothing of it when all runs have ended, and nobody
    waits."""
    slots, roster, cycle, waiters = owner.slots, owner._roster, owner._cycle, owner._waiters
    return {
        "runs": list(roster._actors),
        "claims of runs": roster._claims,
        "attempts in the air": slots.all(),
        "steps that wait for a slot": [each for waiting in slots._waiting for each in waiting],
        "abandoned attempts": slots._abandoned,
        "alarms": [at for at, _ in owner._alarms._wakes if at <= owner._world.now()],  # others ring in vain, later
        "callers who wait for runs": waiters._receivers,
        "callers who wait for answers": waiters.answers._receivers,
        "callers who were moved": {**waiters._moved, **waiters.answers._moved},
        "starts": list(owner._waiting_starts),
        "runs to be looked after": [*owner._left_behind, *owner._look_after],
        "offers of code": list(owner._offers._letters),
        "tasks without a worker": owner._losses._orphans,
        "letters": [*cycle.onward, *cycle.unanswered],
        "runs that are to be blocked": cycle.culprits.blocks,
        "runs to be careful with": cycle.careful,
        "calls of loops": owner._outbox._calls,
        "who follows streams": owner._store.streams.bell._calls,
    }

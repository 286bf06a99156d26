"""Members with different leases on a server, which keeps the lease of each beside its beat."""

from collections.abc import Iterator

import psycopg
import pytest

from perdure.stores import base
from perdure.stores.postgres.store import PostgresStore
from tests.unit.runtime.test_leases import Place


@pytest.fixture
def place(database: str) -> Iterator[Place]:
    stores: list[base.Store] = []

    def opened() -> base.Store:
        stores.append(PostgresStore(database))
        return stores[-1]

    with psycopg.connect(database, autocommit=True) as connection:

        def living() -> list[int]:
            return [id for (id,) in connection.execute("SELECT id FROM perdure.members WHERE alive")]

        made = Place(opened, living)
        yield made
        made.leave()
    for store in stores:
        store.admin.close()


def test_whoever_lives_is_taken_for_dead_by_nobody_and_who_does_not_is_when_its_lease_is_over(place: Place) -> None:
    quick, long, gone = place.joined(3.0, 60.0, 30.0)
    place.pass_by(2)
    gone.leave()
    long.busy = True

    place.pass_by(100)
    assert place.worker_lives() and place.lives(long) and not place.lives(gone)

    long.busy = False
    assert 1.5 <= place.silence(quick) <= 4.5
    place.pass_by(100)
    assert place.worker_lives()

    place.pass_by(50, works=False)
    assert place.worker_lives()
    place.pass_by(30, works=False)
    assert not place.worker_lives()

"""Whatever is done to both, PostgreSQL and the shared oracle in memory answer the same, to each of several owners."""

import os
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from perdure.kernel.project import RunRow
from perdure.stores import base
from perdure.stores.faults import ASKED_FOR
from perdure.stores.memory import MemoryStore, Shelf
from perdure.stores.postgres.store import PostgresStore
from tests.conformance.both import KEYS, Both, few, keys, outcome, times
from tests.conformance.conftest import empty
from tests.conformance.test_differential import TwoStores, batches, fitting, runs
from tests.conformance.test_differential_tasks import TwoStoresOfTasks

OWNERS = 2
REFUSED = (base.CommitRefused, base.OwnershipLost)

NEVER_ASKED = {
    "in-doubt-lost": base.CommitInDoubt,
    "unavailable": base.StoreUnavailable,
    "full": base.StoreFull,
}
"""With these the server does not hear of a batch, and so cannot refuse it; the oracle may."""

PATIENCE_S = 600.0
LEASE_NS = 1_000_000_000_000
"""Long enough for a disk that stands still: with a server that is slow nobody gives up."""

_ALIGN = (
    "SELECT setval('perdure.keys', %s, false), setval('perdure.mail_id_seq', %s, false), "
    "setval('perdure.members_id_seq', %s, false)"
)


def certain(store: base.Store, ask: Callable[[base.Store], Any]) -> Any:
    """An answer that was lost by itself is no answer to compare with: it would pass for the fault that a rule asks for."""
    try:
        return ask(store)
    except base.CommitInDoubt as error:
        if str(error) != ASKED_FOR:
            raise AssertionError(
                f"the server has not answered, which says nothing about what it does: {error}"
            ) from error
        raise


def alike(found: Any) -> Any:
    """Without what no store promises: of two reasons to refuse a batch the first, the order in which runs are claimed, and the time."""
    if found in REFUSED:
        return base.CommitRefused
    if isinstance(found, base.Poll):
        return msgspec.structs.replace(found, claimed=sorted(found.claimed, key=lambda each: each.key), time=0)
    if isinstance(found, base.Look):
        return msgspec.structs.replace(found, time=0)
    return found


class SharedByMany(Both):
    """Each rule is about the owner whose turn it is."""

    address: str
    janitor: psycopg.Connection

    def open(self) -> None:
        empty(self.janitor)
        self.shelf = Shelf(shared=True)
        self.fault = None
        self.stores: list[tuple[MemoryStore, PostgresStore]] = []
        self.turn = 0
        for _ in range(OWNERS):
            self.stores.append(self._opened())
        for self.turn in range(OWNERS):
            self.own(0)

    def _opened(self) -> tuple[MemoryStore, PostgresStore]:
        return MemoryStore(shelf=self.shelf, faults=self.ask), PostgresStore(
            self.address, self.ask, patience=PATIENCE_S
        )

    def own(self, now: int) -> None:
        self.same(lambda store: store.admin.try_own("host", 1, "b", now, lease_ns=LEASE_NS))

    @property
    def memory(self) -> MemoryStore:
        return self.stores[self.turn][0]

    def open_again(self) -> None:
        for store in self.stores[self.turn]:
            store.admin.close()
        self.stores[self.turn] = self._opened()
        self.own(1)

    def same(self, ask: Callable[[base.Store], Any]) -> Any:
        memory, postgres = self.stores[self.turn]
        expected, found = (alike(outcome(lambda store=store: certain(store, ask))) for store in (memory, postgres))
        never_asked = self.fault in NEVER_ASKED and expected is base.CommitRefused and found is NEVER_ASKED[self.fault]
        assert found == expected or never_asked
        return expected

    @rule(turn=st.integers(0, OWNERS - 1))
    def give_turn(self, turn: int) -> None:
        self.turn = turn

    @invariant()
    def count_alike(self) -> None:
        """What was rolled back has taken numbers of the server's."""
        if hasattr(self, "shelf"):
            shelf = self.shelf
            self.janitor.execute(_ALIGN, (shelf.new_key() // 2, shelf.mail_ids + 1, shelf.member_ids + 1))

    def teardown(self) -> None:
        for _, store in getattr(self, "stores", ()):
            store.admin.close()


class ManyOwners(SharedByMany, TwoStores):
    def as_owners_know(self, batch: base.Batch) -> base.Batch:
        """Whoever looks for what it has written knows a run by its number as well, which an owner never gets wrong, and by that it is
        gone, if it was there."""
        numbers = {key: stored.run.run_id for key, stored in self.memory.work.load(list(KEYS)).items()}
        withdrawn = [key for key in batch.withdrawn if key in numbers]
        numbers |= {row.key: row.run_id for row in batch.created}
        named = [msgspec.structs.replace(row, run_id=numbers[row.key]) for row in batch.updated]
        return msgspec.structs.replace(batch, withdrawn=withdrawn, updated=named)

    @rule(batch=batches)
    def commit_what_fits(self, batch: base.Batch) -> None:
        batch = fitting(batch, self.memory)
        self.same(lambda store: store.journal.commit(batch))  # unless it was declared dead

    @rule(batch=batches, fault=st.sampled_from(["in-doubt-applied", "in-doubt-lost"]))
    def settle(self, batch: base.Batch, fault: base.Fault) -> None:
        batch = self.as_owners_know(fitting(batch, self.memory))
        self.fault = fault
        found = self.same(lambda store: store.journal.commit(batch))
        self.fault = None
        if found is base.CommitInDoubt and (batch.history or batch.created or batch.mail_read):
            assert self.stores[self.turn][1].journal.settle(batch) is (fault == "in-doubt-applied")

    @rule(row=runs, new=keys)
    def follow(self, row: RunRow, new: int) -> None:
        """By a run with a higher key, as owners do it: that tells which run of a chain is the last."""
        newest = self.memory.work.find([row.id]).get(row.id)
        if newest is not None and new > newest.key and new not in self.memory.work.load([new]):
            batch = base.Batch(followed=[(newest.key, new)], created=[msgspec.structs.replace(row, key=new)])
            self.same(lambda store: store.journal.commit(batch))

    @rule(given=few(st.tuples(keys, st.booleans()), min_size=1, unique_by=lambda pair: pair[0]))
    def park(self, given: list[tuple[int, bool]]) -> None:
        there = self.memory.work.load(list(KEYS))
        parks = [(key, there[key].run.seq + wrong) for key, wrong in given if key in there]
        self.same(lambda store: store.journal.commit(base.Batch(parks=parks)))

    @rule(given=few(keys, unique=True))
    def park_what_it_has(self, given: list[int]) -> None:
        there = self.memory.work.load(list(KEYS))
        mine = [key for key, owner in self.shelf.owners.items() if owner == self.memory.admin.member]
        parks = [(key, there[key].run.seq) for key in given if key in mine and key in there]
        self.same(lambda store: store.journal.commit(base.Batch(parks=parks)))

    @rule(now=times, limit=st.integers(1, 5), claims=st.sampled_from([0, 99]), starts=st.booleans())
    def claim(self, now: int, limit: int, claims: int, starts: bool) -> None:
        self.same(lambda store: store.membership.poll(now, limit, claims, starts))  # type: ignore[union-attr]

    @rule(wanted=few(keys, unique=True))
    def own_some(self, wanted: list[int]) -> None:
        self.same(lambda store: store.membership.own(wanted))  # type: ignore[union-attr]

    @rule(after=st.just(0) | keys, limit=st.integers(1, 3))
    def mending(self, after: int, limit: int) -> None:
        self.same(lambda store: store.membership.mending(after, limit))  # type: ignore[union-attr]

    @rule(key=st.just(0) | keys)
    def enter(self, key: int) -> None:
        self.same(lambda store: store.membership.enter(key))  # type: ignore[union-attr]

    @rule(nth=st.integers(0, 3), late=st.sampled_from([0, 0, 1]))
    def declare_dead(self, nth: int, late: int) -> None:
        others = [id for id in self.shelf.seats if id != self.memory.admin.member]
        if others:
            member = others[nth % len(others)]
            beat = self.shelf.seats[member].beat - late
            self.same(lambda store: store.membership.declare_dead(member, beat))  # type: ignore[union-attr]

    @rule()
    def hand_over(self) -> None:
        self.same(lambda store: store.membership.hand_over())  # type: ignore[union-attr]
        self.open_again()

    @rule(names=st.lists(st.sampled_from(["w", "v"]), unique=True))
    def publish(self, names: list[str]) -> None:
        rows = [base.DefinitionRow("workflow", name, b"{}") for name in names]
        self.same(lambda store: store.admin.publish(rows))
        self.same(lambda store: store.views.definitions())

    @rule(count=st.integers(1, 3))
    def reserve(self, count: int) -> None:
        self.janitor.execute("SELECT setval('perdure.keys', %s, false)", ((self.shelf.new_key() + 1) // 2,))
        self.same(lambda store: list(store.membership.reserve(count)))  # type: ignore[union-attr]


class ManyOwnersOfTasks(SharedByMany, TwoStoresOfTasks):
    pass


@pytest.mark.parametrize(("kind", "examples"), [(ManyOwners, 8), (ManyOwnersOfTasks, 3)])
def test_postgres_answers_as_the_oracle_does(
    counted: str, janitor: psycopg.Connection, kind: type[SharedByMany], examples: int
) -> None:
    machine: type[Any] = type(kind.__name__, (kind,), {"address": counted, "janitor": janitor})
    many = examples * (100 if os.environ.get("PERDURE_SOAK") else 1)
    run_state_machine_as_test(
        machine, settings=settings(max_examples=many, stateful_step_count=30, phases=[Phase.generate])
    )

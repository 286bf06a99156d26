"""A connection that breaks between a question and its answer: whatever the server has made of it, nothing is forgotten, and what
comes late does nothing."""

import asyncio
import threading
from collections.abc import Iterator

import msgspec
import pytest

from perdure import Engine, Worker, activity, errors, stream, workflow
from perdure.kernel import wire
from perdure.kernel.events import Payload
from perdure.kernel.project import HistoryRow
from perdure.kernel.run import Status
from perdure.kernel.streams import ChunkRow, chunk_rows
from perdure.stores import base
from perdure.stores.membership import Claimed
from perdure.stores.postgres.store import PostgresStore
from tests.conformance.rows import mail, run
from tests.postgres.gate import Gate
from tests.postgres.server import Server

LATER = 10**9


@pytest.fixture
def gate(server: Server) -> Iterator[Gate]:
    with Gate(server.port) as gate:
        yield gate


def joined(address: str) -> PostgresStore:
    store = PostgresStore(address)
    assert store.admin.try_own("here", 1, "build-1", 1) is not None
    return store


@pytest.fixture
def owner(gate: Gate, emptied: str) -> Iterator[PostgresStore]:
    """Whose connections go through the gate."""
    store = joined(gate.address("emptied"))
    yield store
    store.admin.close()


@pytest.fixture
def other(emptied: str) -> Iterator[PostgresStore]:
    store = joined(emptied)
    yield store
    store.admin.close()


def poll(store: PostgresStore) -> base.Poll:
    return store.membership.poll(LATER, 100, 100)


def begin(store: PostgresStore, key: int, parked: bool = False, **fields: object) -> None:
    row = run(key, **fields)
    parks = [(key, 1)] if parked else []
    store.journal.commit(base.Batch(created=[row], history=[HistoryRow(key, 1, b"e")], parks=parks))


def dead(store: PostgresStore, by: PostgresStore) -> int:
    member = store.journal.member
    beat = by.membership.poll(0, 1, 0).members[member]
    assert by.membership.declare_dead(member, beat)
    return member


def test_what_leaves_no_sign_is_written_again(owner: PostgresStore) -> None:
    begin(owner, 2)
    batch = base.Batch(blobs=[base.BlobRow(2, b"digest", b"large")])
    assert not owner.journal.settle(batch)

    owner.journal.commit(batch)
    owner.journal.commit(batch)
    assert owner.views.blob(2, b"digest") == b"large"


def test_what_a_poll_has_claimed_whose_answer_was_lost_is_told_by_the_next(
    gate: Gate, owner: PostgresStore, other: PostgresStore
) -> None:
    for key in (2, 4):
        begin(other, key)
    other.membership.enter(4)
    member = dead(other, by=owner)

    gate.lose_answer_to("perdure.poll")
    with pytest.raises(errors.StoreUnreachable):
        poll(owner)

    again = [Claimed(2, 1, member, 1), Claimed(4, 1, member, 1, in_turn=True)]
    assert poll(owner).claimed == again
    assert poll(owner).claimed == []


def test_what_was_written_since_it_was_claimed_is_told_as_its_owners_own(
    gate: Gate, owner: PostgresStore, other: PostgresStore
) -> None:
    for key in (2, 4):
        begin(other, key)
    member = dead(other, by=owner)
    assert len(poll(owner).claimed) == 2
    owner.journal.commit(base.Batch(updated=[run(2, seq=2)], history=[HistoryRow(2, 2, b"f")]))

    gate.lose_answer_to("perdure.poll")
    with pytest.raises(errors.StoreUnreachable):
        poll(owner)

    assert poll(owner).claimed == [Claimed(2, 1, owner.journal.member), Claimed(4, 1, member, 1)]


def test_a_poll_whose_answer_was_lost_is_made_up_for_though_other_calls_come_before_the_next(
    gate: Gate, owner: PostgresStore, other: PostgresStore
) -> None:
    begin(other, 2)
    member = dead(other, by=owner)
    gate.lose_answer_to("perdure.poll")
    with pytest.raises(errors.StoreUnreachable):
        poll(owner)

    owner.journal.commit(base.Batch(created=[run(4)]))
    assert owner.membership.own([2]).keys() == {2}

    assert poll(owner).claimed == [Claimed(2, 1, member, 1), Claimed(4, 0, owner.journal.member)]


@pytest.mark.parametrize("call", ["poll", "own"])
def test_runs_are_not_claimed_by_a_call_that_comes_after_its_connection_was_given_up(
    gate: Gate, owner: PostgresStore, other: PostgresStore, call: str
) -> None:
    begin(other, 2, parked=True, status=Status.WAITING, wake_at=5)
    gate.hold(f"perdure.{call}")
    with pytest.raises(errors.StoreUnreachable):
        poll(owner) if call == "poll" else owner.membership.own([2])
    owner.membership.enter(0)  # it has gone on

    gate.let_go()

    assert other.membership.own([2]) == {2: Claimed(2, 1)}


def written(store: PostgresStore) -> list[str]:
    rows = store.streams.page(2, "log", 0, 10_000).rows
    return [chunk.value.data.decode() for row in rows for chunk in wire.decode_chunks(row.body)]


def words(first: int, *values: str) -> list[ChunkRow]:
    rows = [
        row for value in values for row in chunk_rows(2, "log", [wire.Chunk(5, Payload(value.encode()))], step="0:1")
    ]
    return [msgspec.structs.replace(row, attempt=1, number=number) for number, row in enumerate(rows, first)]


def test_chunks_whose_answer_was_lost_are_known_when_they_come_again(gate: Gate, owner: PostgresStore) -> None:
    begin(owner, 2)
    owner.streams.append(words(1, "a"))
    gate.lose_answer_to("perdure.append_chunks")
    with pytest.raises(errors.StoreUnreachable):
        owner.streams.append(words(2, "b", "c"))

    assert owner.streams.append(words(2, "b", "c")) == ["", ""]

    assert written(owner) == ["a", "b", "c"]


def test_chunks_that_come_late_are_known_since_they_have_come_again(gate: Gate, owner: PostgresStore) -> None:
    begin(owner, 2)
    gate.hold("perdure.append_chunks")
    with pytest.raises(errors.StoreUnreachable):
        owner.streams.append(words(1, "a"))
    assert owner.streams.append(words(1, "a")) == [""]
    assert owner.streams.append(words(2, "b")) == [""]

    gate.let_go()

    assert written(owner) == ["a", "b"]


def test_a_commit_that_comes_late_is_refused_though_nobody_has_asked_what_became_of_it(
    gate: Gate, owner: PostgresStore
) -> None:
    begin(owner, 2)
    gate.hold("perdure.commit")
    with pytest.raises(base.CommitInDoubt):
        owner.journal.commit(base.Batch(history=[HistoryRow(2, 2, b"late")]))
    owner.journal.commit(base.Batch(history=[HistoryRow(2, 2, b"again")]))

    gate.let_go()

    assert owner.work.load([2])[2].history == [b"e", b"again"]


def test_a_commit_whose_answer_was_lost_is_found_to_be_there(gate: Gate, owner: PostgresStore) -> None:
    begin(owner, 2)
    batch = base.Batch(history=[HistoryRow(2, 2, b"f")], mail_kept=[mail(2)])
    gate.lose_answer_to("perdure.commit")

    with pytest.raises(base.CommitInDoubt):
        owner.journal.commit(batch)

    assert owner.journal.settle(batch)
    assert [letter.run for letter in poll(owner).mail] == [2]


_begun = threading.Event()
_may_end = False


@activity
async def hang_once() -> str:
    _begun.set()
    await asyncio.sleep(0 if _may_end else 10**6)
    return "done"


@workflow
async def hanging() -> str:
    return await hang_once()


def test_an_engine_looks_after_what_a_lost_answer_would_have_told_it(gate: Gate, emptied: str) -> None:
    global _may_end
    with Engine(PostgresStore(emptied), [hanging, hang_once], drain="0s", grace="0s") as engine:
        engine.start(hanging(), id="a").wait()
        _begun.wait()
    _may_end = True

    gate.lose_answer_to("perdure.poll")
    with Engine(PostgresStore(gate.address("emptied")), [hanging, hang_once]) as engine:
        assert engine.handle("a").result(timeout=60).wait() == "done"
        assert not gate.armed


def test_a_nudge_is_a_hint_and_whoever_owns_hears_nothing_of_its_failure(gate: Gate, owner: PostgresStore) -> None:
    owner.admin.listen(lambda: None)  # so that this is the owner's thread

    gate.lose_answer_to("perdure.nudge")
    owner.post.nudge([2])
    gate.lose_answer_to("perdure.nudge_workers")
    owner.tasks.nudge([7])


def test_what_has_become_of_a_commit_is_told_of_one_that_was_declared_dead_meanwhile(
    gate: Gate, owner: PostgresStore, other: PostgresStore
) -> None:
    """Its letters are delivered anew otherwise, and are heard twice. What others have written in its stead is not its own."""
    begin(owner, 2)
    batch = base.Batch(history=[HistoryRow(2, 2, b"ours")])
    gate.lose_answer_to("perdure.commit")
    with pytest.raises(base.CommitInDoubt):
        owner.journal.commit(batch)
    dead(owner, by=other)
    assert other.membership.own([2])
    other.journal.commit(base.Batch(history=[HistoryRow(2, 3, b"theirs")]))

    assert owner.journal.settle(batch)
    with pytest.raises(base.OwnershipLost):
        owner.journal.settle(base.Batch(history=[HistoryRow(2, 3, b"ours as well")]))


def test_whoever_joins_again_gives_up_what_it_had(owner: PostgresStore, other: PostgresStore) -> None:
    begin(owner, 2)
    before = owner.journal.member

    owner.admin.try_own("here", 1, "build-1", 1)

    assert poll(other).claimed == [Claimed(2, 1, before)]
    assert [each.id for each in other.views.owners()] == sorted([owner.journal.member, other.journal.member])


SAID = [f"word {n}" for n in range(20)]


@activity
async def say() -> None:
    log = stream("log")
    for word in SAID:
        await log.write(word)
    await log.close()


@activity(queue="elsewhere")
async def say_elsewhere() -> None:
    await say()


@workflow
async def saying(here: bool) -> None:
    await (say() if here else say_elsewhere())


async def _said(way: str, straight: str, here: bool) -> list[tuple[str, int]]:
    async with Engine(way if here else straight, [saying, say, say_elsewhere]) as engine:
        if here:
            await engine.run(saying(True), id="a")
        else:
            async with Worker(way, [say_elsewhere], queues=["elsewhere"]):
                await engine.run(saying(False), id="a")
        return [(chunk.value, chunk.attempt) async for chunk in engine.handle("a").stream("log")]


@pytest.mark.parametrize("here", [True, False])
def test_what_an_attempt_says_is_heard_once_and_in_order_though_an_answer_was_lost(
    gate: Gate, emptied: str, here: bool
) -> None:
    gate.lose_answer_to("perdure.append_chunks")

    assert asyncio.run(_said(gate.address("emptied"), emptied, here)) == [(word, 1) for word in SAID]
    assert not gate.armed

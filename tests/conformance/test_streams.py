"""Streams, as `perdure.stores.streaming` says what they are, sentence by sentence, against every store."""

import msgspec
import pytest

from perdure.errors import StreamError
from perdure.kernel import events as ev
from perdure.kernel import limits, wire
from perdure.kernel.project import HistoryRow
from perdure.kernel.run import Status
from perdure.kernel.streams import ChunkRow, chunk_rows
from perdure.stores import base
from perdure.stores.streaming import Page, StreamRow
from tests.conformance.rows import Hand, Opener, run, task

STEP = "0:1"
MOST = limits.STREAM_PAGE_BYTES


def chunks(*values: str, run: int = 2, stream: str = "log", step: str = STEP, attempt: int = 1, closes: bool = False):
    made = [wire.Chunk(5, ev.Payload(value.encode())) for value in values]
    return chunk_rows(run, stream, made, closes, "" if not attempt else step, attempt)


def values(page: Page) -> list[tuple[int, str]]:
    return [
        (row.first + n, chunk.value.data.decode())
        for row in page.rows
        for n, chunk in enumerate(wire.decode_chunks(row.body))
    ]


@pytest.fixture
def begun(store: base.Store) -> base.Store:
    store.journal.commit(base.Batch(created=[run(2), run(4)]))
    return store


def test_chunks_get_the_next_offsets_whoever_writes_them(begun: base.Store) -> None:
    begun.journal.commit(base.Batch(chunks=chunks("a", "b", attempt=0)))
    assert begun.streams.append(chunks("c")) == [""]
    begun.journal.commit(base.Batch(chunks=chunks("d", attempt=0)))

    page = begun.streams.page(2, "log", 0, MOST)

    assert values(page) == [(0, "a"), (1, "b"), (2, "c"), (3, "d")]
    assert [(row.first, row.step, row.attempt) for row in page.rows] == [(0, "", 0), (2, STEP, 1), (3, "", 0)]
    assert (page.head, page.ended) == (4, False)


def test_streams_and_runs_count_for_themselves(begun: base.Store) -> None:
    rows = [*chunks("a"), *chunks("b", stream="other"), *chunks("c", run=4), *chunks("d")]
    assert begun.streams.append(rows) == ["", "", "", ""]

    assert begun.streams.of_run(2) == [StreamRow("log", 2, 2), StreamRow("other", 1, 1)]
    assert values(begun.streams.page(2, "log", 0, MOST)) == [(0, "a"), (1, "d")]
    assert values(begun.streams.page(4, "log", 0, MOST)) == [(0, "c")]


def numbered(*rows: ChunkRow, since: int = 1) -> list[ChunkRow]:
    return [msgspec.structs.replace(row, number=number) for number, row in enumerate(rows, since)]


def test_what_is_brought_again_is_stored_once_and_answered_as_before(begun: base.Store) -> None:
    first = numbered(*chunks("a"), *chunks("b", stream="other"), *chunks("c", closes=True))
    assert begun.streams.append(first[:1]) == [""]

    assert begun.streams.append(first) == ["", "", ""]
    assert begun.streams.append(first) == ["", "", ""]

    assert values(begun.streams.page(2, "log", 0, MOST)) == [(0, "a"), (1, "c")]
    assert values(begun.streams.page(2, "other", 0, MOST)) == [(0, "b")]


def test_attempts_count_for_themselves(begun: base.Store) -> None:
    second = numbered(*chunks("b", attempt=2))
    for rows in (numbered(*chunks("a")), second, numbered(*chunks("c", step="0:2")), numbered(*chunks("d", run=4))):
        assert begun.streams.append(rows) == [""]
        assert begun.streams.append(rows) == [""]

    assert values(begun.streams.page(2, "log", 0, MOST)) == [(0, "a"), (1, "b"), (2, "c")]
    assert values(begun.streams.page(4, "log", 0, MOST)) == [(0, "d")]


def test_an_attempt_after_which_another_one_has_written_writes_no_more(begun: base.Store) -> None:
    first = numbered(*chunks("a"), *chunks("b"))
    begun.streams.append(first[:1])
    begun.streams.append(numbered(*chunks("c", attempt=2)))

    assert begun.streams.append(first) == ["unwanted", "unwanted"]

    assert values(begun.streams.page(2, "log", 0, MOST)) == [(0, "a"), (1, "c")]


def test_nothing_is_stored_behind_a_row_that_was_refused(begun: base.Store) -> None:
    begun.streams.append(chunks("x", stream="over", step="0:2", closes=True))
    rows = numbered(*chunks("a"), *chunks("b", stream="over"), *chunks("c"))

    for _ in range(2):
        assert begun.streams.append(rows) == ["", "closed", "unwanted"]

    assert values(begun.streams.page(2, "log", 0, MOST)) == [(0, "a")]


def test_a_run_that_is_withdrawn_takes_along_what_its_attempts_have_counted(begun: base.Store) -> None:
    begun.streams.append(numbered(*chunks("a")))
    begun.journal.commit(base.Batch(withdrawn=[2]))
    begun.journal.commit(base.Batch(created=[run(2)]))

    assert begun.streams.append(numbered(*chunks("b"))) == [""]

    assert values(begun.streams.page(2, "log", 0, MOST)) == [(0, "b")]


@pytest.mark.parametrize("offset", range(7))
def test_a_page_holds_the_chunk_of_its_offset_and_all_after_it(begun: base.Store, offset: int) -> None:
    for batch in (("a", "b"), ("c",), ("d", "e", "f")):
        begun.streams.append(chunks(*batch))

    found = values(begun.streams.page(2, "log", offset, MOST))

    assert [each for each in found if each[0] >= offset] == list(enumerate("abcdef"))[offset:]
    assert all(first <= offset for first, _ in found[:1])


def test_a_page_has_at_least_one_row_and_no_more_than_was_asked_for(begun: base.Store) -> None:
    for value in ("a" * 100, "b" * 100, "c" * 100):
        begun.streams.append(chunks(value))

    assert [at for at, _ in values(begun.streams.page(2, "log", 1, 1))] == [1]
    assert [at for at, _ in values(begun.streams.page(2, "log", 0, 250))] == [0, 1]


def test_a_stream_that_is_not_there_is_empty_and_ends_with_its_run(begun: base.Store) -> None:
    assert begun.streams.page(2, "log", 3, MOST) == Page([], 0, False)

    begun.journal.commit(base.Batch(updated=[run(2, status=Status.COMPLETED, closed_at=9)]))

    assert begun.streams.page(2, "log", 0, MOST) == Page([], 0, True)
    assert begun.streams.page(77, "log", 0, MOST) == Page([], 0, True)


def test_nothing_is_written_to_a_run_that_has_ended(begun: base.Store) -> None:
    begun.streams.append(chunks("a"))
    begun.journal.commit(base.Batch(updated=[run(2, status=Status.COMPLETED, closed_at=9)]))

    assert begun.streams.append([*chunks("b"), *chunks("c", run=4), *chunks("d", run=77)]) == [
        "unwanted",
        "",
        "unwanted",
    ]

    page = begun.streams.page(2, "log", 0, MOST)
    assert (values(page), page.ended) == ([(0, "a")], True)


def test_a_closed_stream_takes_nothing_more_but_from_later_attempts_of_who_has_closed_it(begun: base.Store) -> None:
    assert begun.streams.append(chunks("a", closes=True)) == [""]
    assert begun.streams.page(2, "log", 0, MOST).ended

    refused = [*chunks("b"), *chunks("c", step="0:2", attempt=2), *chunks(closes=True)]
    assert begun.streams.append(refused) == ["closed"] * 3
    assert begun.streams.of_run(2) == [StreamRow("log", 1, 1, (STEP, 1))]

    assert begun.streams.append(chunks("d", attempt=2)) == [""]
    assert begun.streams.of_run(2) == [StreamRow("log", 2, 2)]


def test_what_the_owner_commits_is_appended_to_a_stream_that_is_full(begun: base.Store) -> None:
    begun.streams.append([ChunkRow(2, "log", limits.STREAM_CHUNKS, 1, b"x", STEP, 1)])

    begun.journal.commit(base.Batch(chunks=chunks("b", attempt=0, closes=True)))

    assert begun.streams.of_run(2) == [StreamRow("log", limits.STREAM_CHUNKS + 1, 2, ("", 0))]


def test_a_batch_that_writes_to_what_an_activity_has_closed_is_refused_whole(begun: base.Store) -> None:
    begun.streams.append(chunks("a", closes=True))
    batch = base.Batch(
        history=[HistoryRow(4, 1, b"x")], chunks=[*chunks("b", attempt=0, run=4), *chunks("b", attempt=0)]
    )

    with pytest.raises(base.CommitRefused, match=r"stream 'log', which attempt 1 of step \[0:1\] has closed"):
        begun.journal.commit(batch)

    assert begun.streams.of_run(2) == [StreamRow("log", 1, 1, (STEP, 1))]
    assert begun.streams.of_run(4) == []
    assert not begun.journal.settle(batch)


def test_to_close_what_an_activity_has_closed_changes_nothing_for_who_reads(begun: base.Store) -> None:
    begun.streams.append(chunks("a", closes=True))

    begun.journal.commit(base.Batch(chunks=chunks(attempt=0, closes=True)))

    assert begun.streams.of_run(2) == [StreamRow("log", 1, 1, ("", 0))]


def test_closing_what_is_empty_leaves_a_stream_without_chunks(begun: base.Store) -> None:
    begun.streams.append(chunks(closes=True))

    assert begun.streams.of_run(2) == [StreamRow("log", 0, 0, (STEP, 1))]
    assert begun.streams.page(2, "log", 0, MOST) == Page([], 0, True)


def test_a_stream_is_full_with_so_many_chunks_or_bytes(begun: base.Store) -> None:
    large = ChunkRow(2, "log", limits.STREAM_CHUNKS - 1, 1, b"x", STEP, 1)
    heavy = ChunkRow(2, "heavy", 1, limits.STREAM_BYTES, b"x", STEP, 1)

    assert begun.streams.append([large, *chunks("a"), *chunks("b")]) == ["", "", "full"]
    assert begun.streams.append([heavy, *chunks("c", stream="heavy")]) == ["", "full"]


def test_a_run_has_so_many_streams(begun: base.Store) -> None:
    rows = [row for n in range(limits.STREAMS + 1) for row in chunks("a", stream=f"s{n}")]

    assert begun.streams.append(rows) == [""] * limits.STREAMS + ["too-many"]
    assert len(begun.streams.of_run(2)) == limits.STREAMS


def test_a_worker_writes_as_long_as_the_task_is_with_it(begun: base.Store) -> None:
    begun.journal.commit(base.Batch(tasks=[task(2, STEP)]))
    hand, other = Hand(begun), Hand(begun)
    hand.take()

    assert begun.streams.append(chunks("a"), hand.member) == [""]
    assert begun.streams.append(chunks("b"), other.member) == ["unwanted"]
    assert begun.streams.append(chunks("c", attempt=2), hand.member) == ["unwanted"]
    begun.journal.commit(base.Batch(tasks_gone=[(2, STEP)]))
    assert begun.streams.append(chunks("d"), hand.member) == ["unwanted"]
    assert values(begun.streams.page(2, "log", 0, MOST)) == [(0, "a")]


def test_attempts_of_the_owner_are_written_by_the_handle_that_owns(opened: Opener) -> None:
    owner, other = opened(), opened()
    owner.admin.try_own("here", 1, "b", 1)
    owner.journal.commit(base.Batch(created=[run(2)]))

    with pytest.raises(base.OwnershipLost):
        other.streams.append(chunks("a"))

    assert owner.streams.of_run(2) == []


def test_a_commit_that_fails_leaves_no_chunks(opened: Opener) -> None:
    faults: list[base.Fault] = []
    store = opened(lambda moment, batch: faults.pop() if faults and moment == "before" else None)
    store.admin.try_own("here", 1, "b", 1)
    store.journal.commit(base.Batch(created=[run(2)]))
    batch = base.Batch(history=[HistoryRow(2, 2, b"x")], chunks=chunks("a", attempt=0))

    for fault in ("in-doubt-lost", "refused", "unavailable"):
        faults.append(fault)  # type: ignore[arg-type]
        with pytest.raises((base.CommitInDoubt, base.CommitRefused, base.StoreUnavailable)):
            store.journal.commit(batch)
    assert (store.streams.of_run(2), store.journal.settle(batch)) == ([], False)
    faults.append("in-doubt-applied")
    with pytest.raises(base.CommitInDoubt):
        store.journal.commit(batch)

    assert store.journal.settle(batch)
    assert store.streams.of_run(2) == [StreamRow("log", 1, 1)]


def test_a_run_that_goes_takes_its_streams_along(begun: base.Store) -> None:
    begun.streams.append([*chunks("a"), *chunks("b", run=4)])

    begun.journal.commit(base.Batch(withdrawn=[2]))

    assert begun.streams.of_run(2) == []
    assert [line for line in begun.admin.check() if "chunks: " in line or "streams: " in line] == []
    assert values(begun.streams.page(4, "log", 0, MOST)) == [(0, "b")]


def test_a_run_that_comes_from_elsewhere_brings_its_streams_as_they_are_read(begun: base.Store) -> None:
    begun.streams.append([*chunks("a", "b"), *chunks("c", attempt=2, closes=True), *chunks("d", stream="other")])
    of_run = begun.streams.of_run(2)
    given = [*chunks("a", "b"), *chunks("d", stream="other"), *chunks("c", attempt=2)]
    placed = base.Placed(msgspec.structs.replace(run(9), id="copy"), None, streams=of_run, chunks=iter(given))

    assert begun.post.place([placed]) == [True]

    row = begun.views.row("copy")
    assert row is not None
    assert begun.streams.of_run(row.key) == of_run
    assert begun.streams.page(row.key, "log", 0, MOST) == begun.streams.page(2, "log", 0, MOST)
    assert values(begun.streams.page(row.key, "other", 0, MOST)) == [(0, "d")]
    assert begun.streams.append(chunks("e", run=row.key, attempt=2)) == ["closed"]
    assert begun.streams.append(chunks("e", run=row.key, attempt=3)) == [""]


def test_streams_that_cannot_be_read_while_their_run_is_placed_leave_nothing_behind(begun: base.Store) -> None:
    def cut_off():
        yield from chunks("a")
        raise StreamError("the file has become shorter")

    placed = base.Placed(
        msgspec.structs.replace(run(9), id="copy"), None, streams=[StreamRow("log", 2, 2)], chunks=cut_off()
    )
    with pytest.raises(StreamError):
        begun.post.place([placed])

    assert begun.views.row("copy") is None
    assert [line for line in begun.admin.check() if "stream" in line] == []
    assert begun.post.place([msgspec.structs.replace(placed, chunks=chunks("a", "b"))]) == [True]


def test_a_snapshot_of_a_run_tells_how_much_its_streams_hold(begun: base.Store) -> None:
    begun.streams.append(chunks("a", "b", closes=True))

    stored = begun.views.stored(2)

    assert stored is not None
    assert stored.streams == [StreamRow("log", 2, 2, (STEP, 1))]


def test_the_bell_rings_for_whoever_listens_to_the_run(begun: base.Store) -> None:
    heard: list[str] = []
    stop = begun.streams.bell.listen(2, lambda: heard.append("two"))
    begun.streams.bell.listen(4, lambda: heard.append("four"))

    begun.streams.append(chunks("a"))
    begun.streams.append(chunks("b", run=4))
    stop()
    begun.streams.append(chunks("c"))

    assert heard == ["two", "four"]


def test_a_check_tells_of_chunks_that_the_history_does_not_have(begun: base.Store) -> None:
    started = ev.RunStarted(1, "order", ev.Payload(b"[]"), b"r" * 16, "b")
    written = ev.StreamWritten(1, "0:1", "log", 2, 2)
    begun.journal.commit(
        base.Batch(
            updated=[run(2, seq=2)],
            history=[HistoryRow(2, 1, wire.encode([started, written]))],
            chunks=chunks("a", "b", attempt=0),
        )
    )
    begun.streams.append(chunks("c"))
    assert [line for line in begun.admin.check() if "run-2" in line] == []

    begun.journal.commit(base.Batch(chunks=chunks("d", attempt=0)))

    assert [line for line in begun.admin.check() if "run-2" in line] == [
        "run 'run-2': the stream 'log' holds 3 chunks of its workflow, its history 2"
    ]


def test_large_chunks_are_rows_of_their_own_and_small_ones_share() -> None:
    half = "x" * (limits.STREAM_ROW_BYTES // 2)
    rows = chunks("a", "b", half, half, half + half + half, "c", closes=True)

    assert [(row.count, row.closes) for row in rows] == [(3, False), (1, False), (1, False), (1, True)]
    assert sum(row.size_bytes for row in rows) == 3 + len(half) * 5

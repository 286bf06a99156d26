"""The streams of a run on its page: what they hold at last, while the rest of the page stays as it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.kernel import events as ev
from perdure.kernel import limits, wire
from perdure.kernel.streams import chunk_rows
from perdure.stores.base import Batch, Store
from perdure.stores.open import open_store
from tests.unit.cli import corpus
from tests.web.conftest import Web
from tests.web.test_run_page import part, text

RUNNING = "order-48213"
"""A run that goes on."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A database of its own: these tests write to it."""
    store = open_store(f"sqlite:///{tmp_path}/runs.db")
    store.admin.try_own(corpus.MEMBER.host, corpus.MEMBER.pid, corpus.MEMBER.build, corpus.NOW)
    corpus.fill(store)
    yield store
    store.admin.close()


@pytest.fixture
def web(store: Store) -> Web:
    return Web(store)


def write(store: Store, stream: str, *values: str, id: str = RUNNING, closes: bool = False) -> None:
    row = store.views.row(id)
    assert row is not None
    made = [wire.Chunk(7, ev.Payload(value.encode())) for value in values]
    store.journal.commit(Batch(chunks=chunk_rows(row.key, stream, made, closes)))


def test_a_run_without_streams_has_nothing_to_show(web: Web) -> None:
    assert 'id="streams" data-part' in web.get(f"/runs/{RUNNING}").text
    assert part(web.get(f"/runs/{RUNNING}").text, "streams").count("chunk") == 0


def test_texts_go_on_and_other_values_have_their_lines(web: Web, store: Store) -> None:
    write(store, "tokens", '"All "', '"is "', '"well."', closes=True)
    write(store, "log", '{"n":1}', "2")

    page = web.get(f"/runs/{RUNNING}").text

    assert "tokens 3 chunks · 18 B · closed All is well." in text(page)
    assert 'log 2 chunks · 8 B · open {"n": 1} 2' in text(page)


def test_a_further_attempt_is_told_where_it_begins_anew(web: Web, store: Store) -> None:
    row = store.views.row(RUNNING)
    assert row is not None
    for attempt, words in ((1, ("Dear ", "Bob")), (2, ("Dear ",)), (2, ("Ada",))):
        made = [wire.Chunk(7, ev.Payload(f'"{word}"'.encode())) for word in words]
        store.journal.commit(Batch(chunks=chunk_rows(row.key, "words", made, False, "0:2", attempt)))

    page = web.get(f"/runs/{RUNNING}").text

    assert "Dear Bob — attempt 2 of [0:2] begins anew — Dear Ada" in text(page)


@pytest.mark.parametrize(("count", "size"), [(60, 10_000), (60, 2_000), (3, 300_000), (100, 700_000)])
def test_the_end_of_a_stream_is_shown_however_large_its_chunks_are(
    web: Web, store: Store, count: int, size: int
) -> None:
    write(store, "large", *[f'"{"x" * size} {n} "' for n in range(count)])

    page = web.get(f"/runs/{RUNNING}").text

    assert f"xx {count - 1}" in text(page)


def test_what_came_last_is_shown_of_a_long_stream_and_the_number_of_further_ones_told(web: Web, store: Store) -> None:
    write(store, "long", *[f'"{n} "' for n in range(1_000)])
    for n in range(8):
        write(store, f"s{n}", "1")

    page = web.get(f"/runs/{RUNNING}").text

    assert "long 1,000 chunks" in text(page)
    assert "from 940 on" in text(page)
    assert "998 999" in text(page)
    assert " 900 " not in part(page, "streams")
    assert "and 3 more" in text(page)


def test_what_comes_is_sent_while_the_rest_of_the_page_has_not_changed(web: Web, store: Store) -> None:
    write(store, "tokens", '"All "')
    row = store.views.row(RUNNING)
    assert row is not None
    address = f"/live?run={RUNNING}&run_id={row.run_id.hex()}"
    before = web.get(address).json()["parts"]
    seen = ",".join(f"{id}:{html.partition('data-v=')[2].split(chr(34))[1]}" for id, html in before.items())
    assert web.get(f"{address}&seen={seen}").json()["parts"] == {}

    write(store, "tokens", '"is well."')

    changed = web.get(f"{address}&seen={seen}").json()["parts"]
    assert set(changed) == {"streams"}
    assert "All is well." in changed["streams"]


def test_nothing_that_was_written_is_taken_for_markup(web: Web, store: Store) -> None:
    write(store, "<b>", '"<script>alert(1)</script>"')

    page = web.get(f"/runs/{RUNNING}").text

    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_large_chunk_is_shown_by_its_end(web: Web, store: Store) -> None:
    write(store, "large", '"' + "x" * (limits.STREAM_ROW_BYTES * 2) + 'end"')

    shown = part(web.get(f"/runs/{RUNNING}").text, "streams")

    assert shown.rstrip().endswith("xend") or "xend " in shown
    assert len(shown) < 10_000

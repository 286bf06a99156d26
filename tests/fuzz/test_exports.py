"""Files that should hold exported runs: what is damaged is refused as a whole, and what is taken is sound."""

from datetime import UTC, datetime
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from perdure.client.export import exported
from perdure.client.export_files import runs_of_bytes
from perdure.client.importing import import_runs
from perdure.errors import ExportUnreadable, PerdureError
from perdure.stores.base import RunFilter, Store
from perdure.stores.open import open_store
from tests.fuzz.effort import bad_bytes, fuzz
from tests.unit.cli import corpus

AT = datetime(2026, 11, 30, tzinfo=UTC)


def owned() -> Store:
    store = open_store("memory://")
    store.admin.try_own(corpus.MEMBER.host, corpus.MEMBER.pid, corpus.MEMBER.build, corpus.NOW)
    return store


@cache
def documents() -> list[bytes]:
    """Each run of the corpus, in both forms."""
    store = owned()
    corpus.fill(store)
    stored = [store.views.stored(row.key) for row in store.views.search(RunFilter())]
    runs = [exported(store.views, each, AT, store.streams) for each in stored if each is not None]
    found = [run.to_json(lines) for run in runs for lines in (True, False)]
    store.admin.close()
    return sorted(found, key=len)[:40]


@given(st.data())
@fuzz(120)
def test_a_file_is_refused_or_what_it_holds_is_sound(data: st.DataObject) -> None:
    document = data.draw(bad_bytes(st.sampled_from(documents())))
    store = owned()
    try:
        runs = []
        for name, found in runs_of_bytes(document, "file"):
            if isinstance(found, ExportUnreadable):
                assert str(found).startswith("file")
            else:
                runs.append((name, found))
        try:
            imported = import_runs(store, runs)
        except PerdureError:
            assert store.views.search(RunFilter()) == []
            return
        assert len(store.views.search(RunFilter())) == len(imported)
        assert [problem for problem in store.admin.check() if "cannot be read" in problem] == []
    finally:
        store.admin.close()

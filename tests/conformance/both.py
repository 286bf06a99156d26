"""SQLite and the oracle in memory, side by side: what a machine of Hypothesis asks of both, and small values to ask it with."""

import shutil
import tempfile
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from perdure.stores import base
from perdure.stores.memory import MemoryStore
from perdure.stores.sqlite.store import SqliteStore

KEYS = range(1, 6)

keys = st.sampled_from(KEYS)
steps = st.sampled_from(["0:1", "0:2"])
times = st.integers(0, 6)
small = st.binary(max_size=3)


def few(rows: st.SearchStrategy[Any], **options: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(rows, **{"max_size": 4, **options})


REFUSALS = (
    base.CommitRefused,
    base.CommitInDoubt,
    base.StoreUnavailable,
    base.StoreFull,
    base.OwnershipLost,
    base.WorkerGone,
)


def outcome(call: Callable[[], Any]) -> Any:
    """What a call returns, or the kind of refusal it ends in."""
    try:
        return call()
    except REFUSALS as error:
        return type(error)


class Both:
    """Two stores that are to be alike; `fault` is what befalls the next commit."""

    def open(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="perdure-differential-")
        self.fault: base.Fault | None = None
        self.memory = MemoryStore(faults=self.ask)
        self.sqlite = SqliteStore(f"{self.folder}/runs.db", self.ask)
        self.own(0)

    def open_again(self) -> None:
        self.memory.admin.close()
        self.sqlite.admin.close()
        self.memory = MemoryStore(shelf=self.memory.shelf, faults=self.ask)
        self.sqlite = SqliteStore(f"{self.folder}/runs.db", self.ask)
        self.own(1)

    def ask(self, moment: base.Moment, batch: base.Batch) -> base.Fault | None:
        return self.fault if moment == "before" else None

    def own(self, now: int) -> None:
        self.same(lambda store: store.admin.try_own("host", 1, "b", now))

    def same(self, ask: Callable[[base.Store], Any]) -> Any:
        expected, found = outcome(lambda: ask(self.memory)), outcome(lambda: ask(self.sqlite))
        assert found == expected
        return found

    def teardown(self) -> None:
        self.sqlite.admin.close()
        shutil.rmtree(self.folder)

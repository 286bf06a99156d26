"""A store whose calls are counted, for benchmarks that ask how often the engine goes to its database."""

import time
from pathlib import Path
from typing import Any

from perdure.stores.open import open_store


class CountedPart:
    """One of a store's parts."""

    def __init__(self, name: str, part: Any, calls: list[tuple[float, str]]) -> None:
        self._name = name
        self._part = part
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._part, name)
        if not callable(real):
            return real

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._calls.append((time.monotonic(), f"{self._name}.{name}"))
            return real(*args, **kwargs)

        return counted


class CountedStore:
    """Give it to `Engine(...)` in place of an address. `calls` are (seconds, "part.method"), as they came."""

    def __init__(self, database: Path) -> None:
        store = open_store(f"sqlite:///{database}")
        self.address = store.address
        self.database = database
        self.calls: list[tuple[float, str]] = []
        self.journal: Any = CountedPart("journal", store.journal, self.calls)
        self.work: Any = CountedPart("work", store.work, self.calls)
        self.post: Any = CountedPart("post", store.post, self.calls)
        self.tasks: Any = CountedPart("tasks", store.tasks, self.calls)
        self.streams: Any = CountedPart("streams", store.streams, self.calls)
        self.messages: Any = CountedPart("messages", store.messages, self.calls)
        self.views: Any = CountedPart("views", store.views, self.calls)
        self.admin: Any = CountedPart("admin", store.admin, self.calls)
        self.membership, self.marking = store.membership, store.marking

    @property
    def commits(self) -> int:
        return sum(name == "journal.commit" for _, name in self.calls)

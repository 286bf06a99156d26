"""The watch over the files of `perdure dev`."""

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from perdure.cli.reloading import Changed, Watch


def test_what_is_written_while_the_watch_is_set_up_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watchfiles = pytest.importorskip("watchfiles")
    file = tmp_path / "talks.py"
    file.write_text("before")
    real = watchfiles.watch

    def late(*folders: str, **options: Any) -> Iterator[Any]:
        file.write_text("after, and longer")
        return real(*folders, **options)

    monkeypatch.setattr(watchfiles, "watch", late)
    events: SimpleQueue[Any] = SimpleQueue()
    watch = Watch([str(file)], events)

    assert events.get(timeout=600) == Changed([str(file)])
    watch.end()

"""Recorded histories in a test: does the code at hand still do what they have?"""

import asyncio
from collections.abc import Iterable, Iterator
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from perdure import errors
from perdure.client.export import ExportedRun
from perdure.client.export_files import Found, runs_in, runs_of_bytes
from perdure.client.handle import Handle
from perdure.client.replaying import Report, replayed
from perdure.payload import PayloadCodec


def replay(histories: Any, definitions: Iterable[Any], *, codec: PayloadCodec | None = None) -> Report:
    """Show histories to the code at hand, and raise if it does not do what they have. No activity is called.

    Args:
        histories: a file that `perdure export` has written, or a folder of them (str or Path), the content of one
            (bytes), an `ExportedRun`, a handle on a run; or several of these in a list.
        definitions: workflows, activities and modules that contain them, as for an engine.
        codec: that of the engine which wrote the payloads.

    Returns:
        What was replayed: `len(report.verdicts)` histories with `report.events` events.

    Raises:
        errors.ReplayFailed: it does not do so, or a history cannot be read; the message tells of each, `report` has more.
        errors.ExportUnreadable: there is no such file, or there are no histories at all.
        errors.DefinitionError: `definitions` make no sense.
        RuntimeError: a handle was given where a loop runs.
    """
    report = replayed(_runs(histories), definitions, codec)
    if not report.verdicts:
        raise errors.ExportUnreadable("no history was given, so nothing was replayed")
    if report.failed:
        raise errors.ReplayFailed(str(report), report)
    return report


def _runs(source: Any) -> Iterator[Found]:
    match source:
        case ExportedRun():
            yield source.id, source
        case Handle():
            if asyncio._get_running_loop() is not None:
                raise RuntimeError(
                    "a loop runs on this thread, which would stand still; write: replay(await handle.export(), ...)"
                )
            run = source.export().wait()
            yield run.id, run
        case bytes():
            yield from runs_of_bytes(source, "the history")
        case str() | PathLike():
            yield from runs_in(Path(fspath(source)))
        case Iterable():
            for each in source:
                yield from _runs(each)
        case _:
            raise TypeError(
                f"histories are a file, a folder, bytes, an ExportedRun, a handle, or a list of these, not {source!r}"
            )

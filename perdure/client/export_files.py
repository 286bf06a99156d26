"""Exported runs in files and folders: a document, or one per line, and back."""

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

import msgspec

from perdure import errors
from perdure.client.export import CHUNKS_BEGIN, ExportedRun, read_export
from perdure.client.export_streams import OF_ANOTHER_LINE, WrittenChunks

SUFFIXES = (".json", ".jsonl", ".ndjson")
NAME_BYTES = 200
"""File systems take names of 255."""

Found = tuple[str, ExportedRun | errors.ExportUnreadable]
"""A name to call it by, and the run, or why it cannot be read."""


def runs_in(path: Path) -> Iterator[Found]:
    """The runs of a file, or of all files of a folder.

    Raises:
        errors.ExportUnreadable: there is nothing to read.
    """
    for file in files_in(path):
        yield from _runs_of_file(file, str(file))


def files_in(path: Path) -> list[Path]:
    """The file, or all files with exported runs in a folder and in those in it, by name.

    Raises:
        errors.ExportUnreadable: there is none.
    """
    if not path.is_dir():
        if not path.exists():
            raise errors.ExportUnreadable(
                f"{path}: there is no such file; export a run with: perdure export RUN -o {path}"
            )
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if not files:
        raise errors.ExportUnreadable(
            f"{path}: there are no exported runs in this folder (files that end with {', '.join(SUFFIXES)})"
        )
    return files


def _runs_of_file(file: Path, name: str) -> Iterator[Found]:
    try:
        with file.open("rb") as opened:
            yield from runs_of(opened, name, lambda: file.open("rb"))
    except OSError as error:
        yield name, errors.ExportUnreadable(f"{name} cannot be read: {error.strerror}")


def runs_of(file: BinaryIO, name: str, again: Callable[[], BinaryIO]) -> Iterator[Found]:
    """The runs of a file that was just opened: one document, or one per line, which are read one by one. `again` opens it
    once more, to read what is in streams, which is left where it is."""
    lines = _lines(file)
    first = next((each for each in lines if each.text.strip()), _NO_LINE)
    second = next(lines, _NO_LINE) if _is_whole(first.text) else _NO_LINE
    if not _is_whole(first.text) or not second.text.strip():
        yield _one(first.text + second.text, lines, name, again)
        return
    begun, begun_as, start, end = first, f"{name}:1", first.end, first.end
    for number, line in enumerate(chain((second,), lines), start=2):
        if OF_ANOTHER_LINE.match(line.text):
            end = line.end
        elif line.text.strip():
            yield _found(begun.text, begun_as, again, start, end)
            begun, begun_as, start, end = line, f"{name}:{number}", line.end, line.end
    yield _found(begun.text, begun_as, again, start, end)


class _Line(NamedTuple):
    """`end`: where the next one begins."""

    text: bytes
    end: int


_NO_LINE = _Line(b"", 0)


def _lines(file: BinaryIO) -> Iterator[_Line]:
    end = 0
    while text := file.readline():
        end += len(text)
        yield _Line(text.removeprefix(b"\xef\xbb\xbf") if end == len(text) else text, end)


def runs_of_bytes(data: bytes, name: str) -> Iterator[Found]:
    yield from runs_of(io.BytesIO(data), name, lambda: io.BytesIO(data))


def _is_whole(line: bytes) -> bool:
    """Whether the line may be a document of its own: not just the brace that opens one."""
    text = line.strip()
    return len(text) > 1 and text.startswith(b"{") and text.endswith(b"}")


def _one(begun: bytes, lines: Iterator[_Line], name: str, again: Callable[[], BinaryIO]) -> Found:
    """A document of many lines. The chunks of streams are passed over, if each has a line as it was written."""
    parts = [begun]
    for line in lines:
        parts.append(line.text)
        if line.text.rstrip() == CHUNKS_BEGIN:
            start = end = line.end
            for after in lines:
                if not _is_whole(after.text.strip().removesuffix(b",")):
                    if after.text.strip() == b"]":
                        rest = b"".join(each.text for each in lines)
                        return _found(b"".join([*parts, after.text, rest]), name, again, start, end)
                    break
                end = after.end
            with again() as whole:  # it was written by something else, or is cut off
                return _found(whole.read().removeprefix(b"\xef\xbb\xbf"), name)
    return _found(b"".join(parts), name)


def _found(data: bytes, name: str, again: Callable[[], BinaryIO] | None = None, start: int = 0, end: int = 0) -> Found:
    """`again`, `start`, `end`: where the chunks of its streams are."""
    try:
        run = read_export(data, name)
    except errors.ExportUnreadable as error:
        return name, error
    if again is not None and end > start:
        return name, msgspec.structs.replace(run, chunks=WrittenChunks(again, start, end, name, run.run.run_id.hex()))
    return name, run


def file_name(id: str) -> str:
    """The name of the file of a run: its id, with what a file system may not take in percent signs."""
    safe = quote(id, safe=" @+=,()[]{}!$&'-._~")
    if safe.startswith("."):
        safe = f"%2E{safe[1:]}"
    if len(safe) > NAME_BYTES:
        safe = f"{safe[:NAME_BYTES]}~{hashlib.sha256(id.encode()).hexdigest()[:12]}"
    return f"{safe}.json"


def write_whole(path: Path, parts: Iterable[bytes]) -> None:
    """Write a file so that nobody ever sees half of it. What is no ordinary file (a pipe, a device) is written to.

    Raises:
        OSError: it cannot be written; nothing is left behind.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as opened:
            opened.writelines(parts)
        return
    part = path.with_name(f".{path.name[:NAME_BYTES]}.{os.getpid()}")
    try:
        with part.open("xb") as opened:
            opened.writelines(parts)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise

"""Exported runs in files and folders: a document, or one per line, and back."""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from perdure import errors
from perdure.client.export import ExportedRun, read_export

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
            yield from runs_of(opened, name)
    except OSError as error:
        yield name, errors.ExportUnreadable(f"{name} cannot be read: {error.strerror}")


def runs_of(file: BinaryIO, name: str) -> Iterator[Found]:
    """The runs of a stream: one document, or one per line, which are read one by one."""
    first = file.readline().removeprefix(b"\xef\xbb\xbf")
    while first and not first.strip():
        first = file.readline()
    second = file.readline() if _is_whole(first) else b""
    if not _is_whole(first) or not second.strip():
        yield _found(first + second + file.read(), name)
        return
    for number, line in enumerate(chain((first, second), file), start=1):
        if line.strip():
            yield _found(line, f"{name}:{number}")


def runs_of_bytes(data: bytes, name: str) -> Iterator[Found]:
    yield from runs_of(io.BytesIO(data), name)


def _is_whole(line: bytes) -> bool:
    """Whether the line may be a document of its own: not just the brace that opens one."""
    text = line.strip()
    return len(text) > 1 and text.startswith(b"{") and text.endswith(b"}")


def _found(data: bytes, name: str) -> Found:
    try:
        return name, read_export(data, name)
    except errors.ExportUnreadable as error:
        return name, error


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

"""The process of `perdure dev` that has the user's code: imports it, runs an engine, tells how that goes.

    python -m perdure.cli.dev_engine DESCRIPTOR MODULE...

The descriptor is a socket to the process that has started it. There it hears the address of the database, as one line (which may
have a password, that everybody could read among the arguments). What it says are the structs below, a line of JSON each; when the
other side is gone, it ends.
"""

import contextlib
import logging
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Iterator

import msgspec

HUNG = "10s"
"""A call into C that does not come back for so long ends the process, so that the run in its turn is known by name."""


class Ready(msgspec.Struct, tag="ready"):
    """The engine works. `files` are those of the user that were imported; without `owns` it stands by."""

    workflows: int
    activities: int
    build: str
    files: list[str]
    owns: bool


class Broken(msgspec.Struct, tag="broken"):
    """There is no engine: the code cannot be imported, say."""

    message: str
    facts: list[str]
    hint: str
    files: list[str]


class Owns(msgspec.Struct, tag="owns"):
    """It had stood by, and owns the database now."""


Told = Ready | Broken | Owns


def main() -> int:
    descriptor, *places = sys.argv[1:]
    link = socket.socket(fileno=int(descriptor))
    with link.makefile("r", encoding="utf-8") as lines:
        address = lines.readline().rstrip("\n")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that has started this one says when to end
    threading.Thread(target=_until_gone, args=(link, stopped), daemon=True).start()
    return _run(link, stopped, address, places)


def _until_gone(link: socket.socket, stopped: threading.Event) -> None:
    while True:
        try:
            if not link.recv(1):
                break
        except OSError:
            break
    stopped.set()


def _run(link: socket.socket, stopped: threading.Event, address: str, places: list[str]) -> int:
    from perdure.cli import loading
    from perdure.cli.problems import ERROR, OK, Problem, of_error
    from perdure.errors import PerdureError

    logging.basicConfig(level=logging.WARNING, format="  %(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        _serve(link, stopped, address, [loading.import_module(place) for place in places])
    except (Problem, PerdureError) as error:
        problem = error if isinstance(error, Problem) else of_error(error)
        files = sorted({*_files(), *_files_of(error), *_targets(places)})
        trace = _trace(error.__cause__) if isinstance(error, Problem) else []
        _tell(link, Broken(problem.message, trace or problem.facts, "" if trace else problem.hint, files))
        return ERROR
    return OK


def _serve(link: socket.socket, stopped: threading.Event, address: str, modules: list[object]) -> None:
    from perdure import Engine
    from perdure.languages.python.build import fingerprint
    from perdure.workflows import definitions_of, distinct

    workflows, activities = definitions_of(modules)
    with Engine(address, modules, kill_when_hung=HUNG) as engine:
        owned = engine.owns
        build = fingerprint(workflows.values(), activities.values())
        _tell(link, Ready(len(distinct(workflows)), len(distinct(activities)), build, sorted(_files()), owned))
        while not stopped.wait(0.25):
            engine.demand_running()
            if engine.owns and not owned:
                owned = True
                _tell(link, Owns())


def _tell(link: socket.socket, what: Told) -> None:
    with contextlib.suppress(OSError):  # nobody is there any more: that ends this process, too
        link.sendall(msgspec.json.encode(what) + b"\n")


def _trace(cause: BaseException | None) -> list[str]:
    """Where in the user's code an import went wrong, without the way there; nothing if there is none of it."""
    from perdure.client.sources import is_ours, is_theirs

    frames = traceback.extract_tb(cause.__traceback__ if cause is not None else None)
    first = next((number for number, frame in enumerate(frames) if is_theirs(frame.filename)), len(frames))
    stack = traceback.StackSummary.from_list(
        [frame for frame in frames[first:] if not is_ours(frame.filename)]
    ).format()
    if cause is None or not (stack or isinstance(cause, SyntaxError)):
        return []
    return "".join([*stack, *traceback.format_exception_only(cause)]).splitlines()


def _files() -> Iterator[str]:
    """Of the user's modules that were imported."""
    from perdure.client.sources import is_theirs

    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and is_theirs(file):
            yield file


def _files_of(error: BaseException) -> Iterator[str]:
    """Those an import went through before it failed: their modules are gone."""
    from perdure.client.sources import is_theirs

    cause = error.__cause__
    if isinstance(cause, SyntaxError) and cause.filename:
        yield cause.filename
    frames = traceback.extract_tb(cause.__traceback__ if isinstance(cause, BaseException) else None)
    yield from (frame.filename for frame in frames if frame.filename.endswith(".py") and is_theirs(frame.filename))


def _targets(places: list[str]) -> Iterator[str]:
    """The files that were asked for, and those where modules of the names asked for may come to be."""
    from pathlib import Path

    for place in places:
        if place.endswith(".py") or "/" in place:
            yield str(Path(place).absolute())
        else:
            path = Path.cwd().joinpath(*place.split("."))
            yield from (f"{path}.py", str(path / "__init__.py"))


if __name__ == "__main__":
    sys.exit(main())

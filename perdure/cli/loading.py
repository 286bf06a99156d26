"""From MODULE:WORKFLOW, or path/to/file.py:workflow, to a module and a definition in it."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

from perdure.cli.problems import ERROR, NOT_FOUND, USAGE, Problem, guess

_PACKAGE = Path(__file__).resolve().parents[1]


def load(target: str) -> tuple[ModuleType, Any]:
    """Import the module and find the workflow; without a name, the only one there is.

    Raises:
        Problem: there is no such module or workflow, or the import fails.
    """
    place, _, name = target.rpartition(":") if ":" in target else (target, "", "")
    if not place:
        raise Problem(f"{target!r} names no module", USAGE, [], "write  perdure run shop.workflows:process_order")
    module = import_module(place, "perdure run {}:WORKFLOW")
    return module, _workflow(module, place, name)


def import_module(place: str, meant: str = "{}") -> ModuleType:
    """The module of a dotted name, searched from the working folder, or of a file. `meant` is how one writes it.

    Raises:
        Problem: there is no such module, or the import fails.
    """
    file = Path(place)
    named_by_file = False
    if place.endswith(".py") or "/" in place:
        if not file.is_file():
            raise Problem(f"there is no file {place}", NOT_FOUND, [f"looked for {file.absolute()}"])
        place, root = _dotted(file.resolve())
        named_by_file = True
    else:
        root = Path.cwd()
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    try:
        with redirect_stdout(sys.stderr):  # what a module prints is no data
            module = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is not None and (place == error.name or place.startswith(error.name + ".")):
            raise Problem(
                f"there is no module {place!r}", NOT_FOUND, [f"searched from {root}"], _nearby(place, root, meant)
            ) from error
        raise _broken(place, error) from error
    except SystemExit as error:
        raise Problem(
            f"importing {place} ended the process",
            ERROR,
            [f"SystemExit: {error.code}"],
            'put what a script does under  if __name__ == "__main__":',
        ) from error
    except Exception as error:
        raise _broken(place, error) from error
    if named_by_file and Path(module.__file__ or "").resolve() != file.resolve():
        raise Problem(
            f"{file} cannot be imported: {place!r} is the name of another module",
            ERROR,
            [f"it is {module.__file__ or 'part of Python'}"],
            "rename the file",
        )
    return module


def load_codec(target: str) -> Any:
    """The codec that MODULE:NAME says; what makes one is called.

    Raises:
        Problem: there is no such module or name, or the import fails.
    """
    place, _, name = target.rpartition(":")
    if not place:
        raise Problem(f"--codec {target} names no codec", USAGE, [], "write  --codec shop.codecs:encrypted")
    names = vars(import_module(place, "{}:NAME"))
    if name not in names:
        likely = guess(name, [each for each in names if not each.startswith("_")])
        hint = f"did you mean  --codec {place}:{likely}" if likely else "name what Engine(codec=...) is given"
        raise Problem(f"{place} has no {name!r}", NOT_FOUND, [], hint)
    found = names[name]
    if not (isinstance(found, type) or inspect.isfunction(found)):
        return found
    try:
        return found()
    except Exception as error:
        raise _broken(target, error) from error


def _dotted(file: Path) -> tuple[str, Path]:
    """The module name of a file, and the folder it is imported from: the first one above that is no package."""
    parts = [file.stem] if file.stem != "__init__" else []
    root = file.parent
    while (root / "__init__.py").is_file():
        parts.insert(0, root.name)
        root = root.parent
    return ".".join(parts), root


def _nearby(place: str, root: Path, meant: str) -> str:
    likely = guess(place, [path.stem for path in root.glob("*.py")])
    return f"did you mean  {meant.format(likely)}" if likely else f"a file works too: {meant.format('path/to/file.py')}"


def _is_ours(file: str) -> bool:
    """Whether a line is none of the user's, who wants to see where they have called us."""
    return "importlib" in file or Path(file).is_relative_to(_PACKAGE)


def _broken(place: str, error: BaseException) -> Problem:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    facts = []
    if isinstance(error, SyntaxError):
        facts.append(f"at {error.filename}:{error.lineno}")
    elif frames:
        facts.append(f"at {frames[-1].filename}:{frames[-1].lineno}")
        facts += [str(frames[-1].line)] if frames[-1].line else []
    first = (str(error).splitlines() or [""])[0]
    return Problem(
        f"importing {place} failed: {type(error).__name__}: {first}", ERROR, facts, "--debug shows all of it"
    )


def _workflow(module: ModuleType, place: str, name: str) -> Any:
    from perdure.workflows import definitions_of, distinct

    workflows, activities = (distinct(each) for each in definitions_of([module]))
    if not workflows:
        raise Problem(f"{place} has no workflow", NOT_FOUND, [], "put @workflow on an async def function")
    if not name:
        if len(workflows) == 1:
            return next(iter(workflows.values()))
        names = ", ".join(sorted(workflows))
        raise Problem(
            f"{place} has {len(workflows)} workflows", USAGE, [names], f"perdure run {place}:{min(workflows)}"
        )
    if name in workflows:
        return workflows[name]
    for found in definitions_of([vars(module)[name]])[0].values() if _defines(module, name) else ():
        return found
    meant = guess(name, workflows)
    if name in activities:
        raise Problem(
            f"{name} is an activity", NOT_FOUND, [f"workflows there: {', '.join(sorted(workflows))}"],
            "run a workflow that awaits it",
        )  # fmt: skip
    raise Problem(
        f"{place} has no workflow {name!r}",
        NOT_FOUND,
        [f"workflows there: {', '.join(sorted(workflows))}"],
        f"did you mean  perdure run {place}:{meant}" if meant else "",
    )


def _defines(module: ModuleType, name: str) -> bool:
    """Whether a variable of that name holds a workflow that is recorded under another name."""
    from perdure.errors import DefinitionError
    from perdure.workflows import definitions_of

    if name not in vars(module):
        return False
    try:
        return bool(definitions_of([vars(module)[name]])[0])
    except DefinitionError:
        return False
